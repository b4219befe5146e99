"""The circuit breaker: after too many failures nothing is sent, then one probe."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from enum import Enum
from threading import Lock

__all__ = ["Breaker", "Change"]


class Change(Enum):
    """What an outcome changed."""

    NONE = "none"
    OPENED = "opened"
    CLOSED = "closed"


class Breaker:
    """Open after *failures* within *window* seconds that are at least half of all outcomes.

    The share keeps a busy process, where a few of thousands fail, from refusing everyone. When
    open, it rests for *rest* seconds, then lets one probe through; a probe that tells nothing
    within another *rest* is given up. Thread-safe.
    """

    __slots__ = (
        "_clock",
        "_failures",
        "_lock",
        "_next",
        "_open",
        "_probing",
        "_rest",
        "_seen",
        "_window",
    )

    def __init__(
        self,
        failures: int = 5,
        window: float = 30.0,
        rest: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._failures = failures
        self._window = window
        self._rest = rest
        self._clock = clock
        self._lock = Lock()
        # one entry a second at most, so that the deque stays short under any load
        self._seen: deque[list[float]] = deque()
        self._open = False
        self._probing = False
        self._next = 0.0

    def rests(self) -> bool:
        """Whether a request would be turned away now; takes no probe."""
        return self._open and self._clock() < self._next

    def admit(self) -> bool:
        """Whether a request may be sent now; when open, one is the probe."""
        if not self._open:
            return True
        with self._lock:
            now = self._clock()
            if not self._open:
                return True
            if now < self._next:
                return False
            self._probing = True
            self._next = now + self._rest
            return True

    def succeeded(self) -> Change:
        """Count an answer of the service."""
        with self._lock:
            if self._open:
                # an answer to what was sent before it opened says nothing about now
                if not self._probing:
                    return Change.NONE
                self._open = self._probing = False
                self._seen.clear()
                return Change.CLOSED
            self._count(1, 0)
            return Change.NONE

    def failed(self) -> Change:
        """Count a failure of the service."""
        with self._lock:
            if self._open:
                if self._probing:
                    self._probing = False
                    self._next = self._clock() + self._rest
                return Change.NONE
            self._count(0, 1)
            failures = sum(entry[2] for entry in self._seen)
            answers = sum(entry[1] for entry in self._seen)
            if failures < self._failures or answers > failures:
                return Change.NONE
            self._open = True
            self._next = self._clock() + self._rest
            return Change.OPENED

    def _count(self, answers: int, failures: int) -> None:
        now = self._clock()
        while self._seen and self._seen[0][0] <= now - self._window:
            self._seen.popleft()
        if not self._seen or self._seen[-1][0] <= now - 1:
            self._seen.append([now, 0, 0])
        self._seen[-1][1] += answers
        self._seen[-1][2] += failures
