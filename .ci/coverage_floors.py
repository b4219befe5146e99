"""Fails when a part of the library is less covered, branches included, than it has to be."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

WHOLE = {"guard", "flow", "content", "identity", "refusal"}
"""Parts in which every line and branch is run by a test."""
ELSEWHERE = 90.0
"""Per cent, for every other part."""


def part_of(path: str) -> str:
    """The part a file belongs to: a module or package of the core, or an adapter."""
    names = Path(path).with_suffix("").parts
    root = names.index("safety_middleware") if "safety_middleware" in names else -1
    return names[root + 1] if root >= 0 else names[names.index("adapters") + 1]


def main(report: str) -> int:
    """Print every part's coverage; 1 if one is under its floor."""
    files = json.loads(Path(report).read_text("utf-8"))["files"]
    covered: defaultdict[str, int] = defaultdict(int)
    wanted: defaultdict[str, int] = defaultdict(int)
    for path, entry in files.items():
        summary, part = entry["summary"], part_of(path)
        covered[part] += summary["covered_lines"] + summary["covered_branches"]
        wanted[part] += summary["num_statements"] + summary["num_branches"]
    missing = WHOLE - set(wanted)
    failed = bool(missing)
    for part in sorted(wanted):
        share = 100 * covered[part] / wanted[part] if wanted[part] else 100.0
        floor = 100.0 if part in WHOLE else ELSEWHERE
        failed = failed or share < floor
        print(f"{share:6.2f} %  {part}" + (f"  under {floor:g} %" if share < floor else ""))
    for part in sorted(missing):
        print(f"no file of {part} is in the report")
    for path, entry in files.items():
        floor = 100.0 if part_of(path) in WHOLE else ELSEWHERE
        if entry["summary"]["percent_covered"] < floor:
            lines = entry["missing_lines"] or entry["missing_branches"]
            print(f"{entry['summary']['percent_covered']:6.2f} %  {path}: {lines}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
