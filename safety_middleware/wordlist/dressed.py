"""Judge letters that were found apart, in digits, or repeated: evasion, or an accident?"""

from __future__ import annotations

import re
from itertools import groupby
from typing import Final

from .compiled import SUBSTRING, Spelling
from .skeleton import skeleton

__all__ = ["is_repeated", "is_separated", "spelt_around"]

_GROUPS: Final = re.compile(r"[^\W_]+")
_FILLERS: Final = frozenset("aiuroynkbcdmw")
"""Letters people write as a word of their own: a, I, u, r, o, y …"""

_APOSTROPHES: Final = ("'", "\u2019")

_EAST_ASIAN: Final = "\u2e80"

_LONG_PHRASE: Final = 8
"""Letters a phrase must have to be found without its spaces."""

_OPENING: Final = frozenset("(<{@#+|")
_CLOSING: Final = frozenset(")>}")

_LONG: Final = 5
"""Letters a term must have to be taken out of a longer run of single letters."""

_SINGLES: Final = re.compile(r"(?:[\W_]{1,3}[^\W_](?![^\W_]))*")
_FAR: Final = 80
"""Characters looked at on either side of a spelt-out term."""

_INNOCENT_SPLITS: Final = frozenset({("who", "re"), ("who", "res"), ("as", "shole"), ("bit", "ch")})


def is_separated(flat: str, start: int, end: int, spelling: Spelling, letter: str) -> bool:
    """Whether the letters of a spelling, found at ``start`` to ``end``, were set apart on purpose.

    Args:
        flat: The folded text.
        start: Where the first letter stands.
        end: After the last letter.
        spelling: The spelling the letters make.
        letter: A class of characters that stand for letters, as in a regular expression.
    """
    inside = _is_part(flat[start - 1 : start]) or _is_part(flat[end : end + 1])
    if inside and spelling.mode != SUBSTRING:
        return False
    if end - start == len(spelling.text) - spelling.text.count(" "):
        return _is_solid(flat, start, end, spelling, inside=inside)
    if inside:
        return False
    part = flat[start:end]
    groups = re.findall(f"[{letter}]+", part)
    gaps = re.findall(f"[^{letter}]+", part)
    if " " in spelling.text:
        return _is_phrase(groups, spelling)
    if part.isascii() and not any(char.isalpha() for char in part):
        return False
    if all(len(set(group)) == 1 for group in groups):
        return _is_spelt_out(flat, start, end, gaps, spelling)
    return _is_cut(groups, gaps)


def _is_part(char: str) -> bool:
    """Whether a neighbour belongs to the same word; Chinese needs no space beside Latin letters."""
    return char.isalnum() and char < _EAST_ASIAN


def is_repeated(run: bytes, spelling: Spelling) -> bool:
    """Whether ``run`` is the spelling with letters held down: none shorter, one three long."""
    have = [len(list(group)) for _, group in groupby(run)]
    want = [len(list(group)) for _, group in groupby(skeleton(spelling.text))]
    return (
        len(have) == len(want)
        and all(h >= w for h, w in zip(have, want, strict=True))
        and any(h > w and h > 2 for h, w in zip(have, want, strict=True))  # noqa: PLR2004 - a double letter is spelling, three are not
    )


def _is_solid(flat: str, start: int, end: int, spelling: Spelling, *, inside: bool) -> bool:
    """Digits or signs in place of letters, in one piece."""
    part = flat[start:end]
    if not any(char.isalpha() for char in part):
        return False
    if part == spelling.text.replace(
        " ", ""
    ):  # as written it was found already, or may not stand here
        return " " in spelling.text and len(part) >= _LONG_PHRASE and not inside
    if part[0] in _OPENING and (inside or flat[end : end + 1] in _CLOSING):
        return False  # (until, (IPA): a bracket, not a c
    if not inside:
        return True
    if part.isalpha():
        return False
    # Inside a word only where the rest of the word is letters: 5h17a9b is a number.
    word = _word_around(flat, start, end)
    return word.replace(part, "", 1).isalpha()


def _word_around(flat: str, start: int, end: int) -> str:
    while start and flat[start - 1].isalnum():
        start -= 1
    while end < len(flat) and flat[end].isalnum():
        end += 1
    return flat[start:end]


def _is_phrase(groups: list[str], spelling: Spelling) -> bool:
    """Words of a phrase with anything between them; none of them cut."""
    words = spelling.text.split(" ")
    text = "".join(groups)
    if len(text) != sum(map(len, words)):
        return False
    ends = {sum(map(len, words[:n])) for n in range(1, len(words))}
    cuts = {sum(map(len, groups[:n])) for n in range(1, len(groups))}
    return cuts <= ends or len(groups) == len(text)


def _is_cut(groups: list[str], gaps: list[str]) -> bool:
    """A word cut by marks, or once by a line break."""
    if any(gap.isspace() for gap in gaps):
        return gaps in (["\n"], ["\r\n"]) and tuple(groups) not in _INNOCENT_SPLITS
    return not any(char.isspace() for gap in gaps for char in gap)


def _is_spelt_out(flat: str, start: int, end: int, gaps: list[str], spelling: Spelling) -> bool:
    """One letter at a time: by marks, or by the same space each time."""
    if not any(char.isspace() for gap in gaps for char in gap):
        before, after = flat[max(0, start - 3) : start][::-1], flat[end : end + 3]
        return spelling.mode == SUBSTRING or not (_goes_on(before) or _goes_on(after))
    gap = gaps[0]
    if any(other != gap for other in gaps):
        return False
    before = _singles(flat[max(0, start - 12 * (len(gap) + 1)) : start][::-1], gap[::-1])
    after = _singles(flat[end : end + 12 * (len(gap) + 1)], gap)
    if set(before) | set(after) <= _FILLERS and len(before) + len(after) <= 2:  # noqa: PLR2004 - "r u a"
        return True
    return len(spelling.text) >= _LONG


def spelt_around(flat: str, start: int, end: int) -> str:
    """The letters of a span, with the single letters that go on before and after it."""
    before = _SINGLES.match(flat[max(0, start - _FAR) : start][::-1])
    after = _SINGLES.match(flat[end : end + _FAR])
    parts = (before[0][::-1] if before else "", flat[start:end], after[0] if after else "")
    return "".join(char for part in parts for char in part if char.isalnum())


def _goes_on(text: str) -> bool:
    """Whether a mark and one more single letter follow: the term is part of a longer word."""
    mark, letter, rest = text[:1], text[1:2], text[2:]
    return letter.isalnum() and not (mark.isalnum() or mark.isspace() or rest.isalnum())


def _singles(text: str, gap: str) -> str:
    """Collect the single letters that go on beside a spelt-out word with the same gap."""
    found = ""
    while text.startswith(gap) and len(text) > len(gap):
        letter, rest = text[len(gap)], text[len(gap) + 1 :]
        if not letter.isalnum() or rest[:1].isalnum() or rest[:1] in _APOSTROPHES:
            break
        found += letter
        text = rest
    return found
