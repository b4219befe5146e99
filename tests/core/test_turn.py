from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any

import pytest

from safety_middleware import (
    Action,
    ContentBlocked,
    Decision,
    NoCurrentTurn,
    Policy,
    Reason,
    Turn,
    current_turn,
)
from safety_middleware.turn import Findings, Route, bound, find_turn
from safety_middleware.wordlist import Wordlist

MakeTurn = Callable[..., Turn]
BLOCKED = Decision(Action.REFUSE, Reason.CONTENT_BLOCKED)
UNAVAILABLE = Decision(Action.REFUSE, Reason.MODERATION_UNAVAILABLE)


@pytest.fixture
def turn(turn_of: MakeTurn) -> Turn:
    return turn_of()


@pytest.fixture
def restless() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


class TestDeciding:
    def test_the_first_decision_stands(self, turn: Turn) -> None:
        assert turn.decided is None
        assert turn.refusal is None
        assert turn.decide(BLOCKED)
        assert not turn.decide(Decision())
        assert turn.decided == turn.refusal == BLOCKED
        assert turn.admitted.result(0) == BLOCKED

    def test_an_allowed_turn_has_no_refusal(self, turn: Turn) -> None:
        turn.decide(Decision())
        assert turn.refusal is None
        assert turn.decided == Decision()

    def test_whoever_waited_before_is_told(self, turn: Turn) -> None:
        admitted = turn.admitted
        assert admitted is turn.admitted
        assert not admitted.done()
        turn.decide(BLOCKED)
        assert admitted.result(0) == BLOCKED

    def test_no_waiter_can_take_the_decision_from_the_others(self, turn: Turn) -> None:
        assert not turn.admitted.cancel()
        turn.decide(BLOCKED)
        assert turn.admitted.result(0) == BLOCKED

    def test_a_waiter_that_fails_stops_neither_the_others_nor_the_ends(
        self, turn: Turn, caplog: pytest.LogCaptureFixture
    ) -> None:
        told: list[str] = []

        def failing(_: Future[Decision]) -> None:
            raise ValueError

        turn.admitted.add_done_callback(failing)
        turn.admitted.add_done_callback(lambda _: told.append("waiter"))
        turn.on_refused(lambda: told.append("end"))
        turn.decide(BLOCKED)
        assert told == ["waiter", "end"]
        assert "ValueError" in caplog.text

    @pytest.mark.usefixtures("restless")
    def test_of_many_threads_one_decides(self, turn_of: MakeTurn) -> None:
        for _ in range(30):
            turn = turn_of()
            ended: list[int] = []
            turn.on_refused(lambda ended=ended: ended.append(1))  # type: ignore[misc]  # bound early
            start = threading.Barrier(6)
            first: list[bool] = []
            seen: list[Decision] = []

            def race(
                decision: Decision,
                turn: Turn = turn,
                start: threading.Barrier = start,
                first: list[bool] = first,
                seen: list[Decision] = seen,
            ) -> None:
                start.wait()
                first.append(turn.decide(decision))
                seen.append(turn.admitted.result(5))

            decisions = [BLOCKED, Decision(), UNAVAILABLE] * 2
            threads = [threading.Thread(target=race, args=(d,)) for d in decisions]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert sum(first) == 1
            assert len(set(seen)) == 1
            assert len(ended) == (0 if seen[0].allowed else 1)


class TestEnding:
    def test_what_runs_is_ended_once_by_a_refusal(self, turn: Turn) -> None:
        ended: list[str] = []
        turn.on_refused(lambda: ended.append("one"))
        turn.on_refused(lambda: ended.append("two"))
        turn.decide(BLOCKED)
        turn.decide(UNAVAILABLE)
        assert ended == ["one", "two"]

    def test_what_took_itself_back_is_not_ended(self, turn: Turn) -> None:
        ended: list[str] = []
        forget = turn.on_refused(lambda: ended.append("one"))
        forget()
        forget()
        turn.decide(BLOCKED)
        assert ended == []

    def test_an_allowed_turn_ends_nothing(self, turn: Turn) -> None:
        ended: list[str] = []
        turn.on_refused(lambda: ended.append("one"))
        turn.decide(Decision())
        turn.on_refused(lambda: ended.append("two"))()
        assert ended == []

    def test_one_that_cannot_be_ended_does_not_keep_the_others(
        self, turn: Turn, caplog: pytest.LogCaptureFixture
    ) -> None:
        ended: list[str] = []

        def failing() -> None:
            raise OSError

        turn.on_refused(failing)
        turn.on_refused(lambda: ended.append("two"))
        turn.decide(BLOCKED)
        assert ended == ["two"]
        assert "ending a model call of a refused turn failed" in caplog.text

    def test_in_a_refused_turn_nothing_begins(self, turn: Turn) -> None:
        turn.decide(BLOCKED)
        with pytest.raises(ContentBlocked) as blocked:
            turn.on_refused(lambda: None)
        assert blocked.value.decision == BLOCKED
        assert blocked.value.status_code == 400


class TestFindings:
    def test_the_first_finding_that_refuses_is_kept(self) -> None:
        findings = Findings()
        for decision in (Decision(detail="timeout"), BLOCKED, UNAVAILABLE):
            findings.add(decision)
        assert findings.decision == BLOCKED

    def test_what_let_the_turn_through_is_kept_too(self) -> None:
        findings = Findings()
        findings.add(Decision(detail="timeout"))
        assert findings.decision.detail == "timeout"


class TestTheCurrentTurn:
    def test_there_is_none_outside(self) -> None:
        assert find_turn() is None
        with pytest.raises(NoCurrentTurn, match=r"safety\.bind"):
            current_turn()

    def test_it_is_bound_and_given_back(self, turn: Turn, turn_of: MakeTurn) -> None:
        inner = turn_of()
        with bound(turn):
            with bound(inner):
                assert current_turn() is inner
            with bound(None):
                assert find_turn() is None
            assert current_turn() is turn
        assert find_turn() is None

    def test_threads_do_not_inherit_it_and_copied_contexts_do(self, turn: Turn) -> None:
        seen: list[Any] = []
        with bound(turn):
            context = copy_context()
            targets: list[Callable[[], None]] = [
                lambda: seen.append(find_turn()),
                lambda: context.run(lambda: seen.append(find_turn())),
            ]
            for target in targets:
                thread = threading.Thread(target=target)
                thread.start()
                thread.join()
        assert seen == [None, turn]


def test_a_turn_tells_its_rules_and_who_speaks(turn_of: MakeTurn) -> None:
    turn = turn_of(max_output_tokens=300)
    assert turn.identity is not None
    assert turn.safety_identifier == turn.identity.safety_identifier
    assert turn.max_output_tokens == 300
    assert re.fullmatch(r"req_[0-9a-f]{24}", turn.id)
    assert turn.id != turn_of().id


def test_without_an_identity_there_is_no_identifier() -> None:
    with pytest.raises(NoCurrentTurn, match="no identity"):
        _ = Turn(Route("/chat", Policy()), None).safety_identifier


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({}, {"max_input_chars": 4_000}, True),
        ({}, {"max_input_chars": 5}, False),
        ({"thresholds": {"hate": 0.5}}, {"thresholds": {"hate": 0.6}}, False),
        ({"client_roles": {"user", "tool"}}, {"client_roles": ["tool", "user"]}, True),
        ({"wordlist": Wordlist(["a"])}, {"wordlist": Wordlist(["b"])}, True),
        ({"choices": {"m": ["\ud800"]}}, {}, False),
    ],
)
def test_routes_of_equal_rules_have_one_scope(
    one: dict[str, Any], other: dict[str, Any], *, same: bool
) -> None:
    scopes = {Route("/a", Policy(**one)).scope, Route("/b", Policy(**other)).scope}
    assert (len(scopes) == 1) is same
