"""Rate limits counted in this process's memory, which is bounded."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

from .ratelimit import Bucket, Hits, Limit, Room, Window, allowed, refused

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

    def hit(self, wanted: tuple[Bucket, ...]) -> list[Room] | None:
        """Count one in every bucket, in order, up to the first that is full.

        Returns:
            The room that is left in each bucket; None where one was full.
        """
        now = self._clock()
        left: list[Room] = []
        with self._lock:  # once for all buckets of a turn
            table = self._table
            for limit, key in wanted:
                amount, period, name, _, _ = limit
                named = f"{key}:{name}"
                index = int(now // period)
                ending = period - now % period
                previous, current = self._counters(named, index)
                used = previous * ending / period + current + 1
                if used > amount:
                    return None
                table[named] = (index, previous, current + 1)
                table.move_to_end(named)
                left.append((amount - used, limit, ending))
            while len(table) > self._max_keys:
                table.popitem(last=False)
        return left

    def peek(self, wanted: tuple[Bucket, ...]) -> list[tuple[Limit, Window]]:
        """The counters of every bucket, with nothing counted."""
        now = self._clock()
        seen: list[tuple[Limit, Window]] = []
        with self._lock:
            for limit, key in wanted:
                left = limit.period - now % limit.period
                named = f"{key}:{limit.name}"
                previous, current = self._counters(named, int(now // limit.period))
                seen.append((limit, Window(False, previous, left, current, left)))
        return seen

    def _counters(self, named: str, index: int) -> tuple[int, int]:
        then, previous, current = self._table.get(named, (index, 0, 0))
        if then == index:
            return previous, current
        return (current, 0) if then == index - 1 else (0, 0)


class MemoryLimiter:
    """Limits of this process alone; never blocks, so it serves both worlds."""

    def __init__(self, storage: BoundedMemory | None = None) -> None:
        self._storage = BoundedMemory() if storage is None else storage

    def hit(self, wanted: tuple[Bucket, ...]) -> Hits:
        """Count one turn in every bucket, in order, up to the first that is full."""
        left = self._storage.hit(wanted)
        return refused(self._storage.peek(wanted)) if left is None else allowed(left, wanted)

    def close(self) -> None:
        """Nothing to release."""

    async def aclose(self) -> None:
        """Nothing to release."""
