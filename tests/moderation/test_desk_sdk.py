"""The operator's own OpenAI clients, blocking and asynchronous."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from typing import Any, TypeAlias

import pytest
from openai import APITimeoutError, AsyncOpenAI, DefaultHttpxClient, OpenAI, OpenAIError

from safety_middleware.errors import SettingsError
from safety_middleware.moderation import Desk, Question
from safety_middleware.testing import FakeOpenAI, Kind
from safety_middleware.verdict import Verdict

MakeDesk: TypeAlias = Callable[..., Desk]
#: Waits for a verdict, or the cause why there is none.
Outcome: TypeAlias = Callable[[Future[Verdict]], Any]
OutcomeHere: TypeAlias = Callable[[Future[Verdict]], Awaitable[Any]]

FAILURES: list[tuple[Kind, str, int]] = [
    ("status", "http_500", 2),
    ("reset", "connection", 2),
    ("malformed", "malformed", 1),
    ("wrong_shape", "malformed", 1),
    ("html", "malformed", 1),
    ("empty", "empty", 1),
    ("hang", "timeout", 1),
]


@pytest.fixture
def blocking(fake: FakeOpenAI, make: MakeDesk) -> Iterator[Desk]:
    with OpenAI(base_url=fake.base_url, api_key="theirs") as client:
        desk = make("http://ours.invalid/v1", client=client, timeout=1.0)
        yield desk
        desk.close()


def test_a_blocking_client_is_used_without_blocking(blocking: Desk, fake: FakeOpenAI) -> None:
    fake.moderation_latency = 0.3

    async def main() -> list[Any]:
        questions = [Question("[[hate]]", ("data:image/png;base64,AAAA",)), Question("quiet")]
        futures = [blocking.ask(question) for question in questions]
        beats = 0
        while not all(future.done() for future in futures):
            await asyncio.sleep(0.01)
            beats += 1
        assert beats > 10
        return [future.result() for future in futures]

    hate, quiet = asyncio.run(main())
    assert (hate.flags, quiet.flags) == ({"hate"}, frozenset())
    assert hate.scores["hate"] == 0.97
    assert {seen.headers["authorization"] for seen in fake.requests} == {"Bearer theirs"}


def test_an_asynchronous_client_is_used_on_the_loop(
    fake: FakeOpenAI, make: MakeDesk, outcome_here: OutcomeHere
) -> None:
    async def main() -> Any:
        async with AsyncOpenAI(base_url=fake.base_url, api_key="theirs") as client:
            desk = make("http://ours.invalid/v1", client=client)
            return await outcome_here(desk.ask(Question("[[hate]]")))

    assert asyncio.run(main()).flags == {"hate"}


@pytest.mark.parametrize("failure", FAILURES)
def test_failures_of_a_blocking_client_are_no_verdict(
    blocking: Desk, fake: FakeOpenAI, failure: tuple[Kind, str, int], outcome: Outcome
) -> None:
    kind, cause, calls = failure
    fake.fail("/moderations", kind)
    assert outcome(blocking.ask(Question("hello"))) == cause
    assert len(fake.requests) == calls


@pytest.mark.parametrize("failure", FAILURES)
def test_failures_of_an_asynchronous_client_are_no_verdict(
    fake: FakeOpenAI, make: MakeDesk, failure: tuple[Kind, str, int], outcome_here: OutcomeHere
) -> None:
    kind, cause, calls = failure
    fake.fail("/moderations", kind)

    async def main() -> Any:
        async with AsyncOpenAI(base_url=fake.base_url, api_key="theirs") as client:
            desk = make("http://ours.invalid/v1", client=client, timeout=1.0)
            return await outcome_here(desk.ask(Question("hello")))

    assert asyncio.run(main()) == cause
    assert len(fake.requests) == calls


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (OpenAIError(), "malformed"),
        (APITimeoutError(DefaultHttpxClient().build_request("POST", "http://x")), "timeout"),
    ],
)
def test_an_error_of_the_operators_client_is_no_verdict(
    make: MakeDesk, outcome: Outcome, error: OpenAIError, cause: str
) -> None:
    class Strange(OpenAI):
        def post(self, *_: Any, **__: Any) -> Any:
            raise error

    with Strange(api_key="theirs") as client:
        desk = make("http://ours.invalid/v1", client=client)
        assert outcome(desk.ask(Question("hello"))) == cause
        desk.close()


def test_something_that_is_no_client_is_an_error_at_the_start(make: MakeDesk) -> None:
    with pytest.raises(SettingsError, match="client"):
        make("http://ours.invalid/v1", client=object()).start()


def test_the_operators_client_stays_open(
    blocking: Desk, fake: FakeOpenAI, outcome: Outcome
) -> None:
    for n in range(2):
        assert isinstance(outcome(blocking.ask(Question(f"{n}"))), Verdict)
        blocking.close()
