from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError, Future

import pytest

from safety_middleware.verdict import wait


def test_what_is_done_is_given_at_once() -> None:
    done: Future[int] = Future()
    done.set_result(1)
    assert asyncio.run(wait(done)) == 1


@pytest.mark.parametrize("outcome", [1, ValueError("why")])
def test_an_answer_from_a_thread_wakes_the_task(outcome: int | Exception) -> None:
    async def main() -> int:
        future: Future[int] = Future()
        thread = threading.Timer(0.01, answer, (future,))
        thread.start()
        try:
            async with asyncio.timeout(5):
                return await wait(future)
        finally:
            thread.join()

    def answer(future: Future[int]) -> None:
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    if isinstance(outcome, Exception):
        with pytest.raises(ValueError, match="why"):
            asyncio.run(main())
    else:
        assert asyncio.run(main()) == outcome


def test_an_answer_on_the_loops_own_thread_wakes_every_waiter() -> None:
    async def main() -> list[int]:
        future: Future[int] = Future()
        waiters = [asyncio.create_task(wait(future)) for _ in range(3)]
        await asyncio.sleep(0)
        future.set_result(7)
        return await asyncio.gather(*waiters)

    assert asyncio.run(main()) == [7, 7, 7]


def test_an_answer_on_another_loop_wakes_the_task() -> None:
    future: Future[int] = Future()
    waiting = threading.Event()

    async def here() -> int:
        task = asyncio.create_task(wait(future))
        await asyncio.sleep(0)
        waiting.set()
        async with asyncio.timeout(5):
            return await task

    async def there() -> None:
        future.set_result(3)

    def run_there() -> None:
        waiting.wait()
        asyncio.run(there())

    thread = threading.Thread(target=run_there)
    thread.start()
    assert asyncio.run(here()) == 3
    thread.join()


def test_cancelling_one_waiter_leaves_the_answer_to_the_others() -> None:
    async def main() -> int:
        future: Future[int] = Future()
        one, other = asyncio.create_task(wait(future)), asyncio.create_task(wait(future))
        await asyncio.sleep(0)
        one.cancel()
        with pytest.raises(asyncio.CancelledError):
            await one
        assert not future.cancelled()
        future.set_result(5)
        return await other

    assert asyncio.run(main()) == 5


def test_an_answer_and_a_cancellation_at_once_are_no_error() -> None:
    async def main() -> None:
        future: Future[int] = Future()
        task = asyncio.create_task(wait(future))
        await asyncio.sleep(0)
        task.cancel()
        future.set_result(5)
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_a_cancelled_answer_does_not_cancel_who_waits() -> None:
    async def main() -> None:
        future: Future[int] = Future()
        task = asyncio.create_task(wait(future))
        await asyncio.sleep(0)
        future.cancel()
        with pytest.raises(CancelledError):
            await task
        assert not task.cancelled()

    asyncio.run(main())


def test_an_answer_after_the_loop_has_closed_disturbs_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    future: Future[int] = Future()

    async def main() -> None:
        task = asyncio.create_task(wait(future))
        await asyncio.sleep(0)
        assert not task.done()

    asyncio.run(main())
    future.set_result(1)
    assert not caplog.text
