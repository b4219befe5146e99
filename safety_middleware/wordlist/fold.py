"""Read a text as its writer meant it to be read: case, width, accents, look-alikes, escapes."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import groupby
from typing import Final

from .escapes import Reading

__all__ = ["Folder", "folder"]

_ASCII: Final = 0x7F
_ASTRAL: Final = 0x10000
_SAMPLE: Final = 1000
_MANY: Final = 25
"""A longer text with so many stretches to fold in its first ``_SAMPLE`` characters is folded whole."""

_SHAPE: Final = bytes(
    ord("a") if chr(byte).isalpha() and byte <= _ASCII else ord("?") if byte == ord("?") else 0
    for byte in range(256)
)
_BEYOND: Final = re.compile("[\U00010000-\U0010ffff]")
_EVERYDAY: Final = frozenset(map(chr, (*range(0x3B1, 0x3CA), *range(0x430, 0x450), 0x451)))
"""Greek and Russian small letters."""


class Folder:
    """The folding tables: which character is read as which.

    Attributes:
        table: Code point to reading, for ``str.translate``.
        lookalikes: The same for letters of other scripts; applied to mixed words only.
        lookalike: Those letters.
    """

    __slots__ = (
        "_every",
        "_foldable",
        "_mixed",
        "_quick",
        "_rare",
        "_strict",
        "lookalike",
        "lookalikes",
        "table",
    )

    def __init__(
        self, table: dict[int, str], lookalikes: dict[int, str], strict: dict[int, str]
    ) -> None:
        self.table = table
        self.lookalikes = lookalikes | strict
        self.lookalike = frozenset(map(chr, self.lookalikes))
        # A list that knows every character of the first plane is twice as fast as a dict that lacks
        # most of them.
        self._quick: list[int | str] = list(range(_ASTRAL))
        for code, reading in table.items():
            if code < _ASTRAL:
                self._quick[code] = reading
        self._strict = frozenset(map(chr, strict))
        every = _class(self.lookalikes)
        self._every = self.lookalike.union("abcdefghijklmnopqrstuvwxyz")
        # Each pattern begins with a set of characters, which is what ``re`` looks for fastest.
        low = _class(code for code in table if _ASCII < code < _ASTRAL)
        self._foldable = re.compile(f"[{low}\U00010000-\U0010ffff]+")
        self._mixed = every
        rare = self._strict.difference(_EVERYDAY)
        self._rare = re.compile(f"[{_class(map(ord, rare))}]+")

    def fold(self, text: str) -> str:
        """Fold a text; ASCII is only put in lower case."""
        if text.isascii():
            return text.lower()
        flat = self._plain(text)
        if flat.isascii():
            return flat
        shape = flat.encode("ascii", "replace").translate(_SHAPE)
        return self._unmixed(flat) if b"a?" in shape or b"?a" in shape else flat

    def is_mark(self, char: str) -> bool:
        """Whether a character belongs to the one before it, and is left out."""
        return char != "" and self.table.get(ord(char)) == ""

    def trace(self, text: str) -> Reading:
        """Fold a text and keep the way back; slower than ``fold``, same result."""
        flat = self.fold(text)
        if text.isascii():
            places = range(len(text) + 1)
            return Reading(flat, places, places[1:])
        starts: list[int] = []
        ends: list[int] = []
        for place, char in enumerate(text):
            size = len(self.table.get(ord(char), char))
            if size == 0:  # marks belong to the character before them
                at = len(ends) - 1
                while at >= 0 and ends[at] == place and starts[at] == starts[-1]:
                    ends[at] = place + 1
                    at -= 1
            starts.extend([place] * size)
            ends.extend([place + 1] * size)
        starts.append(len(text))
        return Reading(flat, starts, ends)

    def latin(self, flat: str) -> str:
        """Read every look-alike as the Latin letter, wherever it stands."""
        return flat.translate(self.lookalikes)

    def disguised(self, flat: str) -> Iterator[tuple[str, int, int]]:
        """Words written wholly in look-alikes of other scripts, as they look, with their spans.

        Words of everyday Russian or Greek letters alone are left to those languages.
        """
        place = 0
        for found in self._rare.finditer(flat):
            start, end = found.span()
            if start < place:
                continue
            while start > place and flat[start - 1] in self._strict:
                start -= 1
            while end < len(flat) and flat[end] in self._strict:
                end += 1
            place = end
            if not flat[start - 1 : start].isalpha() and not flat[end : end + 1].isalpha():
                yield flat[start:end].translate(self.lookalikes), start, end

    def _plain(self, text: str) -> str:
        """Fold without look-alikes, in the way that is quickest for such a text."""
        low = text.lower()
        few = len(self._foldable.findall(low, 0, _SAMPLE)) < _MANY
        if few and len(low) == len(text):  # a capital dotted I becomes two characters
            return self._foldable.sub(self._stretch, low)
        if _BEYOND.search(text) is None:
            return text.translate(self._quick)
        return text.translate(self.table)

    def _unmixed(self, flat: str) -> str:
        """Read look-alikes in the words that have Latin letters too as Latin letters."""
        pieces: list[str] = []
        done = 0
        border, mixed = _mixing(self._mixed)
        while found := border.search(flat, done):
            start = found.start()
            while start > done and flat[start - 1] in self._every:
                start -= 1
            word = mixed.match(flat, start)
            if word is None:
                break
            pieces += (flat[done:start], word[0].translate(self.lookalikes))
            done = word.end()
        pieces.append(flat[done:])
        return "".join(pieces)

    def _stretch(self, stretch: re.Match[str]) -> str:
        return stretch[0].translate(self.table)


@lru_cache(maxsize=1)
def folder() -> Folder:
    """The tables that ship; read once."""
    with open(os.path.join(os.path.dirname(__file__), "data", "fold.json"), "rb") as file:  # noqa: PTH118, PTH120, PTH123 - pathlib takes long to import
        document = json.loads(file.read())
    table, lookalikes, strict = (_table(document[part]) for part in ("fold", "lookalike", "strict"))
    # Lone surrogates cannot be encoded, and the automaton reads bytes.
    table.update(dict.fromkeys(range(0xD800, 0xE000), "\ufffd"))
    return Folder(table, lookalikes, strict)


def _table(readings: dict[str, str]) -> dict[int, str]:
    table: dict[int, str] = {}
    for reading, characters in readings.items():
        table.update(dict.fromkeys(map(ord, characters), reading))
    return table


@lru_cache(maxsize=1)
def _mixing(every: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Where a look-alike stands beside a Latin letter, and words of both; made when first needed."""
    return re.compile(f"[a-z][{every}]|[{every}][a-z]"), re.compile(f"[a-z{every}]++")


def _class(codes: Iterable[int]) -> str:
    """Characters as the inside of a regular expression's set, in ranges: quicker to compile."""
    ordered = sorted(codes)
    ranges = ""
    for _, run in groupby(enumerate(ordered), lambda pair: pair[1] - pair[0]):
        members = [code for _, code in run]
        ranges += f"{chr(members[0])}-{chr(members[-1])}"
    return ranges
