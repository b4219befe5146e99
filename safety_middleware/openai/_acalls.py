"""One asynchronous model call in flight: it is ended on its own loop when its turn is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import cache
from typing import Any, TypeVar

from safety_middleware.turn import Turn

from ._blocked import refuse
from ._calls import base_stream

__all__ = ["AsyncCall"]

T = TypeVar("T")


class AsyncCall:
    """An asynchronous model call between sending and the end of its answer."""

    __slots__ = (
        "_cancelled",
        "_closing",
        "_forget",
        "_loop",
        "_over",
        "_response",
        "_task",
        "turn",
    )

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[Any] | None = None
        self._cancelled = False
        self._response: Any = None
        self._closing: asyncio.Task[None] | None = None
        self._over = False
        self._forget = turn.on_refused(self._end)

    async def run(self, send: Callable[..., Any], request: Any, stream: bool, options: Any) -> Any:
        """Send *request*; the response, which stays this call's until it is closed.

        Raises:
            ContentBlocked: If the turn is refused meanwhile.
        """
        try:
            response = await self.until_refused(send(request, stream=stream, **options))
        except BaseException:
            self.over()
            raise
        if response.is_closed:
            self.over()
        else:
            response.stream = _body_class(base_stream(response.stream, "Async"))(
                response.stream, self
            )
            self._response = response
        if self.turn.refusal is not None:
            await response.aclose()
            refuse(self.turn)
        return response

    async def until_refused(self, answer: Awaitable[T]) -> T:
        """What *answer* gives, unless the turn is refused first.

        The waiting task is cancelled and the cancellation taken back, as ``asyncio.timeout`` does.

        Raises:
            ContentBlocked: If the turn is refused.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # a coroutine on a loop runs in a task
        before = task.cancelling()
        self._task = task
        try:
            return await answer
        except asyncio.CancelledError:
            if self._cancelled and task.cancelling() == before + 1:
                refuse(self.turn)
            raise
        except Exception:
            refuse(self.turn)
            raise
        finally:
            self._task = None
            if self._cancelled:
                self._cancelled = False
                task.uncancel()

    def over(self) -> None:
        """Let go: the answer is complete or given up."""
        self._over = True
        self._response = None
        self._forget()

    def _end(self) -> None:
        if self._over:
            return
        self.turn.aborted_calls += 1
        with suppress(RuntimeError):  # the loop is closed, and the call with it
            self._loop.call_soon_threadsafe(self._stop)

    def _stop(self) -> None:
        if self._task is not None:
            self._cancelled = True
            self._task.cancel()
        elif self._response is not None:  # nobody reads at the moment
            self._closing = self._loop.create_task(_close(self._response))


async def _close(response: Any) -> None:
    with suppress(Exception):  # a connection that breaks while it is closed is closed
        await response.aclose()


@cache
def _body_class(base: Any) -> Any:
    class Body(base):  # type: ignore[misc]  # known only when the client is
        """The answer's bytes, none of them after the turn was refused."""

        def __init__(self, inner: Any, call: AsyncCall) -> None:
            self._inner = inner
            self._call = call

        async def __aiter__(self) -> AsyncIterator[bytes]:
            turn = self._call.turn
            chunks = aiter(self._inner)
            try:
                while True:
                    refuse(turn)
                    chunk = await self._call.until_refused(anext(chunks, None))
                    refuse(turn)
                    if chunk is None:
                        return
                    yield chunk
            except Exception:
                await self.aclose()
                raise

        async def aclose(self) -> None:
            try:
                await self._inner.aclose()
            finally:
                self._call.over()

    return Body
