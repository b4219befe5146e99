"""The operator's hooks, called on a thread of their own: they never delay or break a request."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
from collections.abc import Callable
from queue import Full, Queue
from threading import Lock, Thread
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
                self._thread = Thread(target=self._run, name="safety-hooks", daemon=True)
                self._thread.start()
        try:
            self._waiting.put_nowait((hook, event))
        except Full:
            _log.warning("hook %s is too slow: an event was dropped", _name(hook))

    def close(self) -> None:
        """Call what still waits, then end the thread."""
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is not None and self._pid == os.getpid():
                self._waiting.put(None)
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while (call := self._waiting.get()) is not None:
            hook, event = call
            try:
                answer = hook(*event)
                if inspect.isawaitable(answer):
                    asyncio.run(_awaited(answer))
            except Exception:
                _log.exception("hook %s failed", _name(hook))


async def _awaited(answer: Any) -> None:
    await answer


def _name(hook: Any) -> str:
    return str(getattr(hook, "__qualname__", type(hook).__name__))
