"""Read a text as its writer meant it to be read: case, width, accents, look-alikes, escapes."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from html import unescape
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["Folder", "Reading", "folder", "retraced", "rewritten"]

_ASCII: Final = 0x7F
_ASTRAL: Final = 0x10000
_SAMPLE: Final = 1000
_MANY: Final = 50
"""A longer text with so many stretches to fold in its first ``_SAMPLE`` characters is folded whole."""

_SHAPE: Final = bytes(
    ord("a") if chr(byte).isalpha() and byte <= _ASCII else ord("?") if byte == ord("?") else 0
    for byte in range(256)
)
_EVERYDAY: Final = frozenset(map(chr, (*range(0x3B1, 0x3CA), *range(0x430, 0x450), 0x451)))
"""Greek and Russian small letters."""


class Reading(NamedTuple):
    """A text derived from another, with the way back.

    Attributes:
        text: The derived text.
        starts: For each of its characters, where the character's source begins; one more for the end.
        ends: For each of its characters, where its source ends.
    """

    text: str
    starts: Sequence[int]
    ends: Sequence[int]

    def origin(self, start: int, end: int) -> tuple[int, int]:
        """Translate a span of the derived text, with what was left out behind its last character."""
        return self.starts[start], self.ends[end - 1]


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
        self._strict = frozenset(map(chr, strict))
        every = _class(self.lookalikes)
        self._every = frozenset(every + "abcdefghijklmnopqrstuvwxyz")
        # Each pattern begins with a set of characters, which is what ``re`` looks for fastest.
        low = _class(code for code in table if _ASCII < code < _ASTRAL)
        self._foldable = re.compile(f"[{low}\U00010000-\U0010ffff]+")
        self._mixed = re.compile(f"[a-z{every}]++")
        rare = self._strict.difference(_EVERYDAY)
        self._rare = re.compile(f"[{''.join(sorted(rare))}]+")

    def fold(self, text: str) -> str:
        """Fold a text; ASCII is only put in lower case."""
        if text.isascii():
            return text.lower()
        flat = self._plain(text)
        if flat.isascii():
            return flat
        places = [place for place in _borders(flat) if flat[place] in self.lookalike]
        return self._unmixed(flat, places) if places else flat

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
        few = len(low) <= _SAMPLE or len(self._foldable.findall(low, 0, _SAMPLE)) < _MANY
        if few and len(low) == len(text):  # a capital dotted I becomes two characters
            return self._foldable.sub(self._stretch, low)
        return text.translate(self.table)

    def _unmixed(self, flat: str, places: list[int]) -> str:
        """Read the look-alikes in the words around ``places`` as Latin letters."""
        pieces: list[str] = []
        done = 0
        for place in places:
            if place < done:
                continue
            start = place
            while start > done and (flat[start - 1] in self._every):
                start -= 1
            word = self._mixed.match(flat, start)
            if word is not None:
                pieces += (flat[done:start], word[0].translate(self.lookalikes))
                done = word.end()
        pieces.append(flat[done:])
        return "".join(pieces)

    def _stretch(self, stretch: re.Match[str]) -> str:
        return stretch[0].translate(self.table)


@lru_cache(maxsize=1)
def folder() -> Folder:
    """The tables that ship; read once."""
    document = json.loads((Path(__file__).parent / "data" / "fold.json").read_bytes())
    table, lookalikes, strict = (_table(document[part]) for part in ("fold", "lookalike", "strict"))
    # Lone surrogates cannot be encoded, and the automaton reads bytes.
    table.update(dict.fromkeys(range(0xD800, 0xE000), "\ufffd"))
    return Folder(table, lookalikes, strict)


def _table(readings: dict[str, str]) -> dict[int, str]:
    table: dict[int, str] = {}
    for reading, characters in readings.items():
        table.update(dict.fromkeys(map(ord, characters), reading))
    return table


def _borders(flat: str) -> list[int]:
    """Where a character that is not ASCII stands beside a Latin letter."""
    shape = flat.encode("ascii", "replace").translate(_SHAPE)
    places: list[int] = []
    for pair, offset in ((b"a?", 1), (b"?a", 0)):
        place = shape.find(pair)
        while place >= 0:
            places.append(place + offset)
            place = shape.find(pair, place + 1)
    return sorted(place for place in places if flat[place] > "\x7f")


def _class(codes: Iterable[int]) -> str:
    return "".join(map(chr, sorted(codes)))


def rewritten(text: str) -> str | None:
    """Undo escapes and direction overrides; None where there are none.

    HTML entities, URL and backslash escapes, invisible tag letters, and text that a right-to-left
    override shows backwards. Two rounds at most: ``&amp;#102;`` is read as a browser would show it,
    and nothing is undone for ever.
    """
    current = text
    for _ in range(_ROUNDS):
        before = current
        for sign, pattern, read in _REWRITES:
            if sign in current:
                step = _substitute(current, pattern, read)
                current = current if step is None else step.text
        if current == before:
            break
    return None if current == text else current


def retraced(text: str) -> Reading:
    """Do what ``rewritten`` does and keep the way back; slower."""
    places = range(len(text) + 1)
    whole = Reading(text, places, places[1:])
    for _ in range(_ROUNDS):
        for sign, pattern, read in _REWRITES:
            if sign in whole.text:
                step = _substitute(whole.text, pattern, read)
                whole = whole if step is None else _compose(whole, step)
    return whole


def _substitute(text: str, pattern: re.Pattern[str], read: Callable[[str], str]) -> Reading | None:
    pieces: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    done = 0
    for found in pattern.finditer(text):
        new = read(found[0])
        if new == found[0]:
            continue
        start, end = found.span()
        pieces += (text[done:start], new)
        starts += (*range(done, start), *([start] * len(new)))
        ends += (*range(done + 1, start + 1), *([end] * len(new)))
        done = end
    if not pieces:
        return None
    pieces.append(text[done:])
    starts += range(done, len(text) + 1)
    ends += range(done + 1, len(text) + 1)
    return Reading("".join(pieces), starts, ends)


def _compose(outer: Reading, inner: Reading) -> Reading:
    """Join two steps: ``inner`` was made from the text of ``outer``."""
    starts = [outer.starts[place] for place in inner.starts]
    ends = [outer.ends[place - 1] for place in inner.ends]
    return Reading(inner.text, starts, ends)


def _percent(run: str) -> str:
    return bytes.fromhex(run.replace("%", "")).decode("utf-8", "replace")


def _backslash(escape: str) -> str:
    code = int(escape.strip("\\ux{}"), 16)
    return chr(code) if code <= sys.maxunicode else escape


def _tags(run: str) -> str:
    return "".join([chr(ord(char) - 0xE0000) for char in run])


_ROUNDS: Final = 2
_OVERRIDES: Final = "\u202c\u202d\u202e"
_REWRITES: Final[tuple[tuple[str, re.Pattern[str], Callable[[str], str]], ...]] = (
    (
        "&",
        re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});?"),
        unescape,
    ),
    ("%", re.compile(r"(?:%[0-9a-fA-F]{2}){2,}+"), _percent),
    ("\\", re.compile(r"\\(?:u\{?[0-9a-fA-F]{4,6}\}?|x[0-9a-fA-F]{2})"), _backslash),
    (
        "\u202e",
        re.compile("\u202e[^\u202c\u202d\n]++\u202c?"),
        lambda run: run.strip(_OVERRIDES)[::-1],
    ),
    ("\U000e007f", re.compile("[\U000e0020-\U000e007e]{3,}+"), _tags),
)
