"""A running fake, desks that ask it, and the two worlds they are asked from."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from typing import Any, TypeAlias

import pytest

from safety_middleware.errors import ModerationUnavailable
from safety_middleware.moderation import Desk, DeskSettings, Question
from safety_middleware.testing import FakeOpenAI
from safety_middleware.verdict import Verdict, wait

#: A verdict, or the cause why there is none.
Outcome: TypeAlias = Verdict | str
MakeDesk: TypeAlias = Callable[..., Desk]
Ask: TypeAlias = Callable[..., list[Outcome]]


def outcome_of(future: Future[Verdict]) -> Outcome:
    try:
        return future.result(10)
    except ModerationUnavailable as error:
        return error.cause


async def outcome_here_of(future: Future[Verdict]) -> Outcome:
    async with asyncio.timeout(10):
        try:
            return await wait(future)
        except ModerationUnavailable as error:
            return error.cause


def in_threads(desk: Desk, *questions: Question) -> list[Outcome]:
    return [outcome_of(future) for future in [desk.ask(question) for question in questions]]


def in_tasks(desk: Desk, *questions: Question) -> list[Outcome]:
    async def main() -> list[Outcome]:
        futures = [desk.ask(question) for question in questions]
        return await asyncio.gather(*map(outcome_here_of, futures))

    return asyncio.run(main())


@pytest.fixture(params=[in_threads, in_tasks], ids=["threads", "tasks"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Ask all questions at once, from a thread without a loop or from tasks of one loop."""
    world: Ask = request.param
    return world


@pytest.fixture
def outcome() -> Callable[[Future[Verdict]], Outcome]:
    """Wait for a future in a thread."""
    return outcome_of


@pytest.fixture
def outcome_here() -> Callable[[Future[Verdict]], Awaitable[Outcome]]:
    """Wait for a future in a task."""
    return outcome_here_of


@pytest.fixture
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture
def make() -> Iterator[MakeDesk]:
    """Make desks that are closed at the end, and leave nothing open behind."""
    desks: list[Desk] = []

    def make(base_url: str, *, on_degraded: Any = None, **settings: Any) -> Desk:
        settings = {"api_key": "sk-secret", **settings}
        desk = Desk(
            DeskSettings(base_url=base_url, **settings), cache_key=b"k", on_degraded=on_degraded
        )
        desks.append(desk)
        return desk

    yield make
    for desk in desks:
        desk.close()
    desks.clear()
    gc.collect()  # what was left open would warn now


@pytest.fixture
def desk(make: MakeDesk, fake: FakeOpenAI) -> Desk:
    return make(fake.base_url)
