"""A running fake and the SDK's clients for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeAlias, TypeVar

import pytest
from openai import AsyncOpenAI, OpenAI

from safety_middleware.testing import FakeOpenAI

T = TypeVar("T")
#: Runs one call with an AsyncOpenAI and gives its result.
AsyncCall: TypeAlias = Callable[[Callable[[AsyncOpenAI], Awaitable[T]]], T]


@pytest.fixture
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture
def client(fake: FakeOpenAI) -> Iterator[OpenAI]:
    with OpenAI(
        base_url=fake.base_url, api_key="any", max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


@pytest.fixture
def with_async(fake: FakeOpenAI) -> AsyncCall[object]:
    def run(call: Callable[[AsyncOpenAI], Awaitable[object]]) -> object:
        async def main() -> object:
            async with AsyncOpenAI(
                base_url=fake.base_url,
                api_key="any",
                max_retries=0,
                _strict_response_validation=True,
            ) as client:
                return await call(client)

        return asyncio.run(main())

    return run
