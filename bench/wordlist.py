"""The wordlist beside other Python filters, in one run: what they find, what they flag, what they cost.

usage: python bench/wordlist.py [DATA_DIR]

DATA_DIR holds ``*.jsonl.gz`` files of rows ``{"t": text, "y": 1 to block or 0}``; without it a small
set made here is used. Peers are measured when they are installed, best in a virtual environment
of its own: ``pip install better-profanity glin-profanity alt-profanity-check``. Times are CPU times
of the thread, the best of three.
"""

from __future__ import annotations

import gzip
import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Check = Callable[[str], bool]

HARMLESS = [
    "Could you tell me what the weather will be like in Lisbon next week?",
    "I live in Scunthorpe and support Arsenal.",
    "Please assess the classic cocktail recipe of Mr Hancock.",
    "How do I kill a process that hogs the port 5175?",
]
BAD = "you are a complete asshole"
ROWS = 400
BUDGET = 20.0
"""Seconds a filter may take for one set; the rest of the set is left out."""


def ours() -> Check:
    from safety_middleware.wordlist import Wordlist

    return Wordlist.default(["en"]).blocked


def better() -> Check:
    profanity: Any = importlib.import_module("better_profanity").profanity
    return lambda text: bool(profanity.contains_profanity(text))


def glin() -> Check:
    module: Any = importlib.import_module("glin_profanity")
    chosen = module.Filter({"languages": ["english"]})
    return lambda text: bool(chosen.is_profane(text))


def alt() -> Check:
    module: Any = importlib.import_module("profanity_check")
    return lambda text: bool(module.predict([text])[0])


FILTERS: dict[str, Callable[[], Check]] = {
    "safety_middleware": ours,
    "better-profanity": better,
    "glin-profanity": glin,
    "alt-profanity-check": alt,
}


def made() -> Iterator[tuple[str, list[tuple[str, bool]]]]:
    """One bad sentence in many dresses, beside harmless ones."""
    dresses: dict[str, Callable[[str], str]] = {
        "as it is": str,
        "capitals": str.upper,
        "digits": lambda text: text.replace("a", "4").replace("o", "0").replace("e", "3"),
        "full width": lambda text: "".join(
            chr(ord(c) + 0xFEE0) if c.isalpha() else c for c in text
        ),
        "zero width": "\u200b".join,
        "marks": lambda text: "".join(c + "\u0336" if c.isalpha() else c for c in text),
        "spaced": lambda text: text.replace("asshole", " ".join("asshole")),
        "masked": lambda text: text.replace("asshole", "assh*le"),
    }
    for name, dress in dresses.items():
        yield name, [(dress(BAD), True), *((dress(text), False) for text in HARMLESS)]


def read(folder: Path) -> Iterator[tuple[str, list[tuple[str, bool]]]]:
    for path in sorted(folder.glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        step = max(1, len(rows) // ROWS)
        yield path.name.removesuffix(".jsonl.gz"), [(r["t"], bool(r["y"])) for r in rows[::step]]


def rates(check: Check, rows: list[tuple[str, bool]]) -> str:
    """Recall and false positives, as shares of the rows there was time for."""
    seen = {True: [0, 0], False: [0, 0]}
    end = time.monotonic() + BUDGET
    for text, bad in rows:
        if time.monotonic() > end:
            break
        seen[bad][0] += check(text)
        seen[bad][1] += 1
    found, flagged = (f"{hits / total:.3f}" if total else "-" for hits, total in seen.values())
    return f"{found:>7} /{flagged:>7}"


def microseconds(check: Check, size: int) -> float:
    text = (" ".join(HARMLESS[:1]) + " ") * (size // 60)
    text = text[:size]
    check(text)
    times: list[float] = []
    for _ in range(3):
        start = time.thread_time()
        check(text)
        times.append(time.thread_time() - start)
    return min(times) * 1e6


def main() -> None:
    sets = list(read(Path(sys.argv[1])) if len(sys.argv) > 1 else made())
    checks: dict[str, Check] = {}
    for name, load in FILTERS.items():
        start = time.perf_counter()
        try:
            checks[name] = load()
            checks[name]("warm up")
        except ImportError:
            print(f"{name}: not installed, left out")
        else:
            print(f"{name}: ready after {(time.perf_counter() - start) * 1000:.0f} ms")
    print(f"\n{'recall / false positives':30}" + "".join(f"{name:>22}" for name in checks))
    for name, rows in sets:
        print(f"{name:30}" + "".join(f"{rates(check, rows):>22}" for check in checks.values()))
    for size in (500, 8000):
        cells = "".join(f"{microseconds(check, size):>19,.0f} us" for check in checks.values())
        print(f"{f'{size:,} characters':30}{cells}")


if __name__ == "__main__":
    main()
