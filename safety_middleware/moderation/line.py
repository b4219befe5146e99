"""The desk's work on one event loop: questions in flight, the gathering of texts, the requests."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from contextvars import Context
from functools import partial

from safety_middleware.errors import ModerationUnavailable
from safety_middleware.verdict import Verdict

from .parts import Parts, cut, merge, mixed
from .reading import read
from .service import Service
from .settings import Question
from .transport import Input, call

__all__ = ["Line"]

_log = logging.getLogger("safety_middleware.moderation")
# answers that may be the fault of one text among several
_SPLIT = frozenset({"http_400", "http_413", "http_422"})
# the time for gathering doubles at most so often (5 ms become 160), and never takes more than
# this share of the time a call takes
_DOUBLINGS = 5
_PATIENCE = 0.125


class _Ask:
    """One question in flight, and who waits for it."""

    __slots__ = ("deadline", "future", "key", "missing", "question", "timer", "verdicts")

    def __init__(self, key: bytes | None, question: Question, seconds: float) -> None:
        self.key: object = key or object()
        self.question = question
        self.deadline = time.monotonic() + seconds
        self.future: Future[Verdict] = Future()
        # a running future can't be cancelled, so no waiter can take it from the others
        self.future.set_running_or_notify_cancel()
        self.timer: asyncio.TimerHandle | None = None
        self.verdicts: list[Verdict] = []
        self.missing = 0


class _Piece:
    """What one request asks, or one of its texts."""

    __slots__ = ("ask", "asked")

    def __init__(self, ask: _Ask, asked: str | Parts) -> None:
        self.ask = ask
        self.asked = asked


class Line:
    """Everything but ``ask`` runs on the loop it was made on, and ends with that loop."""

    def __init__(self, service: Service, gone: Callable[[], object]) -> None:
        self._service = service
        self._settings = service.settings
        self._transport = service.open()
        self._loop = asyncio.get_running_loop()
        self._gone = gone
        self._asks: dict[object, _Ask] = {}
        self._waiting: deque[_Piece] = deque()
        self._calls: set[asyncio.Task[None]] = set()
        self._flush: asyncio.TimerHandle | None = None
        self._closed = False
        # every way of running a loop to its end closes the loop's asynchronous generators:
        # the only notice of its end that needs nothing of the app
        self._keeper = self._keep()
        with suppress(StopIteration):
            next(self._keeper.__anext__().__await__())

    @property
    def abandoned(self) -> bool:
        """Whether the loop was closed without ending what ran on it."""
        return self._loop.is_closed()

    def ask(self, key: bytes | None, question: Question, *, here: bool) -> Future[Verdict]:
        """Ask *question*, or wait with those who already do; *here*: on the loop's own thread."""
        ask = self._asks.get(key) if key else None
        if ask is not None:
            return ask.future
        mine = _Ask(key, question, self._settings.timeout)
        ask = self._asks.setdefault(mine.key, mine)
        if ask is mine:
            if here:
                self._start(mine)
            else:
                with suppress(RuntimeError):  # the loop has closed: found out below
                    self._loop.call_soon_threadsafe(self._start, mine)
            if self._closed:
                self._fail(mine, "closed")
        return ask.future

    async def aclose(self) -> None:
        """End every call and close every connection."""
        await self._keeper.aclose()

    def abandon(self) -> None:
        """Let go of what a closed loop left behind."""
        self._closed = True
        for ask in list(self._asks.values()):
            self._fail(ask, "closed")
        # with its loop closed there is nothing it could wait for
        with suppress(StopIteration, RuntimeError):
            self._transport.aclose().send(None)

    async def _keep(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            self._closed = True
            self._gone()
            self._waiting.clear()
            if self._flush is not None:
                self._flush.cancel()
            calls = list(self._calls)
            for task in calls:
                task.cancel()
            for ask in list(self._asks.values()):
                self._fail(ask, "closed")
            if calls:
                await asyncio.wait(calls)
            await self._transport.aclose()

    def _start(self, ask: _Ask) -> None:
        if ask.future.done():
            return
        if not self._service.breaker.admit():
            self._fail(ask, "breaker_open")
            return
        texts = cut(ask.question.text)
        images = ask.question.images
        pieces = [_Piece(ask, mixed(texts[0] if texts else None, image)) for image in images]
        # the first part is judged with each of the images
        pieces += [_Piece(ask, text) for text in (texts[1:] if images else texts)]
        ask.missing = len(pieces)
        left = max(0.0, ask.deadline - time.monotonic())
        ask.timer = self._loop.call_later(left, self._fail, ask, "timeout")
        for piece in pieces:
            if isinstance(piece.asked, str):
                self._waiting.append(piece)
            else:
                self._send([piece])
        self._pump()

    def _pump(self) -> None:
        """Send what need not wait; gather the rest."""
        while self._waiting:
            full = len(self._waiting) >= self._settings.batch_texts
            if len(self._calls) >= self._settings.unbatched and not full:
                break
            self._send(self._take())
        if self._waiting and self._flush is None:
            beyond = len(self._calls) - self._settings.unbatched
            most = self._service.meter.latency.mean * _PATIENCE
            wait = min(self._settings.gather * 2 ** min(beyond, _DOUBLINGS), most)
            self._flush = self._loop.call_later(wait, self._gathered)

    def _gathered(self) -> None:
        self._flush = None
        self._send(self._take())
        self._pump()

    def _take(self) -> list[_Piece]:
        batch: list[_Piece] = []
        chars = 0
        while self._waiting and len(batch) < self._settings.batch_texts:
            piece = self._waiting[0]
            if batch and chars + len(piece.asked) > self._settings.batch_chars:
                break
            self._waiting.popleft()
            if not piece.ask.future.done():
                batch.append(piece)
                chars += len(piece.asked)
        return batch

    def _send(self, batch: list[_Piece]) -> None:
        if not batch:
            return
        # a context of its own: no turn stays alive, or is billed, for a call that serves several
        task = self._loop.create_task(self._call(batch), context=Context())
        self._calls.add(task)
        task.add_done_callback(partial(self._over, batch))

    def _over(self, batch: list[_Piece], task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        if task.cancelled():  # at the end of the loop, perhaps before the call began
            for piece in batch:
                self._fail(piece.ask, "closed")
        if self._flush is not None and not self._closed:
            self._flush.cancel()
            self._gathered()

    async def _call(self, batch: list[_Piece]) -> None:
        asked: Input
        if len(batch) == 1:
            asked = batch[0].asked
        else:
            asked = [piece.asked for piece in batch if isinstance(piece.asked, str)]
        began = time.monotonic()
        try:
            body = await call(self._transport, asked, max(p.ask.deadline for p in batch))
            verdicts = read(body, len(batch))
        except ModerationUnavailable as error:
            self._failed(batch, error.cause)
        except Exception as error:
            # whatever a transport raises: those who wait must not wait for ever
            _log.error("a moderation call failed: %s", type(error).__name__)
            self._failed(batch, "error")
        else:
            self._service.answered(time.monotonic() - began)
            for piece, verdict in zip(batch, verdicts, strict=True):
                self._judged(piece.ask, verdict)

    def _failed(self, batch: list[_Piece], cause: str) -> None:
        self._service.failed(cause)
        if cause in _SPLIT and len(batch) > 1:
            for piece in batch:
                self._send([piece])
            return
        for piece in batch:
            self._fail(piece.ask, cause)

    def _judged(self, ask: _Ask, verdict: Verdict) -> None:
        ask.verdicts.append(verdict)
        ask.missing -= 1
        if ask.missing or ask.future.done():
            return
        verdict = merge(ask.verdicts)
        if isinstance(ask.key, bytes):
            self._service.cache.put(ask.key, verdict)
        self._forget(ask)
        with suppress(InvalidStateError):
            ask.future.set_result(verdict)

    def _fail(self, ask: _Ask, cause: str) -> None:
        self._forget(ask)
        # at the end of a loop another thread may fail the same question at the same time
        with suppress(InvalidStateError):
            ask.future.set_exception(ModerationUnavailable(cause))

    def _forget(self, ask: _Ask) -> None:
        # another may have been asked the same since this one was given up
        if self._asks.get(ask.key) is ask:
            del self._asks[ask.key]
        if ask.timer is not None:
            ask.timer.cancel()
