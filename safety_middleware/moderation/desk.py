"""The desk: what the moderation model says of a content, as a future for threads and tasks."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import weakref
from concurrent.futures import Future
from functools import partial

from safety_middleware.errors import ModerationUnavailable, SettingsError
from safety_middleware.verdict import Verdict

from .budget import Priority
from .cache import Keys
from .line import Line
from .meter import Latency
from .parts import is_blank
from .service import OnDegraded, Service
from .settings import DeskSettings, Question
from .thread import LoopThread

__all__ = ["Desk"]

_log = logging.getLogger("safety_middleware.moderation")


class Desk:
    """One for a process; ask it from any thread, with or without a running event loop.

    Identical questions in flight share a call, verdicts are remembered, texts share requests
    under load. Every future it gives is resolved within the settings' timeout and a little, with a
    ``Verdict`` or a ``ModerationUnavailable`` whose ``cause`` is one of: ``timeout``,
    ``connection``, ``http_<status>``, ``malformed``, ``short``, ``empty``, ``breaker_open``,
    ``closed``, ``misconfigured``, ``error``; ``budget`` when a minute's requests or tokens are
    spent, ``share`` when one identity or address had its part of them, or a word of the operator's
    own moderator. Futures can't be cancelled.

    A forked child starts afresh and leaves alone what it inherited.

    Args:
        settings: How to work.
        cache_key: A secret of any length; the cache's keys are hashed with one derived from it.
        on_degraded: Called with ``"moderation"`` and a cause when the service is given up for a
            while, when it refuses our key or address, and with ``"recovered"`` afterwards; from
            whichever thread finds out.
    """

    def __init__(
        self, settings: DeskSettings, *, cache_key: bytes, on_degraded: OnDegraded | None = None
    ) -> None:
        self._settings = settings
        self._keys = Keys(cache_key, settings.model)
        self._on_degraded = on_degraded
        self._begin()
        _desks.add(self)

    def _begin(self) -> None:
        self._service = Service(self._settings, self._on_degraded)
        self._lines: dict[asyncio.AbstractEventLoop, Line] = {}
        self._thread: LoopThread | None = None
        self._finalizer: weakref.finalize[[], Desk] | None = None
        self._lock = threading.Lock()

    @property
    def latency(self) -> Latency:
        """How long this process's moderation calls take, smoothed."""
        return self._service.meter.latency

    def start(self) -> None:
        """Import the HTTP client and check the settings against the environment.

        Call it when the app starts: the first question does it otherwise, and waits for it.

        Raises:
            SettingsError: Without an API key, or if settings and environment don't fit.
        """
        self._service.start()

    def ask(
        self,
        question: Question,
        *,
        priority: Priority = Priority.NEW,
        who: str | None = None,
        address: str | None = None,
    ) -> Future[Verdict]:
        """Ask about *question*: on the running loop, or on the desk's own thread without one.

        Args:
            question: What to ask.
            priority: Who goes first when the budget is short.
            who: The identity's safety identifier, and
            address: its address's: whose shares of the budget this is counted against.
        """
        loop = asyncio._get_running_loop()  # noqa: SLF001  # public name raises instead
        return self._ask(question, loop, priority, who, address)

    def recall(self, question: Question) -> Verdict | None:
        """The verdict that is remembered about *question*, or None; asks nobody."""
        key = self._keys.of(question)
        return self._service.cache.get(key) if key else None

    def ask_from_thread(
        self,
        question: Question,
        *,
        priority: Priority = Priority.NEW,
        who: str | None = None,
        address: str | None = None,
    ) -> Future[Verdict]:
        """Ask about *question* on the desk's own thread, whatever runs on this one."""
        return self._ask(question, None, priority, who, address)

    def _ask(
        self,
        question: Question,
        loop: asyncio.AbstractEventLoop | None,
        priority: Priority,
        who: str | None,
        address: str | None,
    ) -> Future[Verdict]:
        key = self._keys.of(question)
        known = self._service.cache.get(key) if key else None
        if known is not None:
            return _done(known)
        if is_blank(question):
            return _done(_HARMLESS)
        if self._service.breaker.rests():
            return _failed("breaker_open")
        try:
            line = self._thread_line() if loop is None else self._line_of(loop)
        except SettingsError as error:
            self._service.misconfigured(error)
            return _failed("misconfigured")
        except Exception as error:
            # no thread or socket to be had: whoever asks must be told, not broken
            _log.error("the moderation desk can't work: %s", type(error).__name__)
            return _failed("error")
        names = tuple({name for name in (who, address) if name is not None})
        return line.ask(key, question, here=loop is not None, priority=priority, names=names)

    def start_afresh(self) -> None:
        """Leave to the parent of a forked child what is the parent's; called in every such child.

        It is kept for ever: finalising it would close connections, and touch selectors, that the
        parent still works with.
        """
        if self._finalizer is not None:
            self._finalizer.detach()
        if self._lines or self._thread is not None:
            import ctypes  # noqa: PLC0415  # only ever needed in a forked child

            left = (self._lines, self._thread, self._service)
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(left))
        self._begin()

    async def aclose(self) -> None:
        """End what the desk does on the running loop; asking again begins anew."""
        line = self._lines.get(asyncio.get_running_loop())
        if line is not None:
            await line.aclose()

    def close(self) -> None:
        """End what the desk does on its own thread, and wait for that; asking begins anew."""
        with self._lock:
            finalizer, self._finalizer, self._thread = self._finalizer, None, None
        if finalizer is not None:
            finalizer()

    def _line_of(self, loop: asyncio.AbstractEventLoop) -> Line:
        line = self._lines.get(loop)
        if line is None:
            for old, left in list(self._lines.items()):
                if left.abandoned and self._lines.pop(old, None) is not None:
                    left.abandon()
            lines = self._lines
            line = lines[loop] = Line(self._service, partial(lines.pop, loop, None))
        return line

    def _thread_line(self) -> Line:
        thread = self._thread
        if thread is None:
            self.start()
            with self._lock:
                thread = self._thread
                if thread is None:
                    service = self._service
                    thread = self._thread = LoopThread(lambda: Line(service, lambda: None))
                    # at the latest when the interpreter ends, before what the thread needs is gone
                    self._finalizer = weakref.finalize(self, thread.stop)
        try:
            return thread.line()
        except RuntimeError:
            self._thread = None
            raise


def _failed(cause: str) -> Future[Verdict]:
    future: Future[Verdict] = Future()
    future.set_exception(ModerationUnavailable(cause))
    return future


def _done(verdict: Verdict) -> Future[Verdict]:
    future: Future[Verdict] = Future()
    future.set_result(verdict)
    return future


_HARMLESS = Verdict(frozenset(), {})
_desks: weakref.WeakSet[Desk] = weakref.WeakSet()


def _forked() -> None:
    """Give every desk of a forked child a fresh start."""
    for desk in list(_desks):
        desk.start_afresh()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
