"""Words with letters hidden behind a star, a hash or the like."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from .compiled import SUBSTRING, Spelling

__all__ = ["masks", "unmask"]

_SIGNS: Final = str.maketrans("#%@", "***")
_BEFORE: Final = re.compile(r"[a-z*#%@]*\Z")
_AFTER: Final = re.compile(r"[a-z*#%@]*")
_SHORTEST: Final = 4
_REACH: Final = 12
"""Letters looked at on either side of the sign."""


def masks(spellings: Iterable[Spelling]) -> dict[str, Spelling]:
    """Every form of the spellings with hidden letters, stars for all signs.

    Hidden may be any one letter but the first, two that stand together inside, or all inside.
    """
    forms: dict[str, Spelling] = {}
    for spelling in spellings:
        text = spelling.text
        if not spelling.evades or not text.isalpha():
            continue
        for place in range(1, len(text)):
            forms.setdefault(text[:place] + "*" + text[place + 1 :], spelling)
        for place in range(1, len(text) - 2):
            forms.setdefault(text[:place] + "**" + text[place + 2 :], spelling)
        forms.setdefault(text[0] + "*" * (len(text) - 2) + text[-1], spelling)
    return forms


def unmask(
    flat: str, place: int, forms: dict[str, Spelling], allowed: frozenset[str]
) -> tuple[int, int, Spelling] | None:
    """Find a hidden spelling around the sign at ``place``.

    A spelling that may stand inside a word is looked for there; others must be the whole word.
    """
    before = _BEFORE.search(flat, max(0, place - _REACH), place)
    after = _AFTER.match(flat, place, place + _REACH)
    if before is None or after is None:
        return None
    start, end = before.start(), after.end()
    word = flat[start:end].translate(_SIGNS)
    if allowed and (word in allowed or f"{word} {_next_word(flat, end)}" in allowed):
        return None
    if word in forms:
        return start, end, forms[word]
    at = place - start
    for first in range(at):
        for last in range(max(at + 1, first + _SHORTEST), len(word) + 1):
            found = forms.get(word[first:last])
            if found is not None and found.mode == SUBSTRING:
                return start + first, start + last, found
    return None


def _next_word(flat: str, end: int) -> str:
    return "".join(flat[end : end + _REACH].split(maxsplit=1)[:1])
