"""Run one decision under WSGI and ASGI: the only place where sync and async differ.

A *flow* is a generator that yields the I/O it needs and is sent the answer. A *step* is one such
need; it asks the *ports* for its answer. Blocking ports answer at once, awaitable ones may answer
with an awaitable, and need not where the answer is at hand.
"""

from __future__ import annotations

from collections.abc import Awaitable, Generator
from typing import Any, Generic, TypeAlias, TypeVar

__all__ = ["Flow", "Step", "arun", "run"]

T = TypeVar("T")
R = TypeVar("R")


class Step(Generic[T]):
    """I/O a flow asks for; ``answer = yield from step`` gives its typed answer."""

    __slots__ = ()

    def ask(self, ports: Any) -> T | Awaitable[T]:
        """Ask *ports* for the answer, or for an awaitable of it."""
        raise NotImplementedError(type(self).__name__)

    def __iter__(self) -> Generator[Step[Any], Any, T]:
        """Yield the step itself and return what the driver sends."""
        answer: T = yield self
        return answer


Flow: TypeAlias = Generator[Step[Any], Any, R]


def run(flow: Flow[R], ports: Any) -> R:
    """Drive *flow* to its result with blocking *ports*."""
    answer: Any = None
    error: Exception | None = None
    try:
        while True:
            step = flow.send(answer) if error is None else flow.throw(error)
            answer = error = None
            try:
                answer = step.ask(ports)
            except Exception as failed:  # the flow decides what a failure means
                error = failed
    except StopIteration as stop:
        result: R = stop.value
        return result
    finally:
        error = None  # its traceback holds this frame
        flow.close()


async def arun(flow: Flow[R], ports: Any) -> R:
    """Drive *flow* to its result with *ports* whose answers may be awaitable."""
    answer: Any = None
    error: Exception | None = None
    try:
        while True:
            step = flow.send(answer) if error is None else flow.throw(error)
            answer = error = None
            try:
                answer = step.ask(ports)
                if hasattr(answer, "__await__"):
                    answer = await answer
            except Exception as failed:  # the flow decides what a failure means
                error = failed
    except StopIteration as stop:
        result: R = stop.value
        return result
    finally:
        error = None  # its traceback holds this frame
        flow.close()  # a cancelled driver would leave the flow suspended until collected
