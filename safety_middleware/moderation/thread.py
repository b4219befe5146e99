"""The thread with an event loop on which the desk works for threads that have none."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

from .line import Line

__all__ = ["LoopThread"]


class LoopThread:
    """A daemon thread that runs a loop with a line on it, until it is stopped."""

    def __init__(self, open_line: Callable[[], Line]) -> None:
        self._open_line = open_line
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._line: Line | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="safety-moderation", daemon=True)
        self._thread.start()

    def line(self) -> Line:
        """The line that runs on this thread.

        Raises:
            RuntimeError: If it could not be opened; the reason is its cause.
        """
        self._ready.wait()
        if self._line is None:
            raise RuntimeError("the moderation desk's thread ended at once") from self._error
        return self._line

    def stop(self) -> None:
        """End the loop and what runs on it, and wait for that."""
        self._ready.wait()
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            with suppress(RuntimeError):  # closed in between
                self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        try:
            self._line = self._open_line()
        except Exception as error:
            # whoever waits for the line is told
            self._error = error
            return
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._ready.set()
        await self._stop.wait()
