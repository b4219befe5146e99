from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from safety_middleware import Action, Decision, Policy, Reason, Turn
from safety_middleware.guard import Outcome, settle
from safety_middleware.guard.steps import SaveStanding, WriteRecord
from safety_middleware.standing import Clean, Strike, Tiers
from safety_middleware.store import Record
from safety_middleware.turn import Route

MakeTurn = Callable[..., Turn]
BLOCKED = Decision(Action.REFUSE, Reason.CONTENT_BLOCKED, param="input", detail="violence")


def settled(turn: Turn, **outcome: Any) -> tuple[list[SaveStanding], Record]:
    """Step a settling turn to its end; gives what it counted and wrote."""
    fields: dict[str, Any] = {"status": 200, "method": "POST", **outcome}
    flow = settle(turn, Outcome(**fields), Tiers())
    counted: list[SaveStanding] = []
    step: Any = next(flow)
    while isinstance(step, SaveStanding):
        counted.append(step)
        step = flow.send(None)
    assert isinstance(step, WriteRecord)
    with pytest.raises(StopIteration) as stop:
        flow.send(None)
    assert stop.value.value is step.record
    return counted, step.record


@pytest.fixture
def turn(turn_of: MakeTurn) -> Turn:
    """A turn that was moderated and found clean."""
    turn = turn_of()
    turn.findings.checked.append("moderation")
    turn.judged = Future()
    turn.judged.set_result(None)
    return turn


def test_a_clean_turn_counts_for_who_spoke(turn: Turn) -> None:
    [counted], record = settled(turn)
    assert (counted.identity, counted.event) == (turn.identity, Clean(1, record.at, record.at))
    assert (record.action, record.reason, record.observed) == ("allow", "ok", False)


def test_a_blocked_turn_counts_against_who_spoke(turn: Turn) -> None:
    turn.findings.add(BLOCKED)
    [counted], record = settled(turn, status=400)
    assert counted.event == Strike(turn.id, record.at, 0.5, "violence")
    assert (record.action, record.reason, record.detail) == (
        "refuse",
        "content_blocked",
        "violence",
    )
    assert record.status == 400


@pytest.mark.parametrize("reason", [r for r in Reason if r is not Reason.CONTENT_BLOCKED])
def test_other_refusals_count_neither_way(turn: Turn, reason: Reason) -> None:
    turn.findings.add(Decision(Action.REFUSE, reason))
    assert settled(turn)[0] == []


def test_a_turn_that_was_not_moderated_is_not_clean(turn: Turn) -> None:
    turn.findings.checked.clear()
    turn.findings.skipped["moderation"] = "timeout"
    counted, record = settled(turn)
    assert counted == []
    assert record.skipped == {"moderation": "timeout"}


def test_a_flagged_turn_is_not_clean(turn: Turn) -> None:
    turn.findings.categories = ("hate",)
    counted, record = settled(turn)
    assert counted == []
    assert record.categories == ("hate",)


def test_observing_strikes_nobody_and_records_what_it_saw(turn_of: MakeTurn) -> None:
    turn = turn_of(observe=True)
    turn.judged = Future()
    turn.findings.checked.append("moderation")
    turn.findings.add(BLOCKED)
    counted, record = settled(turn)
    assert counted == []
    assert (record.action, record.reason, record.observed) == ("refuse", "content_blocked", True)
    assert record.hold is None, "nothing waited"


def test_a_turn_without_an_identity_counts_for_nobody() -> None:
    turn = Turn(Route("/chat", Policy()), None)
    counted, record = settled(turn, status=None, failed=True)
    assert counted == []
    assert (record.identity, record.kind, record.status) == (None, None, None)
    assert record.notes == {"app_failed": True}


def test_the_record_tells_who_waited_for_what(turn: Turn) -> None:
    assert turn.identity is not None
    turn.hold, turn.tier = "reply", "known"
    turn.findings.waited = 0.25
    turn.findings.scores = {"hate": 0.1}
    turn.guarded_calls, turn.aborted_calls = 2, 1
    _, record = settled(turn, disconnected=True)
    assert record.identity == turn.identity.safety_identifier
    assert (record.id, record.route, record.method) == (turn.id, "/chat", "POST")
    assert (record.kind, record.tier, record.hold) == ("user", "known", "reply")
    assert (record.guarded_calls, record.aborted_calls) == (2, 1)
    assert record.added_wait_ms == 250
    assert record.duration_ms >= 0
    assert record.scores == {"hate": 0.1}
    assert record.notes == {"disconnected": True}


def test_a_turn_that_never_asked_held_nothing(turn_of: MakeTurn) -> None:
    assert settled(turn_of())[1].hold is None


@pytest.mark.parametrize(
    ("calls", "found", "noted"), [(0, None, True), (1, None, False), (0, BLOCKED, False)]
)
def test_an_unguarded_call_on_a_route_that_was_to_hold_there_is_on_record(
    turn: Turn, calls: int, found: Decision | None, *, noted: bool
) -> None:
    turn.notes["hold_asked"] = "model"
    turn.guarded_calls = calls
    if found is not None:
        turn.findings.add(found)
    _, record = settled(turn)
    assert record.notes.get("unguarded", False) is noted
    assert "unguarded" not in turn.notes, "the turn's own notes stay as they were"
