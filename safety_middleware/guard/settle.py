"""The way out: what a finished turn leaves behind, in the standing and in the record."""

from __future__ import annotations

import time
from dataclasses import dataclass

from safety_middleware.decision import Reason
from safety_middleware.flow import Flow
from safety_middleware.standing import WORDLIST, Clean, Strike, Tiers
from safety_middleware.store import Record
from safety_middleware.turn import Turn

from .steps import SaveStanding, WriteRecord

__all__ = ["Outcome", "settle"]

STRIKES = frozenset({Reason.CONTENT_BLOCKED})
"""Reasons that count against who spoke."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the reply of a turn ended.

    Attributes:
        status: HTTP status that was sent, or None when none was.
        method: HTTP method of the request.
        disconnected: The client left before the end.
        failed: The app raised.
    """

    status: int | None
    method: str
    disconnected: bool = False
    failed: bool = False


def settle(turn: Turn, outcome: Outcome, tiers: Tiers) -> Flow[Record]:
    """Settle a turn whose reply and verdict are both in."""
    now = time.time()
    event = _event(turn, now, tiers)
    if turn.identity is not None and event is not None:
        yield from SaveStanding(turn.identity, event)
    record = _record(turn, outcome, now)
    yield from WriteRecord(record)
    return record


def _event(turn: Turn, now: float, tiers: Tiers) -> Clean | Strike | None:
    """What the turn says of who spoke; None: nothing."""
    findings = turn.findings
    if findings.decision.reason in STRIKES:
        what = _what(turn, tiers)
        weight = 0.0 if turn.policy.observe else tiers.weight(what)
        return Strike(turn.id, now, weight, what) if weight else None
    moderated = "moderation" in findings.checked and not findings.categories
    return Clean(1, now, now) if moderated and findings.decision.allowed else None


def _what(turn: Turn, tiers: Tiers) -> str:
    """What the turn was blocked for: of several categories the one that weighs most."""
    detail = turn.findings.decision.detail or ""
    if detail.startswith("term:"):
        return WORDLIST
    blocking = [c for c in turn.findings.categories if turn.policy.action_of(c) == "block"]
    return max(blocking, key=tiers.weight, default=detail)


def _record(turn: Turn, outcome: Outcome, now: float) -> Record:
    findings, identity = turn.findings, turn.identity
    decision = findings.decision
    notes = dict(turn.notes)
    if notes.get("hold_asked") == "model" and decision.allowed and not turn.guarded_calls:
        notes["unguarded"] = True  # hold="model" was asked for, and no guarded call was made
    if outcome.disconnected:
        notes["disconnected"] = True
    if outcome.failed:
        notes["app_failed"] = True
    return Record(
        id=turn.id,
        at=now,
        route=turn.route.name,
        method=outcome.method,
        identity=None if identity is None else identity.safety_identifier,
        kind=None if identity is None else identity.kind.name.lower(),
        tier=turn.tier,
        hold=None if turn.judged is None or turn.policy.observe else turn.hold,
        action=decision.action.value,
        reason=decision.reason.value,
        detail=decision.detail,
        observed=turn.policy.observe,
        checked=tuple(findings.checked),
        skipped=dict(findings.skipped),
        scores=dict(findings.scores),
        categories=findings.categories,
        input_chars=findings.input_chars,
        images=findings.images,
        guarded_calls=turn.guarded_calls,
        aborted_calls=turn.aborted_calls,
        added_wait_ms=round(findings.waited * 1000, 3),
        duration_ms=round((time.monotonic() - turn.started) * 1000, 3),
        status=outcome.status,
        shown_chars=None,
        notes=notes,
    )
