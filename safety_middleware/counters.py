"""Rate limits counted in this process's memory, which is bounded."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

from .ratelimit import Bucket, Hits, Limit, Window, allowed, refused

__all__ = ["BoundedMemory", "MemoryLimiter"]

MAX_KEYS = 500_000
"""Keys kept in memory, about 250 bytes each; past that the least recently used are forgotten."""


class BoundedMemory:
    """Sliding window counters in a bounded, lock-protected table.

    Args:
        max_keys: Most keys remembered.
        clock: Gives the time in seconds; it must never go back.
    """

    def __init__(
        self, max_keys: int = MAX_KEYS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._table: OrderedDict[str, tuple[int, int, int]] = OrderedDict()
        self._lock = Lock()
        self._max_keys = max_keys
        self._clock = clock

    def __len__(self) -> int:
        return len(self._table)

    def hit(self, key: str, limit: int, expiry: int) -> Window:
        """Count one under *key* if it fits, and tell the counters in one go."""
        now = self._clock()
        index = int(now // expiry)
        left = expiry - now % expiry
        with self._lock:
            previous, current = self._counters(key, index)
            fits = previous * left / expiry + current + 1 <= limit
            if fits:
                current += 1
                self._table[key] = (index, previous, current)
                self._table.move_to_end(key)
                if len(self._table) > self._max_keys:
                    self._table.popitem(last=False)
        return Window(fits, previous, left, current, left)

    def peek(self, key: str, expiry: int) -> Window:
        """The counters of *key*, with nothing counted."""
        now = self._clock()
        left = expiry - now % expiry
        with self._lock:
            previous, current = self._counters(key, int(now // expiry))
        return Window(False, previous, left, current, left)

    def _counters(self, key: str, index: int) -> tuple[int, int]:
        then, previous, current = self._table.get(key, (index, 0, 0))
        if then == index:
            return previous, current
        return (current, 0) if then == index - 1 else (0, 0)


class MemoryLimiter:
    """Limits of this process alone; never blocks, so it serves both worlds."""

    def __init__(self, storage: BoundedMemory | None = None) -> None:
        self._storage = BoundedMemory() if storage is None else storage

    def hit(self, wanted: tuple[Bucket, ...]) -> Hits:
        """Count one turn in every bucket, in order, up to the first that is full."""
        seen: list[tuple[Limit, Window]] = []
        for limit, key in wanted:
            window = self._storage.hit(f"{key}:{limit.name}", limit.amount, limit.period)
            if not window.allowed:
                return refused([(n, self._peek(n, k)) for n, k in wanted])
            seen.append((limit, window))
        return allowed(seen, wanted)

    def _peek(self, limit: Limit, key: str) -> Window:
        return self._storage.peek(f"{key}:{limit.name}", limit.period)

    def close(self) -> None:
        """Nothing to release."""

    async def aclose(self) -> None:
        """Nothing to release."""
