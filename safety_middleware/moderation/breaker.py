"""The circuit breaker: after too many failures nothing is sent, then one probe."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from threading import Lock

__all__ = ["Breaker"]


class _Second:
    """What became of the calls of one second."""

    __slots__ = ("answers", "began", "failures")

    def __init__(self, began: float) -> None:
        self.began = began
        self.answers = 0
        self.failures = 0


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
        self._seen: deque[_Second] = deque()
        self._open = False
        self._probing = False
        self._next = 0.0

    @property
    def open(self) -> bool:
        """Whether it is open: resting, or waiting for what a probe tells."""
        return self._open

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

    def succeeded(self) -> None:
        """Count an answer of the service."""
        with self._lock:
            if not self._open:
                self._count(1, 0)
            elif self._probing:
                self._open = self._probing = False
                self._seen.clear()
            # else: an answer to what was sent before it opened says nothing about now

    def failed(self) -> bool:
        """Count a failure of the service; return whether that opened it."""
        with self._lock:
            if self._open:
                if self._probing:
                    self._probing = False
                    self._next = self._clock() + self._rest
                return False
            self._count(0, 1)
            failures = sum(second.failures for second in self._seen)
            answers = sum(second.answers for second in self._seen)
            if failures < self._failures or answers > failures:
                return False
            self._open = True
            self._next = self._clock() + self._rest
            return True

    def _count(self, answers: int, failures: int) -> None:
        now = self._clock()
        while self._seen and self._seen[0].began <= now - self._window:
            self._seen.popleft()
        if not self._seen or self._seen[-1].began <= now - 1:
            self._seen.append(_Second(now))
        self._seen[-1].answers += answers
        self._seen[-1].failures += failures
