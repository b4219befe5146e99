"""The desk within its budget, over real sockets, in threads and in tasks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, TypeAlias

import pytest

from safety_middleware.errors import SettingsError
from safety_middleware.moderation import Desk, DeskSettings, Priority, Question
from safety_middleware.moderation.budget import Budget
from safety_middleware.testing import FakeOpenAI
from safety_middleware.verdict import Verdict

MakeDesk: TypeAlias = Callable[..., Desk]
#: Waits for a verdict, or the cause why there is none.
Outcome: TypeAlias = Callable[[Future[Verdict]], Any]
OutcomeHere: TypeAlias = Callable[[Future[Verdict]], Awaitable[Any]]

SCARCE = {
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-remaining-requests": "0",
    "x-ratelimit-reset-requests": "1m0s",
}


def budget_of(desk: Desk, budget: Budget) -> None:
    """Give a desk that was asked nothing yet another budget."""
    desk._service.budget = budget  # pyright: ignore[reportPrivateUsage]  # there is no other way to it


def texts_of(fake: FakeOpenAI) -> list[Any]:
    return [seen.body["input"] for seen in fake.requests]


def test_a_required_question_waits_for_the_budget_and_an_optional_one_does_not(
    make: MakeDesk, fake: FakeOpenAI, outcome_here: OutcomeHere
) -> None:
    desk = make(fake.base_url)
    budget_of(desk, Budget(requests=2, period=1.0))

    async def main() -> None:
        for text in "ab":
            assert isinstance(await outcome_here(desk.ask(Question(text))), Verdict)
        began = time.monotonic()
        required = desk.ask(Question("c"), priority=Priority.KNOWN)
        sample = desk.ask(Question("d"), priority=Priority.SAMPLE)
        assert await outcome_here(sample) == "budget"
        assert time.monotonic() - began < 0.3
        assert isinstance(await outcome_here(required), Verdict)
        assert time.monotonic() - began > 0.5

    asyncio.run(main())
    assert texts_of(fake) == ["a", "b", "c"]


def test_who_waits_goes_by_priority_and_whoever_joins_lends_theirs(
    make: MakeDesk, fake: FakeOpenAI, outcome_here: OutcomeHere
) -> None:
    desk = make(fake.base_url, batch_texts=1)
    budget_of(desk, Budget(requests=1, period=0.5))

    async def main() -> None:
        first = desk.ask(Question("first"))
        waiting = [
            desk.ask(Question(priority.name), priority=priority)
            for priority in (Priority.REPLY, Priority.KNOWN, Priority.NEW, Priority.WATCHED)
        ]
        joined = desk.ask(Question("REPLY"), priority=Priority.WATCHED)
        assert joined is waiting[0]
        for future in (first, *waiting):
            assert isinstance(await outcome_here(future), Verdict)

    asyncio.run(main())
    assert texts_of(fake) == ["first", "REPLY", "WATCHED", "NEW", "KNOWN"]


def test_without_room_in_time_there_is_no_verdict_and_it_is_told_once(
    make: MakeDesk, fake: FakeOpenAI, outcome: Outcome
) -> None:
    told: list[str] = []

    def hook(service: str, cause: str) -> None:
        told.append(f"{service}: {cause}")

    desk = make(fake.base_url, requests=1, timeout=0.3, on_degraded=hook)
    assert isinstance(outcome(desk.ask(Question("a"))), Verdict)
    futures = [desk.ask(Question(text)) for text in "bcd"]
    images = desk.ask(Question("e", ("data:image/png;base64,AAAA",)), priority=Priority.WATCHED)
    assert [outcome(future) for future in (*futures, images)] == ["budget"] * 4
    assert told == ["moderation: budget"]
    assert len(fake.requests) == 1


def test_a_spell_ends_when_nothing_was_short_for_a_minute(
    make: MakeDesk, fake: FakeOpenAI, outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def hook(_: str, cause: str) -> None:
        told.append(cause)

    desk = make(fake.base_url, timeout=0.3, on_degraded=hook)
    budget_of(desk, Budget(requests=1, period=1.0))
    assert isinstance(outcome(desk.ask(Question("a"))), Verdict)
    assert outcome(desk.ask(Question("b"))) == "budget"
    time.sleep(1.1)  # the refill of a "minute" of one second is what is waited for
    assert isinstance(outcome(desk.ask(Question("c"))), Verdict)
    assert told == ["budget"]
    monkeypatch.setattr("safety_middleware.moderation.service._SPELL", 0.0)
    time.sleep(1.1)
    assert isinstance(outcome(desk.ask(Question("d"))), Verdict)
    assert told == ["budget", "recovered"]


def test_the_service_says_how_much_is_left(
    make: MakeDesk, fake: FakeOpenAI, outcome: Outcome
) -> None:
    desk = make(fake.base_url, timeout=0.3)
    fake.headers = {**fake.headers, **SCARCE}
    assert isinstance(outcome(desk.ask(Question("a"))), Verdict)
    assert outcome(desk.ask(Question("b"), priority=Priority.SAMPLE)) == "budget"
    assert outcome(desk.ask(Question("c"), priority=Priority.WATCHED)) == "budget"
    assert len(fake.requests) == 1


def test_the_answer_to_one_may_make_room_for_others(
    make: MakeDesk, fake: FakeOpenAI, outcome_here: OutcomeHere
) -> None:
    desk = make(fake.base_url)
    fake.moderation_latency = 0.2
    fake.headers = {**fake.headers, **SCARCE, "x-ratelimit-remaining-requests": "1"}

    async def main() -> None:
        assert isinstance(await outcome_here(desk.ask(Question("a"))), Verdict)
        slow = desk.ask(Question("b"), priority=Priority.WATCHED)
        fake.headers = {**fake.headers, "x-ratelimit-remaining-requests": "60"}
        began = time.monotonic()
        assert isinstance(await outcome_here(desk.ask(Question("c"))), Verdict)
        assert isinstance(await outcome_here(slow), Verdict)
        assert time.monotonic() - began < 0.9  # the next request would have come back in a second

    asyncio.run(main())


def test_a_429_keeps_others_from_asking_and_the_question_that_met_it_asks_again(
    make: MakeDesk, fake: FakeOpenAI, outcome_here: OutcomeHere
) -> None:
    desk = make(fake.base_url)

    async def main() -> None:
        fake.fail("/moderations", status=429, headers={"retry-after": "0.4"}, times=1)
        met = desk.ask(Question("a"))
        await fake.await_for(lambda: bool(fake.requests))
        await asyncio.sleep(0.1)
        assert await outcome_here(desk.ask(Question("b"), priority=Priority.SAMPLE)) == "budget"
        other = desk.ask(Question("c"))
        assert isinstance(await outcome_here(met), Verdict)
        assert isinstance(await outcome_here(other), Verdict)

    asyncio.run(main())
    gaps = [seen.started - fake.requests[0].started for seen in fake.requests]
    assert len(gaps) == 3
    assert min(gaps[1:]) > 0.35


def test_a_second_attempt_beyond_the_limit_is_not_made(
    make: MakeDesk, fake: FakeOpenAI, outcome: Outcome
) -> None:
    desk = make(fake.base_url, requests=1)
    fake.fail("/moderations", status=500, times=1)
    assert outcome(desk.ask(Question("a"))) == "http_500"
    assert len(fake.requests) == 1


def test_a_sample_that_was_gathered_is_cut_when_the_budget_runs_short(
    make: MakeDesk, fake: FakeOpenAI, outcome_here: OutcomeHere
) -> None:
    desk = make(fake.base_url, unbatched=1, gather=0.1)
    budget_of(desk, Budget(requests=2, period=1.0))
    fake.moderation_latency = 0.3

    async def main() -> None:
        calls = [desk.ask(Question("a"))]
        sample = desk.ask(Question("sample"), priority=Priority.SAMPLE)
        calls += [desk.ask(Question(text)) for text in ("b", "c" * 90_000)]
        assert await outcome_here(sample) == "budget"
        for call in calls:
            assert isinstance(await outcome_here(call), Verdict)

    asyncio.run(main())


def test_a_batch_that_is_refused_is_asked_again_text_by_text_within_the_budget(
    make: MakeDesk, fake: FakeOpenAI, outcome_here: OutcomeHere
) -> None:
    desk = make(fake.base_url, unbatched=1, timeout=1.0)
    budget_of(desk, Budget(requests=3, period=60.0))
    fake.moderation_latency = 0.1
    fake.fail("/moderations", status=400, when=lambda seen: isinstance(seen.body["input"], list))

    async def main() -> list[Any]:
        futures = [desk.ask(Question(text), priority=Priority.WATCHED) for text in "abc"]
        return [await outcome_here(future) for future in futures]

    outcomes = asyncio.run(main())
    assert [isinstance(each, Verdict) for each in outcomes] == [True, True, False]
    assert outcomes[2] == "budget"
    assert len(fake.requests) == 3


def test_one_identity_cannot_use_up_the_budget(
    make: MakeDesk, fake: FakeOpenAI, outcome: Outcome
) -> None:
    desk = make(fake.base_url, requests=200)  # a share of 5 % is 10
    futures = [desk.ask(Question(f"text {n}"), who="u1_a", address="a1_x") for n in range(12)]
    outcomes = [outcome(future) for future in futures]
    assert outcomes[10:] == ["share", "share"]
    assert all(isinstance(each, Verdict) for each in outcomes[:10])
    again = desk.ask(Question("text 0"), who="u1_a", address="a1_x")
    assert isinstance(outcome(again), Verdict)  # what is known costs nothing
    assert outcome(desk.ask(Question("else"), who="u1_b", address="a1_x")) == "share"
    other = desk.ask_from_thread(Question("else"), who="u1_b", address="a1_y")
    assert isinstance(outcome(other), Verdict)


def test_waiting_for_the_budget_ends_with_the_loop(
    make: MakeDesk, fake: FakeOpenAI, outcome: Outcome
) -> None:
    desk = make(fake.base_url, requests=1)

    async def main() -> list[Future[Verdict]]:
        futures = [desk.ask(Question(text)) for text in "ab"]
        await asyncio.sleep(0.1)
        return futures

    assert outcome(asyncio.run(main())[1]) == "closed"


def test_what_is_given_up_while_waiting_is_forgotten(
    make: MakeDesk, fake: FakeOpenAI, outcome_here: OutcomeHere
) -> None:
    desk = make(fake.base_url, requests=1, timeout=0.2)

    async def main() -> None:
        for _ in range(4):
            futures = [desk.ask(Question(f"text {time.monotonic_ns()}")) for _ in range(50)]
            await asyncio.gather(*map(outcome_here, futures))
        (line,) = desk._lines.values()  # pyright: ignore[reportPrivateUsage]  # there is no other way to it
        waiting = line._waiting  # pyright: ignore[reportPrivateUsage]  # there is no other way to it
        assert len(waiting) <= 128

    asyncio.run(main())


@pytest.mark.parametrize(
    "settings", [{"requests": 0}, {"tokens": -1}, {"share": 0.0}, {"share": 2}]
)
def test_impossible_budgets_are_an_error(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(settings))):
        DeskSettings(**settings)
