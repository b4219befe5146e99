"""A pytest plugin: what became of each test, one JSON line each, in ``$CONFORMANCE_OUTCOMES``.

Written as they come, so that a run that hangs or crashes has told what came before.
"""
# ruff: noqa: D103, INP001  # no package, and nothing here is called by name

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

FILE = Path(os.environ["CONFORMANCE_OUTCOMES"])


def tell(test: str, outcome: str) -> None:
    with FILE.open("a", encoding="utf-8") as file:
        file.write(json.dumps([test, outcome]) + "\n")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if hasattr(report, "wasxfail") and not report.failed:
        tell(report.nodeid, "xfailed")
    elif report.when == "call" or not report.passed:
        tell(report.nodeid, report.outcome)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if not report.passed:
        tell(report.nodeid, report.outcome)


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    for item in items:
        tell(item.nodeid, "deselected")
