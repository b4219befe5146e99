"""What was spent in a minute, and what the service itself says is left."""

from __future__ import annotations

import math
from collections import deque

from .quota import Quota

__all__ = ["Purse", "Window"]

# a minute is counted in so many parts
_PARTS = 60


class Window:
    """What was spent within the last *period* seconds, and up to one part of it more.

    Attributes:
        requests: The requests of it, as of the last ``roll``.
        tokens: Likewise.
    """

    __slots__ = ("_bins", "_part", "requests", "tokens")

    def __init__(self, period: float) -> None:
        self._part = period / _PARTS
        self._bins: deque[list[int]] = deque()
        self.requests = 0
        self.tokens = 0

    def roll(self, now: float) -> None:
        """Drop what was spent more than a period before *now*."""
        bins = self._bins
        if bins:
            gone = int(now / self._part) - _PARTS - 1
            while bins and bins[0][0] <= gone:
                _, requests, tokens = bins.popleft()
                self.requests -= requests
                self.tokens -= tokens

    def add(self, requests: int, tokens: int, now: float) -> None:
        """Count what is spent *now*."""
        part = int(now / self._part)
        self.requests += requests
        self.tokens += tokens
        if self._bins and self._bins[-1][0] == part:
            newest = self._bins[-1]
            newest[1] += requests
            newest[2] += tokens
        else:
            self._bins.append([part, requests, tokens])

    def wait(self, requests: float, tokens: float, now: float) -> float:
        """Seconds until so many of both no longer count; infinite if that is never."""
        if requests <= 0 and tokens <= 0:
            return 0.0
        for part, *spent in self._bins:
            requests -= spent[0]
            tokens -= spent[1]
            if requests <= 0 and tokens <= 0:
                return (part + _PARTS + 1) * self._part - now
        return math.inf


class Purse:
    """The limit on requests, or on tokens. Not thread-safe.

    Attributes:
        limit: The most a minute: what is set, what the service says, or the lower of both.
        flying: What was spent on requests that are not answered yet.
    """

    __slots__ = ("_full", "_level", "_period", "_rate", "_seen", "_set", "flying", "limit")

    def __init__(self, limit: int | None, period: float) -> None:
        self._set = limit
        self._period = period
        # the service's own count: unlimited until it says a word
        self._level = self._full = math.inf
        self._rate = 0.0
        self._seen = 0.0
        self.limit = limit
        self.flying = 0

    def fits(self, amount: int, spent: int, reserve: float, now: float, *, required: bool) -> bool:
        """Whether *amount* can be spent after *spent*, and the share *reserve* of the limit stays.

        What is *required* may use the reserve while nothing was spent: it was kept for nobody, and
        else a question larger than the rest could never be asked.
        """
        limit = self.limit
        if limit is None or not amount:
            return True
        if self._level < self._full:
            self._refill(now)
        room = min(limit - spent, self._level)
        return amount <= room - limit * reserve or (required and not spent and amount <= room)

    def spend(self, amount: int, now: float) -> None:
        """Spend *amount* of what the service says is left."""
        if self._full != math.inf:
            self._refill(now)
            self._level -= amount

    def told(self, quota: Quota, own: int, now: float) -> None:
        """Learn what the service says in its answer to *own*; what it leaves out stays."""
        if quota.limit is not None:
            self.limit = quota.limit if self._set is None else min(self._set, quota.limit)
            self._full = float(quota.limit)
            self._rate = quota.limit / self._period
        if quota.remaining is None or self._full == math.inf:
            return
        missing = self._full - quota.remaining
        if quota.reset is not None and missing > 0:
            self._rate = missing / quota.reset if quota.reset > 0 else math.inf
        # the answer cannot tell of what else is under way
        self._level = min(float(quota.remaining), self._full) - max(0, self.flying - own)
        self._seen = now

    def excess(self, amount: int, spent: int, reserve: float) -> float:
        """How much less would have to be spent for *amount* to fit."""
        return -math.inf if self.limit is None else spent + amount - self.limit * (1 - reserve)

    def wait(self, amount: int, reserve: float, now: float) -> float:
        """Seconds until the service has *amount* left above the *reserve*."""
        if self.limit is None:
            return 0.0
        self._refill(now)
        missing = amount + self.limit * reserve - self._level
        return missing / self._rate if missing > 0 else 0.0

    def _refill(self, now: float) -> None:
        if self._rate == math.inf:
            self._level = self._full
        elif self._level < self._full:
            self._level = min(self._full, self._level + self._rate * (now - self._seen))
        self._seen = now
