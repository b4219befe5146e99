"""The way in, stepped by hand: each step is what the flow asks for, in its order."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from safety_middleware import Action, Decision, ModerationUnavailable, Reason, Turn
from safety_middleware.content import RawRequest
from safety_middleware.errors import BadInput
from safety_middleware.flow import Flow
from safety_middleware.guard import Guard
from safety_middleware.guard.steps import (
    AwaitDecision,
    Hit,
    LoadStanding,
    ReadBody,
    StartModeration,
)
from safety_middleware.identity import Identity, Keyring, Kind
from safety_middleware.moderation import Priority, Question
from safety_middleware.ratelimit import Hits
from safety_middleware.standing import Standing
from safety_middleware.verdict import Verdict
from safety_middleware.wordlist import Wordlist

MakeTurn = Callable[..., Turn]
CLEAN = Verdict(frozenset(), {"violence": 0.01})
VIOLENT = Verdict(frozenset({"violence"}), {"violence": 0.9})
DESPAIR = Verdict(frozenset({"self-harm/intent"}), {"self-harm/intent": 0.9})
FULL = Hits(False, (("RateLimit", '"5-60s";r=0;t=7'),), 7)


def message(text: str) -> RawRequest:
    return body({"message": text})


def body(value: object) -> RawRequest:
    return RawRequest(content_type="application/json", body=json.dumps(value).encode())


class Admitting:
    """An admission under way; ``take`` checks the kind of the next step and answers it."""

    def __init__(self, flow: Flow[Decision]) -> None:
        self._flow = flow
        self.step: Any = next(flow)
        self.result: Decision | None = None

    def take(self, kind: type, answer: object = None) -> Admitting:
        assert type(self.step) is kind, self.step
        return self._go(lambda: self._flow.send(answer))

    def fail(self, kind: type, error: Exception) -> Admitting:
        assert type(self.step) is kind, self.step
        return self._go(lambda: self._flow.throw(error))

    def _go(self, on: Callable[[], object]) -> Admitting:
        try:
            self.step = on()
        except StopIteration as stop:
            self.step, self.result = None, stop.value
        return self

    def to_body(self, request: RawRequest, standing: Standing = Standing()) -> Admitting:  # noqa: B008  # frozen
        return self.take(LoadStanding, standing).take(Hit, Hits()).take(ReadBody, request)


Admit = Callable[[Turn], Admitting]


@pytest.fixture
def admit(guard: Guard, identity: Identity, address: Identity) -> Admit:
    return lambda turn: Admitting(guard.admit(turn, identity, address))


@pytest.fixture
def verdict() -> Future[Verdict]:
    return Future()


def test_the_steps_come_in_the_order_of_their_cost(
    guard: Guard, turn_of: MakeTurn, identity: Identity, address: Identity
) -> None:
    turn = turn_of(hold="reply")
    flow = guard.admit(turn, identity, address)
    assert next(flow) == LoadStanding(identity)
    hit = flow.send(Standing())
    assert isinstance(hit, Hit)
    assert [(b.limit.name, b.key.split(":", 1)[1]) for b in hit.wanted] == [
        ("20-60s", identity.safety_identifier),
        ("300-86400s", identity.safety_identifier),
        ("60-60s", f"{address.safety_identifier}:all"),
    ]
    assert flow.send(Hits(headers=(("RateLimit", "x"),))) == ReadBody(turn.policy.body_limit)
    who, where = identity.safety_identifier, address.safety_identifier
    asking = StartModeration(Question("hello", ()), Priority.NEW, who, where)
    assert flow.send(message("hello")) == asking
    with pytest.raises(StopIteration) as stop:
        flow.send(Future())
    assert stop.value.value == Decision()
    assert turn.decided is None, "the verdict is still out"
    assert turn.findings.headers == (("RateLimit", "x"),)
    assert turn.findings.checked == ["limits", "content", "wordlist", "moderation"]
    assert turn.findings.input_chars == 5


def test_a_limit_that_is_off_bounds_no_share_of_the_budget(
    guard: Guard, turn_of: MakeTurn, identity: Identity, address: Identity
) -> None:
    def asked(**fields: Any) -> tuple[str | None, str | None]:
        flow = guard.admit(turn_of(**fields), identity, address)
        step: Any = next(flow)
        answers = {LoadStanding: Standing(), Hit: Hits(), ReadBody: message("hello")}
        while not isinstance(step, StartModeration):
            step = flow.send(answers[type(step)])
        flow.close()
        return step.who, step.address

    who, where = identity.safety_identifier, address.safety_identifier
    assert asked() == (who, where)
    assert asked(limits=None) == (None, where)
    assert asked(address_limits=None) == (who, None)
    assert asked(limits=None, address_limits=None) == (None, None)


def test_anonymous_turns_have_the_limits_of_strangers(
    guard: Guard, turn_of: MakeTurn, session: Identity, address: Identity
) -> None:
    going = Admitting(guard.admit(turn_of(), session, address)).take(LoadStanding, Standing())
    assert [bucket.limit.name for bucket in going.step.wanted] == ["5-60s", "50-86400s", "60-60s"]


def test_limits_count_over_the_routes_that_share_a_policy_and_no_others(
    guard: Guard, turn_of: MakeTurn, identity: Identity, address: Identity
) -> None:
    def keys(**fields: Any) -> list[str]:
        flow = guard.admit(turn_of(**fields), identity, address)
        next(flow)
        step: Any = flow.send(Standing())
        return [bucket.key for bucket in step.wanted]

    assert keys() == keys(max_input_chars=4_000)
    assert keys() != keys(max_input_chars=4_001)


def test_without_limits_nothing_is_counted_and_the_record_says_so(
    admit: Admit, turn_of: MakeTurn
) -> None:
    turn = turn_of(limits=None, address_limits=None)
    admit(turn).take(LoadStanding, Standing()).take(ReadBody, message("hello"))
    assert turn.findings.skipped == {"limits": "off"}


def test_a_full_bucket_refuses_before_the_body_is_read(admit: Admit, turn_of: MakeTurn) -> None:
    turn = turn_of()
    going = admit(turn).take(LoadStanding, Standing()).take(Hit, FULL)
    assert going.result == Decision(Action.REFUSE, Reason.RATE_LIMITED, retry_after=7)
    assert turn.refusal == turn.findings.decision == going.result
    assert turn.findings.headers == FULL.headers


def test_counting_alone_is_noted(admit: Admit, turn_of: MakeTurn) -> None:
    turn = turn_of()
    admit(turn).take(LoadStanding, Standing()).take(Hit, Hits(fallback=True))
    assert turn.notes["limits_fallback"] is True


@pytest.mark.parametrize("kind", [Kind.SESSION, Kind.ADDRESS])
def test_login_is_required_before_anything_is_asked(
    guard: Guard, turn_of: MakeTurn, keyring: Keyring, kind: Kind, address: Identity
) -> None:
    turn = turn_of(require_login=True)
    flow = guard.admit(turn, keyring.identify(kind, "x"), address)
    with pytest.raises(StopIteration) as stop:
        next(flow)
    assert stop.value.value == Decision(Action.REFUSE, Reason.LOGIN_REQUIRED)


def test_a_user_is_let_in_where_login_is_required(admit: Admit, turn_of: MakeTurn) -> None:
    assert isinstance(admit(turn_of(require_login=True)).step, LoadStanding)


def test_what_cannot_be_read_is_refused_as_its_reader_says(admit: Admit, turn_of: MakeTurn) -> None:
    going = admit(turn_of()).take(LoadStanding, Standing()).take(Hit, Hits())
    going.fail(ReadBody, BadInput(Reason.BODY_TOO_LARGE, "body"))
    assert going.result == Decision(Action.REFUSE, Reason.BODY_TOO_LARGE, param="body")


def test_broken_json_is_refused(admit: Admit, turn_of: MakeTurn) -> None:
    broken = RawRequest(content_type="application/json", body=b'{"message": ')
    going = admit(turn_of()).to_body(broken)
    assert going.result is not None
    assert going.result.reason is Reason.UNREADABLE_BODY


def test_a_long_message_never_reaches_moderation(admit: Admit, turn_of: MakeTurn) -> None:
    going = admit(turn_of(max_input_chars=4)).to_body(message("hello"))
    assert going.result is not None
    assert going.result.reason is Reason.INPUT_TOO_LONG


def test_a_listed_word_never_reaches_moderation_and_is_not_named(
    admit: Admit, turn_of: MakeTurn
) -> None:
    going = admit(turn_of()).to_body(message("oh GADZOOKS!"))
    assert going.result is not None
    assert going.result.reason is Reason.CONTENT_BLOCKED
    assert going.result.param == "input"
    assert going.result.detail is not None
    assert going.result.detail.startswith("term:")


def test_a_routes_own_list_replaces_the_apps(admit: Admit, turn_of: MakeTurn) -> None:
    going = admit(turn_of(wordlist=Wordlist(["zounds"]))).to_body(message("gadzooks"))
    assert isinstance(going.step, StartModeration)
    going = admit(turn_of(wordlist=Wordlist(["zounds"]))).to_body(message("zounds"))
    assert going.result is not None
    assert going.result.reason is Reason.CONTENT_BLOCKED


def test_checks_that_are_off_are_skipped_on_record(admit: Admit, turn_of: MakeTurn) -> None:
    turn = turn_of(wordlist=False, moderation=False)
    going = admit(turn).to_body(message("gadzooks"))
    assert going.result == Decision()
    assert turn.decided == Decision()
    assert turn.judged is None
    assert turn.findings.skipped == {"wordlist": "off", "moderation": "off"}


def test_nothing_said_is_not_moderated(admit: Admit, turn_of: MakeTurn) -> None:
    turn = turn_of()
    going = admit(turn).to_body(message("  "))
    assert going.result == Decision()
    assert turn.findings.skipped == {"moderation": "nothing to moderate"}


def test_an_image_alone_is_moderated(admit: Admit, turn_of: MakeTurn) -> None:
    url = "https://example.org/cat.png"
    part = {"type": "image_url", "image_url": {"url": url}}
    going = admit(turn_of()).to_body(body({"messages": [{"role": "user", "content": [part]}]}))
    assert isinstance(going.step, StartModeration)
    assert going.step.question == Question("", (url,))


@pytest.mark.parametrize(
    ("verdict_is", "reason"),
    [(VIOLENT, Reason.CONTENT_BLOCKED), (DESPAIR, Reason.CARE), (CLEAN, Reason.OK)],
)
def test_holding_at_the_handler_waits_for_the_verdict(
    admit: Admit,
    turn_of: MakeTurn,
    verdict: Future[Verdict],
    verdict_is: Verdict,
    reason: Reason,
) -> None:
    turn = turn_of(hold="handler")
    going = admit(turn).to_body(message("hello")).take(StartModeration, verdict)
    assert going.step == AwaitDecision(turn.admitted)
    assert turn.judged is not None
    assert not turn.judged.done()
    verdict.set_result(verdict_is)
    assert turn.judged.done()
    assert turn.admitted.result().reason is reason
    going.take(AwaitDecision, turn.admitted.result())
    assert going.result is not None
    assert going.result.reason is reason
    assert turn.findings.waited > 0
    assert turn.findings.scores == verdict_is.scores


@pytest.mark.parametrize("hold", ["handler", "reply"])
def test_a_verdict_at_once_is_enforced_at_once(
    admit: Admit, turn_of: MakeTurn, verdict: Future[Verdict], hold: str
) -> None:
    verdict.set_result(VIOLENT)
    going = admit(turn_of(hold=hold)).to_body(message("hello")).take(StartModeration, verdict)
    assert going.result is not None
    assert going.result.reason is Reason.CONTENT_BLOCKED


def test_a_clean_verdict_at_once_is_not_waited_for(
    admit: Admit, turn_of: MakeTurn, verdict: Future[Verdict]
) -> None:
    verdict.set_result(CLEAN)
    turn = turn_of(hold="handler")
    going = admit(turn).to_body(message("hello")).take(StartModeration, verdict)
    assert going.result == turn.decided == Decision()
    assert turn.findings.waited == 0


@pytest.mark.parametrize(
    ("failure", "cause"),
    [
        (ModerationUnavailable("timeout"), "timeout"),
        (ValueError("secret words"), "internal"),
        (None, "internal"),
    ],
)
@pytest.mark.parametrize("on_failure", ["closed", "open"])
def test_no_verdict_is_no_consent_and_stands_on_record(
    admit: Admit,
    turn_of: MakeTurn,
    *,
    failure: Exception | None,
    cause: str,
    on_failure: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    verdict: Future[Verdict] = Future()
    turn = turn_of(hold="handler", on_failure=on_failure)
    admit(turn).to_body(message("hello")).take(StartModeration, verdict)
    if failure is None:
        verdict.cancel()
    else:
        verdict.set_exception(failure)
    decision = turn.admitted.result(0)
    assert decision.allowed is (on_failure == "open")
    assert decision.detail == turn.findings.decision.detail == cause
    assert turn.findings.skipped == {"moderation": cause}
    assert "moderation" not in turn.findings.checked
    assert turn.judged is not None
    assert turn.judged.done()
    assert "secret words" not in caplog.text


def test_nonsense_for_a_verdict_is_no_verdict(
    admit: Admit, turn_of: MakeTurn, caplog: pytest.LogCaptureFixture
) -> None:
    nonsense: Future[Any] = Future()
    turn = turn_of()
    admit(turn).to_body(message("hello")).take(StartModeration, nonsense)
    with caplog.at_level(logging.ERROR):
        nonsense.set_result(None)
    assert turn.refusal is not None
    assert turn.refusal.reason is Reason.MODERATION_UNAVAILABLE
    assert "could not be judged" in caplog.text


def test_the_hold_follows_the_tier_and_what_the_route_was_seen_to_do(
    admit: Admit, turn_of: MakeTurn
) -> None:
    def hold(standing: Standing, *, guarded: bool, blocks: bool = False) -> str:
        turn = turn_of()
        turn.route.seen_guarded = guarded
        turn.route.blocks_loop = blocks
        admit(turn).to_body(message("hello"), standing)
        return turn.hold

    assert hold(Standing(), guarded=True) == "model"
    assert hold(Standing(), guarded=False) == "handler"
    assert hold(Standing(), guarded=True, blocks=True) == "handler"
    assert hold(Standing(clean_turns=20), guarded=True) == "reply"
    assert hold(Standing(clean_turns=20, watched_until=4e9), guarded=True) == "handler"


class TestObserving:
    def test_nothing_is_refused_and_everything_is_found(
        self, admit: Admit, turn_of: MakeTurn, verdict: Future[Verdict]
    ) -> None:
        turn = turn_of(observe=True, hold="handler", require_login=True, max_input_chars=3)
        going = admit(turn).take(LoadStanding, Standing()).take(Hit, FULL)
        going.take(ReadBody, message("gadzooks")).take(StartModeration, verdict)
        assert going.result == turn.decided == Decision()
        assert turn.findings.decision.reason is Reason.RATE_LIMITED
        assert turn.findings.checked == ["limits", "content", "wordlist", "moderation"]

    @pytest.mark.parametrize("early", [True, False])
    def test_a_verdict_is_recorded_and_stops_nothing(
        self, admit: Admit, turn_of: MakeTurn, verdict: Future[Verdict], *, early: bool
    ) -> None:
        turn = turn_of(observe=True, hold="handler")
        if early:
            verdict.set_result(VIOLENT)
        going = admit(turn).to_body(message("hello")).take(StartModeration, verdict)
        assert going.result == Decision()
        if not early:
            assert turn.judged is not None
            assert not turn.judged.done()
            verdict.set_result(VIOLENT)
        assert turn.decided == Decision()
        assert turn.findings.decision.reason is Reason.CONTENT_BLOCKED
        assert turn.findings.categories == ("violence",)

    def test_what_cannot_be_read_goes_by_unchecked_on_record(
        self, admit: Admit, turn_of: MakeTurn
    ) -> None:
        turn = turn_of(observe=True)
        going = admit(turn).to_body(RawRequest(content_type="application/json", body=b"{"))
        assert going.result == Decision()
        assert turn.findings.decision.reason is Reason.UNREADABLE_BODY
        assert turn.findings.skipped == {"wordlist": "unreadable", "moderation": "unreadable"}


class TestHistory:
    HISTORY = ({"role": "user", "content": "old"}, {"role": "assistant", "content": "yes"})

    @pytest.fixture
    def question(self, admit: Admit) -> Callable[[Turn, str], Iterator[Any]]:
        def ask(turn: Turn, new: str) -> Any:
            messages = [*self.HISTORY, {"role": "user", "content": new}]
            return admit(turn).to_body(body({"messages": messages}))

        return ask

    def test_it_is_checked_once(self, question: Any, turn_of: MakeTurn) -> None:
        going = question(turn_of(), "one")
        assert going.step.question == Question("old\nyes\none", ())
        answer: Future[Verdict] = Future()
        answer.set_result(CLEAN)
        going.take(StartModeration, answer)
        assert question(turn_of(), "two").step.question == Question("two", ())

    @pytest.mark.parametrize("answered", [VIOLENT, None])
    def test_it_is_checked_again_while_it_was_not_found_clean(
        self, question: Any, turn_of: MakeTurn, answered: Verdict | None
    ) -> None:
        answer: Future[Verdict] = Future()
        if answered is None:
            answer.set_exception(ModerationUnavailable("timeout"))
        else:
            answer.set_result(answered)
        question(turn_of(on_failure="open"), "one").take(StartModeration, answer)
        going = question(turn_of(on_failure="open"), "two")
        assert going.step.question == Question("old\nyes\ntwo", ())

    @pytest.mark.parametrize(
        "lax",
        [{"actions": {"*": "off"}}, {"wordlist": False}, {"wordlist": Wordlist(["other"])}],
    )
    def test_what_passed_a_lax_policy_is_checked_under_a_strict_one(
        self, question: Any, turn_of: MakeTurn, lax: dict[str, Any]
    ) -> None:
        answer: Future[Verdict] = Future()
        answer.set_result(CLEAN)
        question(turn_of(**lax), "one").take(StartModeration, answer)
        going = question(turn_of(), "two")
        assert going.step.question == Question("old\nyes\ntwo", ())


class TestAskingAgain:
    @pytest.fixture
    def turn(self, admit: Admit, turn_of: MakeTurn, verdict: Future[Verdict]) -> Turn:
        turn = turn_of(hold="reply")
        admit(turn).to_body(message("hello")).take(StartModeration, verdict)
        return turn

    def test_the_same_question_goes_elsewhere(self, turn: Turn, elsewhere: Any) -> None:
        assert turn.ask_again is not None
        decided = turn.ask_again()
        assert elsewhere.asked == [Question("hello", ())]
        elsewhere.answer.set_result(VIOLENT)
        assert decided.result(0).reason is Reason.CONTENT_BLOCKED
        assert turn.findings.decision.reason is Reason.CONTENT_BLOCKED

    @pytest.mark.parametrize("failure", [ModerationUnavailable("timeout"), RuntimeError("odd")])
    def test_no_answer_is_a_refusal_and_never_a_wait(
        self, turn: Turn, elsewhere: Any, failure: Exception
    ) -> None:
        assert turn.ask_again is not None
        decided = turn.ask_again()
        elsewhere.answer.set_exception(failure)
        assert decided.result(0).reason is Reason.MODERATION_UNAVAILABLE
