"""Turns of the same people, one after the other: what the flows do with who they are."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from importlib import import_module
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safety_middleware import Action, Policy, Reason, Turn
from safety_middleware.content import RawRequest
from safety_middleware.flow import run
from safety_middleware.guard import Cleared, Guard, Outcome, Sampling, settle
from safety_middleware.identity import Identity, Keyring, Kind
from safety_middleware.moderation import Question
from safety_middleware.ratelimit import Hits
from safety_middleware.refusal import refusal_of
from safety_middleware.standing import (
    DAY,
    Clean,
    Event,
    Lift,
    Standing,
    Strike,
    Suspend,
    Tiers,
    after,
)
from safety_middleware.store import Record
from safety_middleware.turn import Route
from safety_middleware.verdict import Verdict
from safety_middleware.wordlist import Wordlist

NOW = 1_800_000_000.0
WORDS = Wordlist(["gadzooks"])
VERDICTS = {
    "hateful": Verdict(frozenset({"hate"}), {"hate": 0.9}),
    "worse": Verdict(frozenset({"hate", "sexual/minors"}), {"hate": 0.9, "sexual/minors": 0.9}),
    "despair": Verdict(frozenset({"self-harm"}), {"self-harm": 0.9}),
}
CLEAN = Verdict(frozenset(), {"hate": 0.1})
# the package gives the function settle() the name of its module
CLOCKS = tuple(import_module(f"safety_middleware.guard.{name}") for name in ("admit", "settle"))
TRUSTED = Standing(500, NOW - 100 * DAY)


class World:
    """The ports of one process, and a clock."""

    def __init__(self, tiers: Tiers | None = None, **policy: Any) -> None:
        self.tiers = tiers or Tiers()
        self.policy = Policy(**policy)
        self.now = NOW
        self.standings: dict[str, Standing] = {}
        self.remembered: dict[str, Verdict] = {}
        self.records: list[Record] = []
        self.asked: list[str] = []
        self.hits = 0
        self.text = ""
        key = b"k" * 32
        sampling = Sampling(key, lambda question: self.remembered.get(question.text))
        self.guard = Guard(WORDS, Cleared(key), self.ask, sampling, self.tiers)

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def tell(self, who: Identity, event: Event) -> None:
        name = who.safety_identifier
        before = self.standings.get(name, Standing())
        self.standings[name] = after(before, event, who.kind, self.tiers)

    def load_standing(self, identity: Identity) -> Standing:
        return self.standings.get(identity.safety_identifier, Standing())

    def save_standing(self, identity: Identity, event: Clean | Strike) -> None:
        self.tell(identity, event)

    def hit(self, wanted: Any) -> Hits:
        self.hits += 1
        return Hits()

    def read_body(self, limit: int) -> RawRequest:
        body = json.dumps({"message": self.text}).encode()
        return RawRequest(content_type="application/json", body=body)

    def ask(self, question: Question, *_: Any, **__: Any) -> Future[Verdict]:
        self.asked.append(question.text)
        answer: Future[Verdict] = Future()
        answer.set_result(VERDICTS.get(question.text.partition(" ")[0], CLEAN))
        return answer

    def wait(self, admitted: Future[Any]) -> Any:
        return admitted.result(0)

    def write(self, record: Record) -> None:
        self.records.append(record)

    def say(self, who: Identity, text: str) -> Turn:
        self.text = text
        self.now += 1
        turn = Turn(Route("/chat", self.policy), who)
        address = Keyring(["s" * 32]).identify(Kind.ADDRESS, "192.0.2.7")
        run(self.guard.admit(turn, who, address), self)
        run(settle(turn, Outcome(200, "POST"), self.tiers), self)
        return turn


MakeWorld = Callable[..., World]


@pytest.fixture
def world() -> Iterator[MakeWorld]:
    with pytest.MonkeyPatch.context() as patch:

        def make(*arguments: Any, **policy: Any) -> World:
            made = World(*arguments, **policy)
            for module in CLOCKS:
                patch.setattr(module, "time", made)
            return made

        yield make


def test_who_is_suspended_is_refused_before_anything_is_counted_or_read(
    world: MakeWorld, user: Identity
) -> None:
    here = world()
    here.tell(user, Suspend(NOW + 3601, NOW, "why"))
    turn = here.say(user, "hello")
    assert turn.refusal is not None
    assert (turn.refusal.action, turn.refusal.reason) == (Action.REFUSE, Reason.SUSPENDED)
    assert (turn.refusal.retry_after, turn.refusal.retry_at) == (3600, NOW + 3601)
    assert (here.hits, here.asked) == (0, [])
    [record] = here.records
    assert (record.reason, record.tier) == ("suspended", "suspended")


def test_the_refusal_says_until_when(world: MakeWorld, user: Identity) -> None:
    here = world()
    here.tell(user, Suspend(NOW + 3600.5, NOW, "why"))
    decision = here.say(user, "hello").refusal
    assert decision is not None
    refusal = refusal_of(decision, "req_1")
    assert refusal.status == 403
    error = json.loads(refusal.body)["error"]
    assert (error["code"], error["retry_at"]) == ("suspended", NOW + 3601)
    assert dict(refusal.headers)["Retry-After"] == "3600"
    assert b"why" not in refusal.body
    problem = json.loads(refusal_of(decision, "req_1", accept="application/problem+json").body)
    assert problem["retry_at"] == NOW + 3601
    here.tell(user, Suspend(math.inf, NOW + 9, "why"))
    decision = here.say(user, "hello").refusal
    assert decision is not None
    refusal = refusal_of(decision, "req_1")
    assert "retry_at" not in json.loads(refusal.body)["error"]
    assert "Retry-After" not in dict(refusal.headers)


def test_observing_lets_the_suspended_through_on_record(world: MakeWorld, user: Identity) -> None:
    here = world(observe=True)
    here.tell(user, Suspend(math.inf, NOW, "why"))
    turn = here.say(user, "hello")
    assert turn.refusal is None
    assert (here.records[0].reason, here.records[0].observed) == ("suspended", True)
    assert here.asked == ["hello"]


def test_a_standing_that_could_not_be_read_is_on_record(world: MakeWorld, user: Identity) -> None:
    here = world()
    here.standings[user.safety_identifier] = Standing(unread=True)
    here.say(user, "hello")
    assert here.records[0].notes["standing_unread"] is True


@pytest.mark.parametrize(
    ("text", "what", "weight"),
    [("hateful", "hate", 0.5), ("worse", "sexual/minors", 2.5), ("gadzooks", "wordlist", 0.25)],
)
def test_a_strike_weighs_what_its_worst_category_does(
    world: MakeWorld, user: Identity, text: str, what: str, weight: float
) -> None:
    here = world(hold="handler")
    turn = here.say(user, text)
    [strike] = here.load_standing(user).strikes
    assert strike == Strike(turn.id, here.now, weight, what)


@pytest.mark.parametrize(
    ("text", "policy", "tiers"),
    [
        ("despair", {}, None),
        ("hateful", {"actions": {"hate": "flag"}}, None),
        ("hateful", {"observe": True}, None),
        ("gadzooks", {}, Tiers(weights={"wordlist": 0})),
        ("x" * 9_999, {}, None),
    ],
)
def test_what_is_no_strike(
    world: MakeWorld, user: Identity, text: str, policy: dict[str, Any], tiers: Tiers | None
) -> None:
    here = world(tiers, **policy)
    here.say(user, text)
    assert here.load_standing(user) == Standing()


def test_categories_that_only_flag_do_not_weigh(world: MakeWorld, user: Identity) -> None:
    here = world(actions={"sexual/minors": "flag"})
    here.say(user, "worse")
    assert here.load_standing(user).strikes[0].what == "hate"


def test_the_way_from_stranger_to_trusted_and_down_again(world: MakeWorld, user: Identity) -> None:
    here = world()
    tiers: list[str] = []
    for day in range(16):
        tiers += [here.say(user, f"hello {day} {turn}").tier for turn in range(15)]
        here.now += DAY
    assert list(dict.fromkeys(tiers)) == ["new", "known", "trusted"]
    assert tiers.index("known") == 20
    assert tiers.index("trusted") == 14 * 15, "the first turn after fourteen days"
    assert "sampled out" in {r.skipped.get("moderation") for r in here.records}
    assert here.say(user, "gadzooks").tier == "trusted"
    assert here.say(user, "sorry").tier == "watched"
    assert here.records[-1].hold == "handler"
    for _ in range(19):
        here.say(user, "gadzooks")
    assert here.say(user, "sorry").tier == "suspended"
    here.now += DAY
    assert here.say(user, "sorry").tier == "watched"
    here.now += 7 * DAY
    assert here.say(user, "sorry").tier == "new"


def test_sampling_goes_by_tier_unless_the_policy_fixes_it(world: MakeWorld, user: Identity) -> None:
    def share(standing: Standing, tiers: Tiers | None = None, **policy: Any) -> float:
        here = world(tiers, **policy)
        for number in range(200):
            here.standings[user.safety_identifier] = standing
            here.say(user, f"hello {number}")
        assert all(
            ("moderation" in r.checked) == (r.skipped.get("moderation") != "sampled out")
            for r in here.records
        )
        assert all("wordlist" in r.checked and "limits" in r.checked for r in here.records)
        return len(here.asked) / 200

    assert 0.1 < share(TRUSTED) < 0.4
    assert share(Standing(30)) == share(Standing()) == 1
    assert 0.3 < share(Standing(30), Tiers(samples={"known": 0.5})) < 0.7
    assert share(TRUSTED, sample=1) == 1
    assert share(Standing(), sample=0) == 0
    watched = Standing(watched_until=NOW + 99 * DAY)
    assert share(watched, Tiers(samples={"new": 0}), sample=0) == 1


def test_a_flagged_verdict_at_hand_counts_where_sampling_skips(
    world: MakeWorld, user: Identity
) -> None:
    here = world(sample=0)
    here.remembered["hateful"] = VERDICTS["hateful"]
    refusal = here.say(user, "hateful").refusal
    assert refusal is not None
    assert refusal.reason is Reason.CONTENT_BLOCKED


def test_the_holds_are_the_operators_to_set(world: MakeWorld, user: Identity) -> None:
    here = world(Tiers(holds={"new": "reply"}))
    here.say(user, "hello")
    assert here.records[0].hold == "reply"


says = st.tuples(
    st.just("say"),
    st.sampled_from("us"),
    st.sampled_from(["hello", "hello again", "hateful", "worse", "despair", "gadzooks"]),
)
rules = st.tuples(
    st.sampled_from(["suspend", "lift"]), st.sampled_from("us"), st.sampled_from([1.0, math.inf])
)
waits = st.tuples(st.just("wait"), st.just(""), st.sampled_from([60.0, DAY, 8 * DAY, 31 * DAY]))


@given(
    st.lists(says | rules | waits, max_size=40),
    st.sampled_from([0.0, 0.5, None]),
    st.sampled_from([{}, {"known_turns": 1, "trusted_turns": 1, "trusted_days": 0}]),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_no_sequence_of_turns_lets_trust_be_abused(
    steps: list[tuple[Any, Any, Any]], sample: float | None, numbers: dict[str, Any], trusted: bool
) -> None:
    keyring = Keyring(["s" * 32])
    people = {k: keyring.identify(Kind(k), "ada") for k in "us"}
    here = World(Tiers(**numbers), sample=sample)
    with pytest.MonkeyPatch.context() as patch:
        for module in CLOCKS:
            patch.setattr(module, "time", here)
        if trusted:
            here.standings[people["u"].safety_identifier] = TRUSTED
        for what, who, value in steps:
            if what == "wait":
                here.now += value
                continue
            person = people[who]
            if what != "say":
                until = here.now + value * DAY
                ruling = Suspend(until, here.now, "") if what == "suspend" else Lift(here.now)
                here.tell(person, ruling)
                continue
            _checked(here, person, value)


def _checked(here: World, person: Identity, text: str) -> None:
    before = here.load_standing(person)
    asked = len(here.asked)
    turn = here.say(person, text)
    record = here.records[-1]
    suspended = before.suspended(here.now)
    assert suspended == (record.reason == "suspended")
    if suspended:
        assert turn.refusal is not None
        assert here.load_standing(person) == before
        return
    watched = before.watched_until is not None and here.now < before.watched_until
    if watched:
        assert record.skipped.get("moderation") is None
        assert text == "gadzooks" or here.asked[asked:] == [text]
    if turn.refusal is None:
        assert "moderation" in record.checked or record.skipped["moderation"] == "sampled out"
        assert {"limits", "content", "wordlist"} <= {*record.checked}
    if record.reason == "content_blocked":
        assert here.load_standing(person).clean_turns == 0
        assert here.load_standing(person).watched_until == here.now + 7 * DAY
