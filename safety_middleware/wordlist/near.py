"""Misspellings of a word that are made on purpose or in haste: letters swapped, vowels lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

__all__ = ["neighbours"]

_VOWELS: Final = frozenset("aeiou")
_SHORTEST: Final = 4
"""Letters a misspelling must keep: shorter ones are abbreviations of something else (cnt, fgs)."""

_WHOLE: Final = 5
"""Letters from which on the first two may be swapped; in short words that makes other words."""


def neighbours(word: str) -> Iterator[str]:
    """Every form with two letters side by side swapped, or one inner vowel, or all, left out."""
    if len(word) < _SHORTEST or not (word.isascii() and word.isalpha()):
        return
    for place in range(0 if len(word) >= _WHOLE else 1, len(word) - 1):
        first, second = word[place], word[place + 1]
        if first != second:
            yield word[:place] + second + first + word[place + 2 :]
    if len(word) <= _SHORTEST:
        return
    for place in range(1, len(word) - 1):
        if word[place] in _VOWELS:
            yield word[:place] + word[place + 1 :]
    bare = word[0] + "".join(c for c in word[1:-1] if c not in _VOWELS) + word[-1]
    if len(bare) >= _SHORTEST:
        yield bare
