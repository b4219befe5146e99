"""The writer behind: one thread per process that saves records in batches."""

from __future__ import annotations

import atexit
import logging
import math
import os
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Event, Lock, Thread

from ._away import Away
from ._record import Record

__all__ = ["OnDegraded", "Writer"]

OnDegraded = Callable[[str, str], None]

ROOM = 10_000
"""Records that may wait for the database; about 20 MB."""
BATCH = 500
LINGER = 0.05
"""How long the first record of a batch waits for others, in seconds."""
PAUSES = 0.1, 5.0
"""The first and the longest pause between attempts to reach the database, in seconds."""
REPEAT = 30.0
"""The same cause is told again after that many seconds."""

_log = logging.getLogger("safety_middleware")


class _Nudge(Event):
    """Waits in the queue like a marker, and has ``save`` called though there is no record."""


class Writer:
    """Takes records without ever blocking, and saves them in the order they came.

    A batch that can't be saved is kept and tried again, with growing pauses. What finds no room
    meanwhile is dropped and counted.

    Args:
        save: Saves records, and what else there is to save; returns how many of the records can
            never be saved. Whatever it raises means "try again later".
        release: Lets go of the database; called when the thread ends.
        on_degraded: Told ``("store", cause)``, each cause at most every 30 seconds. May be called
            by the thread that writes a record, so it must be quick.
        room: Records that may wait.

    Attributes:
        dropped: Records that were lost so far: no room, or the database will not take them.
        degraded: The cause of the present trouble; None when all is well.
    """

    def __init__(
        self,
        save: Callable[[Sequence[Record]], int],
        release: Callable[[], None],
        on_degraded: OnDegraded,
        *,
        room: int = ROOM,
    ) -> None:
        self.dropped = 0
        self.degraded: str | None = None
        self._save = save
        self._release = release
        self._on_degraded = on_degraded
        self._room = room
        self._pid = os.getpid()
        self._queue: deque[Record | Event] = deque()
        self._held: list[Record | Event] = []
        self._wake = Event()
        self._hurry = Event()
        self._lock = Lock()
        self._thread: Thread | None = None
        self._stop_at: float | None = None
        self._told: dict[str, float] = {}

    @property
    def waiting(self) -> int:
        """Records that are not saved yet."""
        return sum(isinstance(item, Record) for item in (*self._queue.copy(), *self._held))

    def put(self, record: Record) -> None:
        """Take *record*; never blocks, never raises."""
        if len(self._queue) < self._room:
            self._queue.append(record)
        else:
            self._drop(1, "queue_full")
        if not self._wake.is_set():
            self._rouse()

    def flush(self, timeout: float) -> bool:
        """Wait until all that was put before is saved; False after *timeout* seconds."""
        if self._thread is None and not (self._queue or self._held):
            return True
        marker = Event()
        self._queue.append(marker)
        self._rouse()
        self._hurry.set()
        return marker.wait(timeout)

    def probe(self, cause: str) -> None:
        """Take note that the database is away, and try it until it answers."""
        self._tell(cause)
        self._queue.append(Event())
        self._rouse()

    def nudge(self, *, now: bool = True) -> None:
        """Have ``save`` called, be there records or not, *now* or soon; never blocks or raises."""
        self._queue.append(_Nudge())
        self._rouse()
        if now:
            self._hurry.set()

    def close(self, timeout: float = 5.0) -> bool:
        """Save what waits, then end the thread; False if *timeout* seconds did not suffice.

        What is left then stays in memory; putting another record starts the thread again.
        """
        if self._pid != os.getpid():
            return True  # inherited by a fork: its owner will write it
        atexit.unregister(self.close)
        with self._lock:
            thread = self._thread
            if thread is None and not (self._queue or self._held):
                return True
            self._stop_at = time.monotonic() + timeout
            self._wake.set()
        self._hurry.set()
        if thread is None:
            self._drain()
            self._wake.clear()
        else:
            thread.join(timeout + LINGER)
        left = self.waiting
        if left:
            _log.warning("%d records could not be saved before the store closed", left)
        return not left

    def _rouse(self) -> None:
        with self._lock:
            if self._thread is None:
                self._stop_at = None
                thread = Thread(target=self._run, name="safety-records", daemon=True)
                # no more threads to be had: the next record tries again
                with suppress(RuntimeError):
                    thread.start()
                    self._thread = thread
                atexit.unregister(self.close)
                atexit.register(self.close)
            if self._thread is not None:
                self._wake.set()
                return
        self._tell("no_thread")

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._hurry.wait(LINGER)
            self._wake.clear()
            drained = self._drain()
            if self._stop_at is not None and self._ends(drained):
                self._release()
                return

    def _ends(self, drained: bool) -> bool:
        with self._lock:
            # in this order: a record put after the look at the queue finds the flag down
            self._wake.clear()
            if drained and self._queue:
                self._wake.set()
                return False
            self._thread = None
            return True

    def _drain(self) -> bool:
        """Save all that waits; False when closing ran out of time first."""
        pause, longest = PAUSES
        while self._fill():
            if self._attempt():
                pause = PAUSES[0]
                continue
            left = math.inf if self._stop_at is None else self._stop_at - time.monotonic()
            if left <= 0:
                return False
            self._hurry.wait(min(pause * random.uniform(0.5, 1), left))
            pause = min(pause * 2, longest)
        return True

    def _fill(self) -> bool:
        while self._queue and len(self._held) < BATCH:
            self._held.append(self._queue.popleft())
        return bool(self._held)

    def _attempt(self) -> bool:
        self._hurry.clear()
        records = [item for item in self._held if isinstance(item, Record)]
        nudged = any(isinstance(item, _Nudge) for item in self._held)
        try:
            lost = self._save(records) if records or nudged or self.degraded else 0
        except Exception as error:  # kept and tried again; what failed is told in a word
            self._tell(error.cause if isinstance(error, Away) else type(error).__name__)
            return False
        markers = [item for item in self._held if isinstance(item, Event)]
        self._held.clear()
        self.degraded = None
        if lost:
            self._drop(lost, "unwritable")
        for marker in markers:
            marker.set()
        return True

    def _drop(self, count: int, cause: str) -> None:
        with self._lock:
            self.dropped += count
        self._tell(cause)

    def _tell(self, cause: str) -> None:
        self.degraded = cause
        now = time.monotonic()
        if now < self._told.get(cause, -math.inf) + REPEAT:
            return
        self._told[cause] = now
        try:
            self._on_degraded("store", cause)
        except Exception:
            _log.exception("an on_degraded hook failed")
