from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest

from safety_middleware.flow import Flow, Step, arun, run


@dataclass(frozen=True, slots=True)
class Get(Step[int]):
    name: str

    def ask(self, ports: Any) -> int | Awaitable[int]:
        answer: int | Awaitable[int] = ports(self.name)
        return answer


class Log:
    def __init__(self) -> None:
        self.closed = False
        self.failures: list[str] = []


def adding(log: Log) -> Flow[int]:
    try:
        first = yield from Get("first")
        try:
            second = yield from Get("second")
        except LookupError as failure:
            log.failures.append(str(failure.args[0]))
            second = 100
        return first + second
    finally:
        log.closed = True


def drive(flow: Flow[int], ports: Any) -> int:
    return run(flow, ports)


def adrive(flow: Flow[int], ports: Any) -> int:
    async def awaited(name: str) -> int:
        await asyncio.sleep(0)
        answer: int = ports(name)
        return answer

    return asyncio.run(arun(flow, awaited))


def adrive_at_once(flow: Flow[int], ports: Any) -> int:
    return asyncio.run(arun(flow, ports))


Driver = Callable[[Flow[int], Any], int]
drivers = pytest.mark.parametrize("drive", [drive, adrive, adrive_at_once])


@drivers
def test_answers_are_sent_into_the_flow(drive: Driver) -> None:
    assert drive(adding(Log()), {"first": 1, "second": 2}.__getitem__) == 3


@drivers
def test_a_failing_port_is_the_flows_to_judge(drive: Driver) -> None:
    log = Log()
    assert drive(adding(log), {"first": 1}.__getitem__) == 101
    assert log.failures == ["second"]


@drivers
def test_a_failure_the_flow_does_not_expect_comes_out_and_closes_it(drive: Driver) -> None:
    log = Log()
    with pytest.raises(KeyError):
        drive(adding(log), dict[str, int]().__getitem__)
    assert log.closed


@drivers
def test_a_port_that_raises_stop_iteration_is_no_result(drive: Driver) -> None:
    def stopping(name: str) -> int:
        raise StopIteration(42)

    with pytest.raises(RuntimeError):
        drive(adding(Log()), stopping)


def test_an_interrupt_closes_the_flow_and_is_not_its_business() -> None:
    log = Log()

    def interrupted(name: str) -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(adding(log), interrupted)
    assert log.closed
    assert not log.failures


def test_cancelling_the_driver_closes_the_flow_at_once() -> None:
    log = Log()

    async def main() -> None:
        reached = asyncio.Event()

        async def never(name: str) -> int:
            reached.set()
            await asyncio.Event().wait()
            return 0

        task = asyncio.create_task(arun(adding(log), never))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert log.closed

    asyncio.run(main())


@pytest.mark.parametrize("drive", [drive, adrive_at_once])
def test_a_failed_flow_keeps_nothing_alive(drive: Driver) -> None:
    class Held:
        def __call__(self, name: str) -> int:
            raise KeyError(name)

    gc.collect()
    gc.disable()
    try:
        held = Held()
        gone = weakref.ref(held)
        with suppress(KeyError):
            drive(adding(Log()), held)
        del held
        if drive is not adrive_at_once:  # asyncio.run itself leaves cycles behind
            assert gone() is None
    finally:
        gc.enable()
    gc.collect()
    assert gone() is None


def test_steps_have_to_be_given_a_port() -> None:
    with pytest.raises(NotImplementedError, match="Step"):
        Step[int]().ask(object())
