"""Runs the frameworks' own tests, from their sdists, without and with SafetyMiddleware installed.

    python conformance/run.py [starlette | flask | fastapi | werkzeug ...]

Three modes: ``baseline`` (not installed), ``unprotected`` (no route is protected), ``observed``
(every route is, in ``observe``; limits off, a fixed user, moderation answered by a stub). Every
test must end as in the baseline. Exit status 1 if one does not.

Environments and sdists stay in ``.conformance/`` and are made anew when pins or our own
requirements change.
"""
# ruff: noqa: INP001, S603, T201  # a command, not a package: it prints, and starts what it made

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import tomllib
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from targets import TARGETS, Target

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
WORK = ROOT / ".conformance"
DEFAULT = ("starlette", "flask")
LONGEST = 900
"""Seconds after which one run is ended."""
MOST_AGAIN = 20
"""Differing tests that are run again; more of them are no matter of chance."""
AGAIN, BASELINE_AGAIN = 5, 20
"""Runs of a differing test alone, to tell chance from a difference."""

Outcomes = dict[str, str]


@dataclass(frozen=True, slots=True)
class Place:
    """Where one target lives.

    Attributes:
        target: The target.
        python: The interpreter of its environment.
        tests: Its unpacked sdist.
        scratch: A folder for one run.
    """

    target: Target
    python: Path
    tests: Path
    scratch: Path


def prepare(target: Target) -> Place:
    """Make the environment of *target* and unpack its sdist, unless they are there."""
    home = WORK / f"{target.name}-{target.version}"
    tests = home / f"{target.name}-{target.version}"
    place = Place(target, home / "env" / "bin" / "python", tests, home / "scratch")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    made_of = f"{sys.version} {project} {target} {ROOT}"
    stamp, wanted = home / "stamp", sha256(made_of.encode()).hexdigest()
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return place
    print(f"{target.name} {target.version}: making its environment", flush=True)
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    call = [str(place.python), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([sys.executable, "-m", "venv", str(home / "env")], check=True)
    ours = f"{ROOT}[{target.extra}]"
    subprocess.run([*call, "install", "--editable", ours, *target.requires], check=True)
    pin = f"{target.name}=={target.version}"
    unbuilt = ["--no-deps", "--no-binary", target.name, "--dest", str(home)]
    subprocess.run([*call, "download", *unbuilt, pin], check=True)
    with tarfile.open(next(home.glob("*.tar.gz"))) as sdist:
        sdist.extractall(home, filter="data")
    stamp.write_text(wanted, encoding="utf-8")
    return place


def run(place: Place, mode: str, only: Collection[str] = ()) -> Outcomes:
    """Run the tests of *place* in *mode*, or *only* some of them.

    Returns:
        Test id -> passed, failed, skipped, xfailed or deselected.
    """
    shutil.rmtree(place.scratch, ignore_errors=True)
    place.scratch.mkdir()
    told = place.scratch / "outcomes"
    ours = ("PYTEST_", "SAFETY_", "OPENAI_", "CONFORMANCE_", "FLASK_", "PYTHONPATH")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environ["PYTHONPATH"] = str(HERE)
    environ["CONFORMANCE_OUTCOMES"] = str(told)
    environ["CONFORMANCE_STORE"] = str(place.scratch)
    environ["CONFORMANCE_MODE"] = mode
    target = place.target
    command = [str(place.python), "-m", "pytest", "-p", "no:cacheprovider", "-p", "outcomes"]
    if mode != "baseline":
        command += ["-p", target.plugin]
    command += [*target.arguments, *(target.observed if mode == "observed" else ())]
    command += ["--basetemp", str(place.scratch / "tmp"), *(only or ["tests"])]
    log = place.scratch.with_name(f"{mode}{'-again' if only else ''}.log")
    with log.open("wb") as output:
        try:
            subprocess.run(
                command,
                cwd=place.tests,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=LONGEST,
                check=False,
            )
        except subprocess.TimeoutExpired:
            print(f"  ended after {LONGEST} s; see {log}", flush=True)
    return read(told)


def read(told: Path) -> Outcomes:
    """What ``outcomes.py`` wrote; a test that failed in any phase has failed."""
    outcomes: Outcomes = {}
    if told.is_file():
        for line in told.read_text(encoding="utf-8").splitlines():
            test, outcome = json.loads(line)
            if outcomes.get(test) != "failed":
                outcomes[test] = outcome
    return outcomes


def differing(baseline: Outcomes, outcomes: Outcomes) -> set[str]:
    """The tests that ended differently; one that is missing on one side has."""
    return {
        test
        for test in baseline.keys() | outcomes.keys()
        if baseline.get(test) != outcomes.get(test) and outcomes.get(test) != "deselected"
    }


def settle(place: Place, mode: str, tests: set[str], seen: list[Outcomes]) -> set[str]:
    """Run differing tests alone, and drop those that end like this without us too.

    Args:
        place: The target.
        mode: The mode they differ in.
        tests: Their ids.
        seen: What the whole run in the baseline, and in *mode*, made of them.

    Returns:
        The ids of those that do differ.
    """
    if not tests or len(tests) > MOST_AGAIN:
        return tests
    with_us = [seen[1], *(run(place, mode, tests) for _ in range(AGAIN))]
    ends = {test: {outcomes.get(test) for outcomes in with_us} for test in tests}
    by_chance = any(len(found) > 1 for found in ends.values())
    rounds = BASELINE_AGAIN if by_chance else AGAIN
    without = [seen[0], *(run(place, "baseline", tests) for _ in range(rounds))]
    return {test for test in tests if ends[test] - {outcomes.get(test) for outcomes in without}}


def check(target: Target) -> bool:
    """Run *target* in every mode, and print what came of it; True if nothing differs."""
    place = prepare(target)
    print(f"{target.name} {target.version}", flush=True)
    began = time.monotonic()
    baseline = run(place, "baseline")
    show("baseline", baseline, began)
    same = any(outcome == "passed" for outcome in baseline.values())
    if not same:
        print(f"  no test passed; see {place.scratch.with_name('baseline.log')}")
    for mode in target.modes:
        began = time.monotonic()
        outcomes = run(place, mode)
        show(mode, outcomes, began)
        tests = differing(baseline, outcomes)
        real = settle(place, mode, tests, [baseline, outcomes])
        for test in sorted(tests):
            told = f"{baseline.get(test, 'missing')} -> {outcomes.get(test, 'missing')}"
            print(f"    {'DIFFERS' if test in real else 'flaky without us too'}: {test} ({told})")
        same = same and not real
    return same


def show(mode: str, outcomes: Outcomes, began: float) -> None:
    """Print one line of the table."""
    count = Counter(outcomes.values())
    columns = "  ".join(
        f"{count[outcome]:5} {outcome}" for outcome in ("passed", "failed", "skipped", "xfailed")
    )
    aside = f"  ({count['deselected']} left out)" if count["deselected"] else ""
    print(f"  {mode:12}{columns}{time.monotonic() - began:7.1f} s{aside}", flush=True)


def main(names: list[str]) -> int:
    """Check the named targets; 0 if all behave as without us."""
    unknown = set(names) - TARGETS.keys()
    if unknown:
        print(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(TARGETS)}")
        return 2
    differ = [name for name in names or DEFAULT if not check(TARGETS[name])]
    print(f"different: {', '.join(differ)}" if differ else "no difference")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
