"""Turn terms into automata: what is looked for in the text, and in its letters alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from ahocorasick_rs import AhoCorasick, BytesAhoCorasick, Implementation

from .fold import Folder
from .near import neighbours
from .skeleton import press, skeleton
from .term import Term

__all__ = ["ALLOW", "PREFIX", "SUBSTRING", "WORD", "Compiled", "Spelling", "compile_terms"]

WORD, PREFIX, SUBSTRING, ALLOW = range(4)
_MODES: Final = {"word": WORD, "phrase": WORD, "prefix": PREFIX, "substring": SUBSTRING}

SHORTEST_EVASION: Final = 4
"""Letters a spelling must have to be looked for in other dress; shorter ones hit by chance."""

LARGE: Final = 6000
"""Patterns from which on the smaller, slower automaton is built."""


class Spelling(NamedTuple):
    """One spelling of a term, folded.

    Attributes:
        term: The term's place in the list.
        mode: ``WORD``, ``PREFIX``, ``SUBSTRING``, or ``ALLOW`` for an allowed phrase.
        text: The folded spelling.
        exact: The spelling in lower case, when only that counts; else None.
        evades: Whether other dress is looked for.
    """

    term: int
    mode: int
    text: str
    exact: str | None
    evades: bool


class Compiled(NamedTuple):
    """The automata with the spellings their patterns stand for.

    Attributes:
        direct: Over folded text, or None when there is nothing to look for.
        rules: For each pattern of ``direct``, its spelling.
        bare: Over letters alone, or None.
        bare_rules: For each pattern of ``bare``, the spellings it may be.
        allowed: Single words that are innocent.
        allowed_masks: Words with a star that are innocent, alone or with the word that follows.
        words: Folded spellings that stand alone, for words in disguise.
        longest: Characters of the longest spelling.
    """

    direct: AhoCorasick | None
    rules: Sequence[Spelling]
    bare: BytesAhoCorasick | None
    bare_rules: Sequence[tuple[Spelling, ...]]
    allowed: frozenset[str]
    allowed_masks: frozenset[str]
    words: dict[str, Spelling]
    longest: int


def compile_terms(
    terms: Sequence[Term], allow: Iterable[str], severity: int, folder: Folder
) -> Compiled:
    """Build the automata for the terms that count from ``severity`` on."""
    rules: dict[str, Spelling] = {}
    phrases: dict[str, Spelling] = {}
    allows = {_plain(folder.fold(text)) for text in allow}
    near: dict[str, Spelling] = {}
    for place, term in enumerate(terms):
        if term.severity < severity:
            continue
        allows.update(_plain(folder.fold(text)) for text in term.allow)
        for text in term.spellings:
            spelling = _spelling(place, term, text, folder)
            if " " in spelling.text and spelling.evades:
                _keep(phrases, spelling, terms)
            else:
                _keep(rules, spelling, terms)
            if term.near:
                for form in neighbours(spelling.text):
                    near.setdefault(form, Spelling(place, WORD, form, None, False))
    stars = frozenset(text for text in allows if "*" in text)
    for form, spelling in near.items():
        if form not in allows:
            rules.setdefault(form, spelling)
    for text in allows - stars:
        if not text.isalpha():
            for form in (text, text.replace(" ", "-")):
                rules.setdefault(form, Spelling(-1, ALLOW, form, None, False))
    bare = _bare((*rules.values(), *phrases.values()))
    everything = len(rules) + len(bare)
    return Compiled(
        _automaton(list(rules), everything),
        list(rules.values()),
        BytesAhoCorasick(list(bare), implementation=_kind(everything)) if bare else None,
        [tuple(some) for some in bare.values()],
        frozenset(text for text in allows if text.isalpha()),
        stars,
        {text: s for text, s in rules.items() if s.mode != ALLOW and text.isascii()},
        max(map(len, (*rules, *phrases)), default=0),
    )


def _spelling(place: int, term: Term, text: str, folder: Folder) -> Spelling:
    folded = _plain(folder.fold(text))
    exact = text.lower() if term.exact and not text.isascii() else None
    bare = folded.replace(" ", "")
    evades = not term.exact and len(bare) >= SHORTEST_EVASION and bare.isascii() and bare.isalpha()
    return Spelling(place, _MODES[term.mode], folded, exact, evades)


def _plain(text: str) -> str:
    return " ".join(text.split())


def _keep(rules: dict[str, Spelling], new: Spelling, terms: Sequence[Term]) -> None:
    """Where two terms share a spelling, the graver one speaks, then the one found in more places."""
    old = rules.get(new.text)
    if old is None or (terms[new.term].severity, new.mode) > (terms[old.term].severity, old.mode):
        rules[new.text] = new


def _bare(spellings: Iterable[Spelling]) -> dict[bytes, list[Spelling]]:
    patterns: dict[bytes, list[Spelling]] = {}
    for spelling in spellings:
        if not spelling.evades:
            continue
        full = skeleton(spelling.text)
        pressed, _ = press(full)
        patterns.setdefault(full, []).append(spelling)
        if pressed != full and len(pressed) >= SHORTEST_EVASION:
            patterns.setdefault(pressed, []).append(spelling)
    return patterns


def _automaton(patterns: list[str], everything: int) -> AhoCorasick | None:
    if not patterns:
        return None
    return AhoCorasick(patterns, store_patterns=False, implementation=_kind(everything))


def _kind(patterns: int) -> Implementation:
    return Implementation.ContiguousNFA if patterns > LARGE else Implementation.DFA
