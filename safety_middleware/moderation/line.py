"""The desk's work on one event loop: questions in flight, the gathering of texts, the requests."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from contextvars import Context
from functools import partial

from safety_middleware.errors import ModerationUnavailable
from safety_middleware.verdict import Verdict

from .asks import Ask, Piece, Waiting
from .budget import Priority, tokens_of
from .parts import merge
from .service import Service
from .settings import Question

__all__ = ["Line"]

_log = logging.getLogger("safety_middleware.moderation")
# answers that may be the fault of one text among several
_SPLIT = frozenset({"http_400", "http_413", "http_422"})
# the time for gathering doubles at most so often (5 ms become 160), and never takes more than
# this share of the time a call takes
_DOUBLINGS = 5
_PATIENCE = 0.125
# the shortest wait for the budget, in seconds
_BREATH = 0.01


class Line:
    """Everything but ``ask`` runs on the loop it was made on, and ends with that loop."""

    def __init__(self, service: Service, gone: Callable[[], object]) -> None:
        self._service = service
        self._settings = service.settings
        self._backend = service.open()
        self._loop = asyncio.get_running_loop()
        self._gone = gone
        self._asks: dict[object, Ask] = {}
        self._waiting = Waiting(service.settings, service.budget)
        self._calls: set[asyncio.Task[None]] = set()
        self._flush: asyncio.TimerHandle | None = None
        self._refill: asyncio.TimerHandle | None = None
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

    def ask(
        self,
        key: bytes | None,
        question: Question,
        *,
        here: bool,
        priority: Priority = Priority.NEW,
        names: tuple[str, ...] = (),
    ) -> Future[Verdict]:
        """Ask *question*, or wait with those who already do.

        Args:
            key: Under which the verdict is remembered, and the same question in flight is found.
            question: The question.
            here: This is the loop's own thread.
            priority: How it stands to others when the budget is short.
            names: Whose shares of the budget it is counted against.
        """
        ask = self._asks.get(key) if key else None
        if ask is not None:
            return self._join(ask, priority)
        mine = Ask(key, question, priority, self._settings.timeout)
        if names and not self._service.budget.share(names, tokens_of(question)):
            mine.future.set_exception(ModerationUnavailable("share"))
            return mine.future
        ask = self._asks.setdefault(mine.key, mine)
        if ask is not mine:
            return self._join(ask, priority)
        if here:
            self._start(mine)
        else:
            self._hand_over(self._start, mine)
        if self._closed:
            self._fail(mine, "closed")
        return mine.future

    def _join(self, ask: Ask, priority: Priority) -> Future[Verdict]:
        """Wait for *ask* too, which moves up where *priority* is higher than its own."""
        if priority < ask.priority:
            ask.priority = priority
            self._hand_over(self._waiting.sort)
        return ask.future

    def _hand_over(self, work: Callable[..., object], *args: object) -> None:
        with suppress(RuntimeError):  # the loop has closed: who waits is told so
            self._loop.call_soon_threadsafe(work, *args)

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
            self._backend.aclose().send(None)

    async def _keep(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            self._closed = True
            self._gone()
            self._waiting.clear()
            for timer in (self._flush, self._refill):
                if timer is not None:
                    timer.cancel()
            calls = list(self._calls)
            for task in calls:
                task.cancel()
            for ask in list(self._asks.values()):
                self._fail(ask, "closed")
            if calls:
                await asyncio.wait(calls)
            await self._backend.aclose()

    def _start(self, ask: Ask) -> None:
        if ask.future.done():
            return
        if not self._service.breaker.admit():
            self._fail(ask, "breaker_open")
            return
        left = max(0.0, ask.deadline - time.monotonic())
        ask.timer = self._loop.call_later(left, self._late, ask)
        parts = self._backend.cut(ask.question)
        ask.pieces = [Piece(ask, part) for part in parts]
        ask.missing = len(parts)
        for piece in ask.pieces:
            self._queue(piece)
        self._pump()

    def _queue(self, piece: Piece) -> None:
        """Let *piece* wait for its turn; what is sent alone anyway goes now, if it may."""
        budget, priority = self._service.budget, piece.ask.priority
        if piece.alone and not self._waiting.short and budget.spend(priority, piece.tokens):
            piece.sent = True
            self._send([piece])
        elif not self._waiting.add(piece):
            self._fail(piece.ask, "budget")

    def _pump(self) -> None:
        """Send what need not wait; gather the rest, or wait with it for the budget."""
        while (first := self._waiting.first()) is not None:
            full = len(self._waiting) >= self._settings.batch_texts
            if len(self._calls) >= self._settings.unbatched and not (full or first.alone):
                break
            if not self._send_next():
                return
        if first is not None and self._flush is None:
            beyond = len(self._calls) - self._settings.unbatched
            most = self._service.meter.latency.mean * _PATIENCE
            wait = min(self._settings.gather * 2 ** min(beyond, _DOUBLINGS), most)
            self._flush = self._loop.call_later(wait, self._gathered)

    def _gathered(self) -> None:
        self._flush = None
        if self._send_next():
            self._pump()

    def _refilled(self) -> None:
        self._refill = None
        self._pump()

    def _send_next(self) -> bool:
        """Send one request with what waits; False if the budget lets nothing go."""
        batch, cut = self._waiting.take()
        if batch:
            self._send(batch)
        for piece in cut:
            self._fail(piece.ask, "budget")
        short = self._waiting.short
        if short is not None and self._refill is None:
            wait = self._service.budget.wait(short.ask.priority, short.tokens)
            self._refill = self._loop.call_later(max(wait, _BREATH), self._refilled)
        return short is None or bool(batch)

    def _send(self, batch: list[Piece]) -> None:
        # a context of its own: no turn stays alive, or is billed, for a call that serves several
        task = self._loop.create_task(self._call(batch), context=Context())
        self._calls.add(task)
        task.add_done_callback(partial(self._over, batch))

    def _over(self, batch: list[Piece], task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        self._service.budget.ended(sum(piece.tokens for piece in batch))
        if task.cancelled():  # at the end of the loop, perhaps before the call began
            for piece in batch:
                self._fail(piece.ask, "closed")
        if self._closed:
            return
        if self._flush is not None:
            self._flush.cancel()
            self._gathered()
        elif self._waiting.short is not None:
            self._pump()  # the answer may have told of more room

    async def _call(self, batch: list[Piece]) -> None:
        tokens = sum(piece.tokens for piece in batch)
        deadline = max(piece.ask.deadline for piece in batch)
        began = time.monotonic()
        try:
            verdicts = await self._backend.judge([p.asked for p in batch], tokens, deadline)
        except ModerationUnavailable as error:
            self._failed(batch, error.cause)
        except Exception as error:
            # whatever a transport or a moderator raises: those who wait must not wait for ever
            _log.error("a moderation call failed: %s", type(error).__name__)
            self._failed(batch, "error")
        else:
            self._service.answered(time.monotonic() - began)
            for piece, verdict in zip(batch, verdicts, strict=True):
                self._judged(piece.ask, verdict)

    def _failed(self, batch: list[Piece], cause: str) -> None:
        self._service.failed(cause)
        if cause in _SPLIT and len(batch) > 1:
            for piece in batch:
                piece.alone = True
                self._queue(piece)
            self._pump()
            return
        for piece in batch:
            self._fail(piece.ask, cause)

    def _late(self, ask: Ask) -> None:
        """Give *ask* up at its deadline, and say whether it was the budget that had no room."""
        if self._waiting.short is None or all(piece.sent for piece in ask.pieces):
            self._fail(ask, "timeout")
            return
        self._service.ran_short()
        self._fail(ask, "budget")
        self._pump()  # what waited behind it may be smaller

    def _judged(self, ask: Ask, verdict: Verdict) -> None:
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

    def _fail(self, ask: Ask, cause: str) -> None:
        self._forget(ask)
        # at the end of a loop another thread may fail the same question at the same time
        with suppress(InvalidStateError):
            ask.future.set_exception(ModerationUnavailable(cause))

    def _forget(self, ask: Ask) -> None:
        # another may have been asked the same since this one was given up
        if self._asks.get(ask.key) is ask:
            del self._asks[ask.key]
        if ask.timer is not None:
            ask.timer.cancel()
