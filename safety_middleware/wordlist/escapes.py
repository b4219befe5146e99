"""Undo escapes and direction overrides, and find the way back to the original text."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

__all__ = ["Reading", "retraced", "rewritten"]


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


def rewritten(text: str) -> str | None:
    """Undo escapes and direction overrides; None where there are none.

    HTML entities, URL and backslash escapes, kana and Korean in parts, invisible tag letters, and text that a right-to-left
    override shows backwards. Two rounds at most: ``&amp;#102;`` is read as a browser would show it,
    and nothing is undone for ever.
    """
    current = text
    for _ in range(_ROUNDS):
        before = current
        for sign, pattern, read in _REWRITES:
            if sign in current if sign else not current.isascii():
                current = _undone(current, pattern, read)
        if current == before:
            break
    return None if current == text else current


def retraced(text: str) -> Reading:
    """Do what ``rewritten`` does and keep the way back; slower."""
    places = range(len(text) + 1)
    whole = Reading(text, places, places[1:])
    for _ in range(_ROUNDS):
        for sign, pattern, read in _REWRITES:
            if sign in whole.text if sign else not whole.text.isascii():
                step = _substitute(whole.text, pattern, read)
                whole = whole if step is None else _compose(whole, step)
    return whole


def _undone(text: str, pattern: re.Pattern[str], read: Callable[[str], str]) -> str:
    return pattern.sub(lambda found: read(found[0]), text)


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


@lru_cache(maxsize=1024)
def _percent(run: str) -> str:
    return bytes.fromhex(run.replace("%", "")).decode("utf-8", "replace")


@lru_cache(maxsize=1024)
def _backslash(escape: str) -> str:
    code = int(escape.strip("\\ux{}"), 16)
    return chr(code) if code <= sys.maxunicode else escape


@lru_cache(maxsize=1024)
def _entity(entity: str) -> str:
    from html import unescape  # noqa: PLC0415 - its table of entities takes long to import

    return unescape(entity)


def _composed(parts: str) -> str:
    return unicodedata.normalize("NFC", parts)


def _tags(run: str) -> str:
    return "".join([chr(ord(char) - 0xE0000) for char in run])


_ROUNDS: Final = 2
_OVERRIDES: Final = "\u202c\u202d\u202e"
_REWRITES: Final[tuple[tuple[str, re.Pattern[str], Callable[[str], str]], ...]] = (
    (
        "&",
        re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});?"),
        _entity,
    ),
    ("%", re.compile(r"(?:%[0-9a-fA-F]{2})++"), _percent),
    ("\\", re.compile(r"\\(?:u\{?[0-9a-fA-F]{4,6}\}?|x[0-9a-fA-F]{2})"), _backslash),
    (
        "\u202e",
        re.compile("\u202e[^\u202c\u202d\n]++\u202c?"),
        lambda run: run.strip(_OVERRIDES)[::-1],
    ),
    # Voiced kana and Korean syllables in parts, as some file systems write them.
    ("", re.compile("[\u304b-\u30fb][\u3099\u309a]"), _composed),
    ("", re.compile("[\u1100-\u1112][\u1161-\u1175][\u11a8-\u11c2]?"), _composed),
    ("\U000e007f", re.compile("[\U000e0020-\U000e007e]{3,}+"), _tags),
)
