"""Why a text was or was not blocked, for the operator's eyes only: it shows words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .engine import Engine
from .term import Match

__all__ = ["Explanation", "Finding", "Reading", "explain"]


class Reading(StrEnum):
    """How a text had to be read for a term to appear."""

    WRITTEN = "as written"


@dataclass(frozen=True, slots=True)
class Finding:
    """One term in the text, whether it blocks or not.

    Attributes:
        match: The match.
        written: The slice of the original text.
        read: That slice as it was read.
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


def explain(engine: Engine, text: str, severity: int) -> Explanation:
    """Explain a text against an engine of all severities."""
    return Explanation(
        tuple(
            Finding(
                m,
                text[m.start : m.end],
                text[m.start : m.end].lower(),
                Reading.WRITTEN,
                m.severity >= severity,
            )
            for m in engine.find_all(text)
        )
    )
