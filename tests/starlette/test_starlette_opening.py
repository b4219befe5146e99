"""What the first requests wait for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from safety_middleware_starlette._opening import Opening


class Work:
    """Blocking work that ends when it may."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.calls = 0
        self.threads: set[int] = set()
        self.problem: Exception | None = None

    def __call__(self) -> None:
        self.calls += 1
        self.threads.add(threading.get_ident())
        assert self.may_end.wait(10)
        if self.problem is not None:
            raise self.problem


@pytest.fixture
def work() -> Work:
    return Work()


async def steps(opening: Opening, name: str, seen: list[str]) -> None:
    if not opening.over:
        await opening.wait()
    for step in range(3):
        seen.append(f"{name}{step}")
        await asyncio.sleep(0)


async def together(opening: Opening, release: Callable[[], None]) -> list[str]:
    seen: list[str] = []
    async with asyncio.TaskGroup() as group:
        for name in "abc":
            group.create_task(steps(opening, name, seen))
        await asyncio.sleep(0)
        release()
    return seen


async def in_step() -> list[str]:
    opening = Opening(lambda: None)
    opening.over = True
    return await together(opening, lambda: None)


def test_requests_that_wait_go_on_in_step_and_in_their_order(work: Work) -> None:
    waited = asyncio.run(together(Opening(work), work.may_end.set))
    assert waited == asyncio.run(in_step())
    assert work.calls == 1
    assert threading.get_ident() not in work.threads


def test_a_cancelled_request_does_not_end_the_work_for_the_others(work: Work) -> None:
    async def run() -> list[str]:
        opening, seen = Opening(work), list[str]()
        first = asyncio.create_task(steps(opening, "a", seen))
        second = asyncio.create_task(steps(opening, "b", seen))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        work.may_end.set()
        await second
        return seen

    assert asyncio.run(run()) == ["b0", "b1", "b2"]
    assert work.calls == 1


def test_work_that_failed_is_tried_again(work: Work) -> None:
    work.may_end.set()
    work.problem = ValueError("not yet")
    opening = Opening(work)

    async def run() -> None:
        with pytest.raises(ValueError, match="not yet"):
            await opening.wait()
        assert not opening.over
        work.problem = None
        await opening.wait()

    asyncio.run(run())
    assert opening.over
    assert work.calls == 2


def test_each_event_loop_waits_for_its_own_call(work: Work) -> None:
    opening, seen = Opening(work), list[str]()
    other = threading.Thread(target=lambda: asyncio.run(steps(opening, "b", seen)))

    async def run() -> None:
        mine = asyncio.create_task(steps(opening, "a", seen))
        await asyncio.sleep(0)
        other.start()
        work.may_end.set()
        await mine

    asyncio.run(run())
    other.join(10)
    assert sorted(seen) == ["a0", "a1", "a2", "b0", "b1", "b2"]
    assert work.calls <= 2
