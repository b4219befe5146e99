"""The compiled form of a wordlist, and the search through a text."""

from __future__ import annotations

from collections.abc import Sequence

from ahocorasick_rs import AhoCorasick

from .term import Match, Term

__all__ = ["Engine"]


class Engine:
    """One automaton over all spellings of the terms that count."""

    __slots__ = ("_allow", "_automaton", "_owners", "longest")

    def __init__(self, terms: Sequence[Term], allow: Sequence[str], severity: int) -> None:
        owners: dict[str, Term] = {}
        for term in terms:
            if term.severity >= severity:
                for spelling in term.spellings:
                    owners.setdefault(spelling.lower(), term)
        self._owners = list(owners.values())
        self._allow = {a.lower() for t in terms for a in t.allow} | {a.lower() for a in allow}
        self.longest = max(map(len, owners), default=0)
        self._automaton = AhoCorasick(list(owners)) if owners else None

    def blocked(self, text: str) -> bool:
        """Whether any term that counts is there."""
        return bool(self.find_all(text))

    def find_all(self, text: str) -> tuple[Match, ...]:
        """Every term that counts, in order of place."""
        if self._automaton is None:
            return ()
        low = "".join(
            c if len(d := c.lower()) != 1 or "\ud800" <= c <= "\udfff" else d for c in text
        )
        low = low.encode("utf-8", "replace").decode("utf-8") if not low.isascii() else low
        found: list[Match] = []
        for index, start, end in self._automaton.find_matches_as_indexes(low, overlapping=True):
            term = self._owners[index]
            if self._stands(term.mode, low, start, end):
                found.append(Match(term.id, term.category, term.severity, start, end))
        return tuple(sorted(found, key=lambda m: (m.start, -m.end)))

    def _stands(self, mode: str, low: str, start: int, end: int) -> bool:
        before = start == 0 or not low[start - 1].isalpha()
        after = end == len(low) or not low[end].isalpha()
        if mode == "substring":
            return _token(low, start, end) not in self._allow
        return before and (after or mode == "prefix") and _token(low, start, end) not in self._allow


def _token(low: str, start: int, end: int) -> str:
    while start and low[start - 1].isalpha():
        start -= 1
    while end < len(low) and low[end].isalpha():
        end += 1
    return low[start:end]
