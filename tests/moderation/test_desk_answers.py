"""What the desk answers and what it asks, over real sockets, in threads and in tasks."""

from __future__ import annotations

import asyncio
import base64
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future
from typing import Any, TypeAlias

import pytest

from safety_middleware.moderation import Desk, Latency, Question
from safety_middleware.moderation.parts import ASCII_CHARS
from safety_middleware.policy import CATEGORIES
from safety_middleware.testing import FakeOpenAI
from safety_middleware.verdict import Verdict, wait

#: Asks all questions at once; gives verdicts, or the causes why there is none.
Ask: TypeAlias = Callable[..., list[Any]]
MakeDesk: TypeAlias = Callable[..., Desk]
#: Waits for a verdict, or the cause why there is none.
Outcome: TypeAlias = Callable[[Future[Verdict]], Any]
OutcomeHere: TypeAlias = Callable[[Future[Verdict]], Awaitable[Any]]


def inputs(fake: FakeOpenAI) -> list[Any]:
    return [seen.body["input"] for seen in fake.calls("/moderations")]


def flags(*outcomes: object) -> list[object]:
    return [set(o.flags) if isinstance(o, Verdict) else o for o in outcomes]


def data_url(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


def test_a_text_gets_its_verdict(ask: Ask, desk: Desk, fake: FakeOpenAI) -> None:
    [verdict] = ask(desk, Question("[[hate:0.9]]"))
    assert isinstance(verdict, Verdict)
    assert verdict.flags == {"hate"}
    assert verdict.scores["hate"] == 0.9
    assert set(verdict.scores) == set(CATEGORIES)
    assert verdict.model == "omni-moderation-latest"
    [seen] = fake.calls("/moderations")
    assert seen.headers["authorization"] == "Bearer sk-secret"
    assert seen.body == {"model": "omni-moderation-latest", "input": "[[hate:0.9]]"}


def test_nothing_to_judge_makes_no_call(ask: Ask, desk: Desk, fake: FakeOpenAI) -> None:
    assert flags(*ask(desk, Question(""), Question(" \n\t\u3000"))) == [set(), set()]
    assert not fake.requests


def test_any_character_can_be_asked_about(ask: Ask, desk: Desk, fake: FakeOpenAI) -> None:
    assert flags(*ask(desk, Question("\ud800 é 語 😀 \x00 \u2028 [[violence]]"))) == [{"violence"}]
    assert inputs(fake) == ["\ufffd é 語 😀 \x00 \u2028 [[violence]]"]


def test_all_of_a_long_text_is_judged_in_one_request(
    ask: Ask, desk: Desk, fake: FakeOpenAI
) -> None:
    long = "word " * (ASCII_CHARS // 5)
    assert flags(*ask(desk, Question(long + "[[hate]]" + long + "[[violence]]"))) == [
        {"hate", "violence"}
    ]
    [parts] = inputs(fake)
    assert [isinstance(part, str) for part in parts] == [True] * 3


def test_an_image_is_judged_with_its_text_in_one_request(
    ask: Ask, desk: Desk, fake: FakeOpenAI
) -> None:
    image = data_url(b"[[violence/graphic]]")
    assert flags(*ask(desk, Question("[[hate]]", (image,)))) == [{"hate", "violence/graphic"}]
    assert inputs(fake) == [
        [
            {"type": "text", "text": "[[hate]]"},
            {"type": "image_url", "image_url": {"url": image}},
        ]
    ]


def test_each_image_has_a_request_of_its_own(ask: Ask, desk: Desk, fake: FakeOpenAI) -> None:
    images = (data_url(b"quiet"), "https://example.com/[[sexual]].png")
    long = "word " * (ASCII_CHARS // 2) + "[[hate]]"
    assert flags(*ask(desk, Question(long, images))) == [{"hate", "sexual"}]
    asked = inputs(fake)
    assert sum(isinstance(a, list) and isinstance(a[0], dict) for a in asked) == 2
    assert len(asked) == 3


def test_a_large_image_can_be_asked_about(ask: Ask, desk: Desk) -> None:
    image = data_url(b"[[violence]]" + bytes(3_000_000))
    assert flags(*ask(desk, Question("", (image,)))) == [{"violence"}]


def test_a_known_content_is_not_asked_about_again(ask: Ask, desk: Desk, fake: FakeOpenAI) -> None:
    questions = [Question("[[hate]]"), Question("x", (data_url(b"quiet"),))]
    first = ask(desk, *questions)
    assert ask(desk, *questions) == first
    assert len(fake.requests) == 2


def test_a_known_content_is_answered_at_once(desk: Desk, outcome: Outcome) -> None:
    outcome(desk.ask(Question("hello")))
    assert desk.ask(Question("hello")).done()
    assert desk.ask_from_thread(Question("hello")).done()


def test_an_image_known_by_its_address_is_always_asked_about(
    ask: Ask, desk: Desk, fake: FakeOpenAI
) -> None:
    question = Question("x", ("https://example.com/cat.png",))
    ask(desk, question)
    ask(desk, question, question)
    assert len(fake.requests) == 3


def test_a_failure_is_not_remembered(ask: Ask, desk: Desk, fake: FakeOpenAI) -> None:
    with fake.fail("/moderations", "malformed"):
        assert ask(desk, Question("hello")) == ["malformed"]
    assert flags(*ask(desk, Question("hello"))) == [set()]


def test_equal_questions_in_flight_share_a_request(
    ask: Ask, make: MakeDesk, fake: FakeOpenAI
) -> None:
    fake.moderation_latency = 0.2
    desk = make(fake.base_url, cache_size=0)
    assert flags(*ask(desk, *[Question("[[hate]]")] * 20)) == [{"hate"}] * 20
    assert len(fake.requests) == 1


def test_64_texts_at_once_take_at_most_8_requests(ask: Ask, desk: Desk, fake: FakeOpenAI) -> None:
    fake.moderation_latency = 0.2
    questions = [Question(f"[[{CATEGORIES[n % 13]}]] {n}") for n in range(64)]
    answers = flags(*ask(desk, *questions))
    assert answers == [{CATEGORIES[n % 13]} for n in range(64)]
    assert len(fake.requests) <= 8


def test_64_texts_that_arrive_one_by_one_take_at_most_8_requests(
    desk: Desk, fake: FakeOpenAI
) -> None:
    fake.moderation_latency = 0.4

    async def main() -> None:
        futures: list[Future[Verdict]] = []
        for n in range(64):
            futures.append(desk.ask(Question(f"text {n}")))
            await asyncio.sleep(0.001)
        await asyncio.gather(*map(wait, futures))

    asyncio.run(main())
    assert len(fake.requests) <= 8


def test_a_lone_text_is_sent_at_once(desk: Desk, fake: FakeOpenAI) -> None:
    async def main() -> float:
        await wait(desk.ask(Question("first: opens the connection")))
        began = time.perf_counter()
        asked = asyncio.ensure_future(wait(desk.ask(Question("second"))))
        await asked
        return time.perf_counter() - began

    assert min(asyncio.run(main()) for _ in range(3)) < 0.05
    assert all(isinstance(asked, str) for asked in inputs(fake))


def test_a_batch_holds_no_more_than_it_may(make: MakeDesk, fake: FakeOpenAI) -> None:
    fake.moderation_latency = 0.1
    desk = make(fake.base_url, unbatched=1, batch_texts=5, batch_chars=1_000)

    async def main() -> None:
        futures = [desk.ask(Question(f"{n:300}")) for n in range(12)]
        futures += [desk.ask(Question(f"{n}")) for n in range(100, 112)]
        await asyncio.gather(*map(wait, futures))

    asyncio.run(main())
    batches: list[list[str]] = [asked for asked in inputs(fake) if isinstance(asked, list)]
    assert max(map(len, batches)) == 5
    assert max(sum(map(len, batch)) for batch in batches) <= 1_000


def test_one_poisonous_text_does_not_spoil_its_batch(
    ask: Ask, make: MakeDesk, fake: FakeOpenAI
) -> None:
    fake.moderation_latency = 0.05
    desk = make(fake.base_url, unbatched=1)
    with fake.fail("/moderations", status=400, when=lambda seen: "POISON" in str(seen.body)):
        answers = ask(
            desk, *[Question(f"{n} {'POISON' if n == 7 else '[[hate]]'}") for n in range(12)]
        )
    assert flags(*answers) == [{"hate"} if n != 7 else "http_400" for n in range(12)]


def test_a_waiter_that_is_cancelled_leaves_the_others_their_verdict(
    desk: Desk, fake: FakeOpenAI
) -> None:
    fake.moderation_latency = 0.2

    async def main() -> None:
        one = asyncio.ensure_future(wait(desk.ask(Question("[[hate]]"))))
        other = asyncio.ensure_future(wait(desk.ask(Question("[[hate]]"))))
        await asyncio.sleep(0)
        one.cancel()
        assert (await other).flags == {"hate"}
        assert one.cancelled()

    asyncio.run(main())
    assert len(fake.requests) == 1


def test_a_future_of_the_desk_cannot_be_cancelled(desk: Desk, fake: FakeOpenAI) -> None:
    fake.moderation_latency = 0.1
    future = desk.ask(Question("[[hate]]"))
    assert not future.cancel()
    try:
        assert future.result(5).flags == {"hate"}
    except CancelledError:
        pytest.fail("it was cancelled")


def test_a_blocked_loop_can_ask_from_its_own_thread(desk: Desk) -> None:
    async def main() -> Verdict:
        return desk.ask_from_thread(Question("[[hate]]")).result(5)

    assert asyncio.run(main()).flags == {"hate"}


def test_200_threads_wait_together(desk: Desk, fake: FakeOpenAI, outcome: Outcome) -> None:
    fake.moderation_latency = 0.5
    desk.start()
    answers: list[object] = []

    def visitor(n: int) -> None:
        answers.append(outcome(desk.ask(Question(f"[[hate]] {n}"))))

    threads = [threading.Thread(target=visitor, args=(n,)) for n in range(200)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert flags(*answers) == [{"hate"}] * 200
    assert time.perf_counter() - began < 3
    assert len(fake.requests) <= 24


def test_latency_is_what_calls_take(desk: Desk, fake: FakeOpenAI, outcome: Outcome) -> None:
    assert desk.latency == Latency(0.5, 0.25)
    fake.moderation_latency = 0.1
    for n in range(3):
        outcome(desk.ask(Question(f"{n}")))
    assert 0.1 <= desk.latency.mean < 0.4


def test_other_loops_have_their_own_calls(
    desk: Desk, fake: FakeOpenAI, outcome_here: OutcomeHere
) -> None:
    fake.moderation_latency = 0.1
    answers: list[object] = []

    def loop(n: int) -> None:
        async def main() -> None:
            future: Future[Verdict] = desk.ask(Question(f"[[hate]] {n}"))
            answers.append(await outcome_here(future))

        asyncio.run(main())

    threads = [threading.Thread(target=loop, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert flags(*answers) == [{"hate"}] * 4
