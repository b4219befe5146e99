"""Model calls of a turn with ``hold="model"`` wait for the verdict, and refused ones are not sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from openai import APIConnectionError, AsyncOpenAI, OpenAI

from safety_middleware import ContentBlocked, Decision, Turn
from safety_middleware.openai import GuardedAsyncHttpClient, GuardedHttpClient, guard_client
from safety_middleware.testing import FakeOpenAI
from safety_middleware.turn import bound

MakeTurn = Callable[..., Turn]
InThread = Callable[[Callable[[], Any]], "Future[Any]"]
WithAsync = Callable[[Callable[[AsyncOpenAI], Any]], Any]


def use(client: Any, **more: Any) -> Any:
    return client.responses.create(model="m", input="hello", **more)


def is_asked(turn: Turn) -> bool:
    """Someone waits for the verdict."""
    return turn.guarded_calls > 0


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # a plain number tells nobody when it changes
            await asyncio.sleep(0.001)


def test_a_call_is_sent_only_once_the_turn_is_admitted(
    client: OpenAI, fake: FakeOpenAI, turn_of: MakeTurn, in_thread: InThread
) -> None:
    turn = turn_of("model")

    def call() -> Any:
        with bound(turn):
            return use(client)

    answer = in_thread(call)
    asyncio.run(until(lambda: is_asked(turn)))
    assert (answer.done(), fake.requests) == (False, [])
    turn.decide(Decision())
    assert answer.result(10).status == "completed"
    assert turn.notes["model_wait_ms"] >= 0


def test_an_asynchronous_call_is_sent_only_once_the_turn_is_admitted(
    with_async: WithAsync, fake: FakeOpenAI, turn_of: MakeTurn
) -> None:
    turn = turn_of("model")

    async def main(client: AsyncOpenAI) -> None:
        with bound(turn):
            calls = [asyncio.create_task(use(client)) for _ in range(3)]
        await until(lambda: turn.guarded_calls == 3)
        assert fake.requests == []
        turn.decide(Decision())
        for call in calls:
            assert (await call).status == "completed"

    with_async(main)
    assert turn.notes["model_wait_ms"] >= 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("retries", [0, 2])
def test_a_refused_call_is_neither_sent_nor_tried_again(  # noqa: PLR0917  # fixtures
    fake: FakeOpenAI,
    turn_of: MakeTurn,
    blocked: Decision,
    in_thread: InThread,
    stream: bool,
    retries: int,
) -> None:
    turn = turn_of("model")
    made = OpenAI(base_url=fake.base_url, api_key="any", max_retries=retries)

    def call() -> Any:
        with made, guard_client(made) as client, bound(turn):
            use(client, stream=stream)

    answer = in_thread(call)
    asyncio.run(until(lambda: is_asked(turn)))
    turn.decide(blocked)
    with pytest.raises(ContentBlocked) as caught:
        answer.result(10)
    assert (caught.value.decision, caught.value.status_code) == (blocked, 400)
    assert (fake.requests, turn.guarded_calls, turn.aborted_calls) == ([], 1, 0)


def test_a_refused_asynchronous_call_is_neither_sent_nor_tried_again(
    fake: FakeOpenAI, turn_of: MakeTurn, blocked: Decision
) -> None:
    turn = turn_of("model")

    async def main() -> None:
        made = AsyncOpenAI(base_url=fake.base_url, api_key="any")
        async with made, guard_client(made) as client:
            with bound(turn):
                call = asyncio.create_task(use(client))
            await until(lambda: is_asked(turn))
            turn.decide(blocked)
            with pytest.raises(ContentBlocked):
                await call

    asyncio.run(main())
    assert (fake.requests, turn.guarded_calls) == ([], 1)


@pytest.mark.parametrize("hold", ["handler", "model", "reply"])
def test_after_a_refusal_no_call_is_sent_whatever_the_hold(  # noqa: PLR0917  # fixtures
    client: OpenAI,
    with_async: WithAsync,
    fake: FakeOpenAI,
    turn_of: MakeTurn,
    blocked: Decision,
    hold: str,
) -> None:
    turn = turn_of(hold)
    turn.decide(blocked)
    with bound(turn):
        with pytest.raises(ContentBlocked):
            use(client)
        with pytest.raises(ContentBlocked):
            with_async(use)
        assert client.models.list().data  # the rest of the API stays open
    assert [seen.endpoint for seen in fake.requests] == ["/models"]


def test_other_clients_of_the_http_client_are_told_by_the_exception_itself(
    fake: FakeOpenAI, turn_of: MakeTurn, blocked: Decision
) -> None:
    async def main(turn: Turn) -> None:
        async with GuardedAsyncHttpClient(base_url=fake.base_url) as http:
            request = http.build_request("POST", "/responses", json={"input": "x"})
            turn.decide(blocked)
            await http.send(request)

    for _ in range(2):
        with bound(turn := turn_of()), pytest.raises(ContentBlocked):
            asyncio.run(main(turn))
    with GuardedHttpClient(base_url=fake.base_url) as http, bound(turn := turn_of()):
        request = http.build_request("POST", "/responses", json={"input": "x"})
        turn.decide(blocked)
        with pytest.raises(ContentBlocked):
            http.send(request)
    assert fake.requests == []


def test_cancelling_one_waiting_call_leaves_the_verdict_to_the_others(
    with_async: WithAsync, turn_of: MakeTurn
) -> None:
    turn = turn_of("model")

    async def main(client: AsyncOpenAI) -> None:
        with bound(turn):
            first, second = (asyncio.create_task(use(client)) for _ in range(2))
        await until(lambda: turn.guarded_calls == 2)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        turn.decide(Decision())
        assert (await second).status == "completed"

    with_async(main)


@pytest.mark.parametrize("refused", [False, True])
def test_a_blocking_client_on_the_loops_own_thread_asks_again_instead_of_waiting(  # noqa: PLR0917  # fixtures
    client: OpenAI,
    fake: FakeOpenAI,
    turn_of: MakeTurn,
    blocked: Decision,
    in_thread: InThread,
    refused: bool,
) -> None:
    turn = turn_of("model")
    turn.ask_again = lambda: in_thread(lambda: blocked if refused else Decision())

    async def main() -> Any:
        with bound(turn):
            return use(client)  # would stop the loop that has to bring the verdict

    if refused:
        with pytest.raises(ContentBlocked):
            asyncio.run(main())
    else:
        assert asyncio.run(main()).status == "completed"
    assert turn.route.blocks_loop
    assert len(fake.requests) == (0 if refused else 1)


def test_a_blocking_client_in_a_thread_just_waits(client: OpenAI, turn_of: MakeTurn) -> None:
    turn = turn_of("model")
    turn.ask_again = lambda: pytest.fail("asked again without need")

    async def main() -> None:
        with bound(turn):
            call = asyncio.create_task(asyncio.to_thread(use, client))
        await until(lambda: is_asked(turn))
        turn.decide(Decision())
        assert (await call).status == "completed"

    asyncio.run(main())
    assert not turn.route.blocks_loop


def test_errors_of_the_service_stay_the_services_own(
    client: OpenAI, with_async: WithAsync, fake: FakeOpenAI, turn_of: MakeTurn
) -> None:
    fake.fail("/responses", kind="reset")
    turn = turn_of()
    with bound(turn):
        with pytest.raises(APIConnectionError):
            use(client)
        with pytest.raises(APIConnectionError):
            with_async(use)
    assert turn.aborted_calls == 0


def test_a_stream_the_service_breaks_off_is_the_services_error(
    client: OpenAI, with_async: WithAsync, fake: FakeOpenAI, turn_of: MakeTurn, blocked: Decision
) -> None:
    fake.fail("/responses", kind="truncated", after_tokens=2)

    async def read(client: AsyncOpenAI) -> None:
        assert not [event async for event in await use(client, stream=True)]

    turn = turn_of()
    with bound(turn):
        for call in (lambda: list(use(client, stream=True)), lambda: with_async(read)):
            with pytest.raises(Exception, match=r"(?i)connection|incomplete") as caught:
                call()
            assert not isinstance(caught.value, ContentBlocked)
    turn.decide(blocked)
    assert turn.aborted_calls == 0
