"""Words with letters hidden behind a star, a hash or the like."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from .compiled import SHORTEST_EVASION, SUBSTRING, Spelling

__all__ = ["HIDERS", "Masks", "masks", "stars", "unmask"]

HIDERS: Final = ("*", "#", "%", "@")
_SIGNS: Final = str.maketrans("#%@", "***")
_HIDDEN: Final = re.compile(r"\*(?<=[a-z]\*)\**(?=([a-z]{0,12}))")
_LETTERS: Final = re.compile(r"[a-z]*")
_REACH: Final = 12
"""Letters looked at on either side of the signs, and the most signs together."""

_NEXT: Final = re.compile(r" ?([a-z]{0,12})")


class Masks(NamedTuple):
    """Every form of the spellings with hidden letters, a star for each.

    Attributes:
        forms: The forms.
        heads: What those of them that may stand inside a word begin with, up to the last star.
        allowed: Forms that are innocent, alone or with the word that follows.
    """

    forms: dict[str, Spelling]
    heads: frozenset[str]
    allowed: frozenset[str]


def masks(spellings: Iterable[Spelling], allowed: frozenset[str]) -> Masks:
    """Hide any one letter but the first, two that stand together inside, or all inside."""
    forms: dict[str, Spelling] = {}
    for spelling in spellings:
        text = spelling.text
        if spelling.evades and text.isalpha():
            for form in _forms(text):
                forms.setdefault(form, spelling)
    inside = (form for form, spelling in forms.items() if spelling.mode == SUBSTRING)
    return Masks(forms, frozenset(form[: form.rindex("*") + 1] for form in inside), allowed)


def _forms(text: str) -> Iterator[str]:
    for place in range(1, len(text)):
        yield text[:place] + "*" + text[place + 1 :]
    for place in range(1, len(text) - 2):
        yield text[:place] + "**" + text[place + 2 :]
    yield text[0] + "*" * (len(text) - 2) + text[-1]


def stars(text: str) -> str:
    """Write a star for every sign that hides a letter."""
    return text.translate(_SIGNS)


def unmask(flat: str, known: Masks) -> Iterator[tuple[int, int, Spelling]]:
    """Find hidden spellings, with their places.

    A spelling that may stand inside a word is looked for there; others must be the whole word.
    """
    starred = stars(flat)
    right, end = "", 0
    for found in _HIDDEN.finditer(starred):
        place, stop = found.span()
        # Mostly the letters before these signs are those that followed the last ones.
        left = right if end + len(right) == place else _letters_before(starred, place)
        (right, end), hidden = (found[1], stop), starred[place:stop]
        if len(hidden) > _REACH or len(left + hidden + right) < SHORTEST_EVASION:
            continue
        start, word = place - len(left), left + hidden + right
        spelling = known.forms.get(word)
        if spelling is not None and not _goes_on(starred, start, start + len(word)):
            if not _is_allowed(starred, word, start + len(word), known.allowed):
                yield start, start + len(word), spelling
            continue
        for skipped in range(len(left)):
            head = left[skipped:] + hidden
            if head in known.heads:
                yield from _inside(head, right, start + skipped, known.forms)


def _letters_before(text: str, place: int) -> str:
    found = _LETTERS.match(text[max(0, place - _REACH) : place][::-1])
    return found[0][::-1] if found else ""


def _inside(
    head: str, right: str, start: int, forms: dict[str, Spelling]
) -> Iterator[tuple[int, int, Spelling]]:
    for size in range(len(right), -1, -1):
        spelling = forms.get(head + right[:size])
        if spelling is not None and spelling.mode == SUBSTRING:
            yield start, start + len(head) + size, spelling
            return


def _is_allowed(starred: str, word: str, end: int, allowed: frozenset[str]) -> bool:
    if not allowed:
        return False
    following = _NEXT.match(starred, end)
    return word in allowed or (following is not None and f"{word} {following[1]}" in allowed)


def _goes_on(starred: str, start: int, end: int) -> bool:
    around = starred[start - 1 : start] + starred[end : end + 1]
    return any(char == "*" or char.isalpha() for char in around)
