"""A running fake, guarded clients for it, and turns to make model calls in."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI

from safety_middleware import Action, Decision, Policy, Reason, Turn
from safety_middleware.identity import Identity, Kind
from safety_middleware.openai import guard_client, set_unbound
from safety_middleware.policy import Hold
from safety_middleware.testing import FakeOpenAI
from safety_middleware.turn import Route


@pytest.fixture
def identifier() -> str:
    return "u1_" + "k" * 49


@pytest.fixture
def turn_of(identifier: str) -> Callable[..., Turn]:
    """Makes a turn with a hold; further arguments are fields of its policy."""

    def make(hold: Hold = "reply", **policy: Any) -> Turn:
        turn = Turn(Route("/chat", Policy(**policy)), Identity(Kind.USER, identifier))
        turn.hold = hold
        return turn

    return make


@pytest.fixture
def blocked() -> Decision:
    return Decision(Action.REFUSE, Reason.CONTENT_BLOCKED, "input")


@pytest.fixture
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture
def client(fake: FakeOpenAI) -> Iterator[OpenAI]:
    with guard_client(OpenAI(base_url=fake.base_url, api_key="any", max_retries=0)) as client:
        yield client


@pytest.fixture
def with_async(fake: FakeOpenAI) -> Callable[[Callable[[AsyncOpenAI], Any]], Any]:
    """Runs a coroutine function with a guarded asynchronous client on a loop of its own."""

    def run(call: Callable[[AsyncOpenAI], Any]) -> Any:
        async def main() -> Any:
            made = AsyncOpenAI(base_url=fake.base_url, api_key="any", max_retries=0)
            async with guard_client(made) as client, asyncio.timeout(20):
                return await call(client)

        return asyncio.run(main())

    return run


@pytest.fixture
def in_thread() -> Callable[[Callable[[], Any]], Future[Any]]:
    """Runs a function in a thread; the future gives its result."""

    def start(call: Callable[[], Any]) -> Future[Any]:
        answer: Future[Any] = Future()

        def run() -> None:
            try:
                answer.set_result(call())
            except BaseException as error:
                answer.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        return answer

    return start


@pytest.fixture(autouse=True)
def default_unbound() -> Iterator[None]:
    yield
    set_unbound("warn")
