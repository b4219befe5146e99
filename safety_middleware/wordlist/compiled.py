"""Turn terms into automata: what is looked for in the text, and in its letters alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final, NamedTuple

from ahocorasick_rs import AhoCorasick, BytesAhoCorasick, Implementation

from .fold import Folder
from .near import neighbours
from .skeleton import press, skeleton
from .term import Term

__all__ = [
    "ALLOW",
    "PREFIX",
    "SUBSTRING",
    "WORD",
    "Compiled",
    "Sorted",
    "Spelling",
    "assemble",
    "compile_terms",
    "sort_out",
]

WORD, PREFIX, SUBSTRING, ALLOW = range(4)
_MODES: Final = {"word": WORD, "phrase": WORD, "prefix": PREFIX, "substring": SUBSTRING}

SHORTEST_EVASION: Final = 4
"""Letters a spelling must have to be looked for in other dress; shorter ones hit by chance."""

NO_ACCENTS: Final = frozenset[str]()
_DOUBLE: Final = re.compile(rb"(.)\1")

LARGE: Final = 3_000
"""Patterns from which on the smaller automaton is built: a third slower, built five times as fast."""


class Spelling(NamedTuple):
    """One spelling of a term, folded.

    Attributes:
        term: The term's place in the list.
        mode: ``WORD``, ``PREFIX``, ``SUBSTRING``, or ``ALLOW`` for an allowed phrase.
        text: The folded spelling.
        exact: The spellings in lower case that count, when accents do; empty when they do not.
        evades: Whether other dress is looked for.
    """

    term: int
    mode: int
    text: str
    exact: frozenset[str]
    evades: bool


class Compiled(NamedTuple):
    """The automata with the spellings their patterns stand for.

    Attributes:
        plain: Over folded text, with the spellings in ASCII; None when there is none.
        other: Over folded text that is not all ASCII, with the rest.
        rules: For each pattern of ``plain``, then of ``other``, its spelling.
        shift: How many patterns ``plain`` has.
        bare: Over letters alone, or None.
        bare_rules: For each pattern of ``bare``, the spellings it may be.
        allowed: Single words that are innocent.
        allowed_masks: Words with a star that are innocent, alone or with the word that follows.
        longest: Characters of the longest spelling.
        longest_allow: Characters of the longest allowed word or phrase.
    """

    plain: AhoCorasick | None
    other: AhoCorasick | None
    rules: Sequence[Spelling]
    shift: int
    bare: BytesAhoCorasick | None
    bare_rules: Sequence[tuple[Spelling, ...]]
    allowed: frozenset[str]
    allowed_masks: frozenset[str]
    longest: int
    longest_allow: int

    def beginnings(self) -> list[str]:
        """Every spelling in order, by its letters where it is ASCII: what streams wait for."""
        bare = {press(key)[0].decode() for rule in self.bare_rules for key in _keys(rule)}
        direct = {
            press(skeleton(rule.text))[0].decode() if rule.text.isascii() else rule.text
            for rule in self.rules
            if rule.mode != ALLOW
        }
        return sorted(bare | direct)


def _keys(rules: Iterable[Spelling]) -> Iterator[bytes]:
    return (skeleton(rule.text) for rule in rules)


class Sorted(NamedTuple):
    """What the automata are built of; ``Compiled`` says what the fields are.

    Attributes:
        rules: The spellings looked for in the folded text, those in ASCII first.
        shift: How many are in ASCII.
        bare: Each pattern of letters alone with the spellings it may be.
        allowed: Single words that are innocent.
        allowed_masks: Words with a star that are innocent.
        longest: Characters of the longest spelling.
        longest_allow: Characters of the longest allowed word or phrase.
    """

    rules: Sequence[Spelling]
    shift: int
    bare: Mapping[bytes, tuple[Spelling, ...]]
    allowed: frozenset[str]
    allowed_masks: frozenset[str]
    longest: int
    longest_allow: int


def compile_terms(
    terms: Sequence[Term], allow: Iterable[str], severity: int, folder: Folder
) -> Compiled:
    """Build the automata for the terms that count from ``severity`` on."""
    return assemble(sort_out(terms, allow, severity, folder))


def sort_out(terms: Sequence[Term], allow: Iterable[str], severity: int, folder: Folder) -> Sorted:
    """Fold the spellings of the terms that count, and say how each is looked for."""
    counting = [(place, term) for place, term in enumerate(terms) if term.severity >= severity]
    allows = {_folded(text, folder) for text in allow}
    allows.update(_folded(text, folder) for _, term in counting for text in term.allow)
    rules, phrases = _spellings(counting, terms, folder)
    stars = frozenset(text for text in allows if "*" in text)
    words = frozenset(text for text in allows if text.isalpha())
    bare = _bare(chain(rules.values(), phrases.values()))
    longest = max(map(len, chain(rules, phrases)), default=0)
    direct = rules
    for form, spelling in _near(counting, allows, folder).items():
        direct.setdefault(form, spelling)
    for text in sorted(allows - stars - words):
        for form in (text, text.replace(" ", "-")):
            direct.setdefault(form, Spelling(-1, ALLOW, form, NO_ACCENTS, False))
    plain = [rule for text, rule in direct.items() if text.isascii()]
    other = [rule for text, rule in direct.items() if not text.isascii()]
    return Sorted(
        plain + other,
        len(plain),
        bare,
        words,
        stars,
        longest,
        max(map(len, allows), default=0),
    )


def assemble(parts: Sorted) -> Compiled:
    """Build the automata."""
    texts = [rule.text for rule in parts.rules]
    letters = list(parts.bare)
    return Compiled(
        _automaton(texts[: parts.shift]),
        _automaton(texts[parts.shift :]),
        parts.rules,
        parts.shift,
        BytesAhoCorasick(letters, implementation=_kind(len(letters))) if letters else None,
        list(parts.bare.values()),
        parts.allowed,
        parts.allowed_masks,
        parts.longest,
        parts.longest_allow,
    )


def _spellings(
    counting: Iterable[tuple[int, Term]], terms: Sequence[Term], folder: Folder
) -> tuple[dict[str, Spelling], dict[str, Spelling]]:
    """All spellings, those with a space that are found by their letters apart from the rest."""
    rules: dict[str, Spelling] = {}
    phrases: dict[str, Spelling] = {}
    for place, term in counting:
        mode = _MODES[term.mode]
        for text in term.spellings:
            folded = _folded(text, folder)
            exact = NO_ACCENTS
            if term.exact and not text.isascii():
                exact = frozenset({text.lower()})
            bare = folded.replace(" ", "")
            evades = len(bare) >= SHORTEST_EVASION and not term.exact
            evades = evades and bare.isascii() and bare.isalpha()
            known = phrases if evades and bare is not folded and " " in folded else rules
            old = known.get(folded)
            if old is not None and old.term == place:  # with accents and without: any will do
                exact = old.exact | exact if old.exact and exact else NO_ACCENTS
                known[folded] = old._replace(exact=exact)
                continue
            # Where two terms share a spelling, the graver one speaks, then the one found in more places.
            if old is None or (terms[old.term].severity, old.mode) < (term.severity, mode):
                known[folded] = Spelling(place, mode, folded, exact, evades)
    return rules, phrases


def _near(
    counting: Iterable[tuple[int, Term]], allows: set[str], folder: Folder
) -> dict[str, Spelling]:
    return {
        form: Spelling(place, WORD, form, NO_ACCENTS, False)
        for place, term in counting
        if term.near
        for text in term.spellings
        for form in neighbours(_folded(text, folder))
        if form not in allows
    }


def _folded(text: str, folder: Folder) -> str:
    folded = " ".join(folder.fold(text).split())
    return text if folded == text else folded  # one string of two that are equal


def _bare(spellings: Iterable[Spelling]) -> dict[bytes, tuple[Spelling, ...]]:
    patterns: dict[bytes, tuple[Spelling, ...]] = {}
    for spelling in spellings:
        if not spelling.evades:
            continue
        full = skeleton(spelling.text)
        patterns[full] = (*patterns.get(full, ()), spelling)
        if _DOUBLE.search(full):
            pressed, _ = press(full)
            if len(pressed) >= SHORTEST_EVASION:
                patterns[pressed] = (*patterns.get(pressed, ()), spelling)
    return patterns


def _automaton(patterns: list[str]) -> AhoCorasick | None:
    if not patterns:
        return None
    return AhoCorasick(patterns, store_patterns=False, implementation=_kind(len(patterns)))


def _kind(patterns: int) -> Implementation:
    return Implementation.ContiguousNFA if patterns > LARGE else Implementation.DFA
