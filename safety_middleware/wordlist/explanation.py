"""Why a text was or was not blocked, for the operator's eyes only: it shows words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from .engine import Engine, Hit
from .term import Match, Term

__all__ = ["Explanation", "Finding", "Reading", "explain"]


class Reading(StrEnum):
    """How a text had to be read for a term to appear."""

    WRITTEN = "as written"
    FOLDED = "case, accents, width or look-alikes folded"
    SEPARATED = "letters set apart, or digits and signs for letters"
    REPEATED = "letters held down"
    MASKED = "letters hidden behind signs"
    LOOKALIKE = "look-alikes of another script"
    MISSPELT = "misspelt"
    ESCAPED = "escapes or text direction undone"


@dataclass(frozen=True, slots=True)
class Finding:
    """One term in the text, whether it blocks or not.

    Attributes:
        match: The match.
        written: The slice of the original text.
        read: The spelling it was read as.
        reading: How it was read.
        blocks: Whether it counts at the list's severity.
        allowed_by: The allow rule that lets it pass, or None.
    """

    match: Match
    written: str
    read: str
    reading: Reading
    blocks: bool
    allowed_by: str | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """All findings of one text, in order of place.

    Attributes:
        findings: What was found.
    """

    findings: tuple[Finding, ...]

    @property
    def blocked(self) -> bool:
        """Whether any finding blocks."""
        return any(finding.blocks for finding in self.findings)


def explain(terms: Sequence[Term], allow: Sequence[str], severity: int, text: str) -> Explanation:
    """Explain a text: what the terms find in it, at any severity and without allow rules."""
    strict = Engine.of([replace(term, allow=()) for term in terms], (), 1)
    ruled = Engine.of(terms, allow, severity)
    blocking = {(match.term, match.start, match.end) for match in ruled.find_all(text)}
    findings: list[Finding] = []
    for match, hit in strict.findings(text):
        blocks = (match.term, match.start, match.end) in blocking
        findings.append(
            Finding(
                match,
                text[match.start : match.end],
                hit.spelling.text,
                _reading(text[match.start : match.end], hit, terms[hit.spelling.term]),
                blocks,
                None if blocks else ruled.allowed_by(text, match.start, match.end),
            )
        )
    return Explanation(tuple(findings))


def _reading(written: str, hit: Hit, term: Term) -> Reading:
    if hit.dress != "written":
        return Reading[hit.dress.upper()]
    if term.near and not hit.spelling.evades and hit.spelling.text not in term.spellings:
        return Reading.MISSPELT
    return Reading.WRITTEN if written.lower() == hit.spelling.text else Reading.FOLDED
