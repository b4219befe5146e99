"""The operator's hooks, called on a thread of their own: they never delay or break a request."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Full, Queue
from threading import Lock, Thread, current_thread
from typing import Any, TypeAlias

__all__ = ["Hooks"]

_log = logging.getLogger("safety_middleware")
MAX_WAITING = 1_000
"""Calls that may wait for a slow hook; past that they are dropped, with a warning."""
_Call: TypeAlias = tuple[Callable[..., Any], tuple[Any, ...]] | None


class Hooks:
    """Calls hooks in the order of their events, one after the other, per process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._waiting: Queue[_Call] = Queue(MAX_WAITING)
        self._thread: Thread | None = None

    def call(self, hook: Callable[..., Any] | None, *event: Any) -> None:
        """Have *hook* called with *event*, soon; a missing hook costs nothing."""
        if hook is None:
            return
        with self._lock:
            if self._pid != os.getpid():
                self._start()  # a forked child inherits no thread
            if self._thread is None:
                self._waiting = Queue(MAX_WAITING)
                self._thread = Thread(
                    target=_run, args=(self._waiting,), name="safety-hooks", daemon=True
                )
                self._thread.start()
            waiting = self._waiting
        try:
            waiting.put_nowait((hook, event))
        except Full:
            _log.warning("hook %s is too slow: an event was dropped", _name(hook))

    def close(self, timeout: float = 5.0) -> None:
        """Call what still waits, then end the thread; give up on it after *timeout* seconds."""
        with self._lock:
            thread, self._thread = self._thread, None
            waiting = self._waiting
        if thread is None or self._pid != os.getpid():
            return
        until = time.monotonic() + timeout
        with suppress(Full):
            waiting.put(None, timeout=timeout)
            if thread is not current_thread():  # a hook may close the engine
                thread.join(max(0.0, until - time.monotonic()))
        if thread.is_alive() and thread is not current_thread():
            _log.warning("a hook is too slow: events were dropped at the end")


def _run(waiting: Queue[_Call]) -> None:
    while (call := waiting.get()) is not None:
        hook, event = call
        try:
            answer = hook(*event)
            if inspect.isawaitable(answer):
                asyncio.run(_awaited(answer))
        except BaseException:  # a cancelled or exiting hook must not end the thread of the others
            _log.exception("hook %s failed", _name(hook))


async def _awaited(answer: Any) -> None:
    await answer


def _name(hook: Any) -> str:
    return str(getattr(hook, "__qualname__", type(hook).__name__))
