"""What the commands share: tables as wide as the terminal, and errors in one line."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager

import click

from safety_middleware.errors import SettingsError, StorageUnavailable

__all__ = ["plain", "room", "table", "told"]

GAP = "  "
NARROWEST = 6
"""Characters below which no column is cut."""


@contextmanager
def told() -> Generator[None]:
    """Say what went wrong in one line: exit code 2 for settings, 1 for a service that is away."""
    try:
        yield
    except SettingsError as problem:
        raise _WrongSettings(plain(str(problem))) from problem
    except StorageUnavailable as problem:
        raise _Away(plain(str(problem))) from problem


class _WrongSettings(click.ClickException):
    exit_code = 2


class _Away(click.ClickException):
    exit_code = 1


def room() -> int | None:
    """Columns there are, or None when the output goes to a file or a pipe."""
    if not sys.stdout.isatty() and not os.environ.get("COLUMNS", "").isdigit():
        return None
    return shutil.get_terminal_size().columns


def plain(text: str) -> str:
    r"""*text* in one line, with what a terminal would obey written as ``\x1b``."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], columns: int | None) -> str:
    """Aligned columns under *header*; the widest are cut where *columns* are too few."""
    cells = [[plain(cell) for cell in row] for row in (header, *rows)]
    widths = _widths([max(map(len, column)) for column in zip(*cells, strict=True)], columns)
    return "\n".join(
        GAP.join(_fit(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def _widths(natural: list[int], columns: int | None) -> list[int]:
    widths = list(natural)
    while columns is not None and sum(widths) + len(GAP) * (len(widths) - 1) > columns:
        widest = widths.index(max(widths))
        if widths[widest] <= NARROWEST:
            break
        widths[widest] -= 1
    return widths


def _fit(cell: str, width: int) -> str:
    return cell.ljust(width) if len(cell) <= width else f"{cell[: width - 1]}…"
