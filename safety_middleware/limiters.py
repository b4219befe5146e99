"""The storages behind rate limits: this process's memory, or Redis and its kin by URL."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

from limits.aio.strategies import SlidingWindowCounterRateLimiter as AsyncSlidingWindow
from limits.errors import ConfigurationError, StorageError
from limits.storage import SlidingWindowCounterSupport, Storage, storage_from_string
from limits.strategies import SlidingWindowCounterRateLimiter as SlidingWindow

from .errors import SettingsError
from .ratelimit import Bucket, Hits, Limit, Window, outcome

__all__ = ["AsyncSharedLimiter", "BoundedMemory", "MemoryLimiter", "SharedLimiter"]

MAX_KEYS = 500_000
"""Keys kept in memory, about 250 bytes each; past that the least recently used are forgotten."""
REDIS_TIMEOUT = 0.25
"""Seconds a shared storage may take to connect or answer before this process counts alone."""
RETRY_AFTER = 2.0
"""Seconds this process counts alone before it asks a failed storage again."""
CONCURRENT_HITS = 50
"""Commands in flight; redis-py's default pool raises past 100 connections."""

Degraded = Callable[[str, str], None]


class BoundedMemory(Storage, SlidingWindowCounterSupport):
    """Sliding window counters in a bounded, lock-protected table, on the monotonic clock."""

    STORAGE_SCHEME = ["safety+memory"]  # noqa: RUF012  # the library's own declaration

    def __init__(
        self,
        uri: str | None = None,
        *,
        wrap_exceptions: bool = False,
        max_keys: int = MAX_KEYS,
        **_: Any,
    ) -> None:
        super().__init__(uri, wrap_exceptions)
        self._table: OrderedDict[str, tuple[int, int, int]] = OrderedDict()
        self._lock = Lock()
        self._max_keys = max_keys
        self.clock: Callable[[], float] = time.monotonic

    @property
    def base_exceptions(self) -> type[Exception]:
        """What the storage itself can raise: nothing of its own."""
        return MemoryError

    def hit_window(self, key: str, limit: int, expiry: int, amount: int = 1) -> Window:
        """Count *amount* under *key* if it fits, and tell the counters in one go."""
        now = self.clock()
        index = int(now // expiry)
        with self._lock:
            previous, current = self._counters(key, index)
            left = expiry - now % expiry
            allowed = previous * left / expiry + current + amount <= limit
            if allowed:
                current += amount
                self._table[key] = (index, previous, current)
                self._table.move_to_end(key)
                if len(self._table) > self._max_keys:
                    self._table.popitem(last=False)
        return Window(allowed, previous, left, current, left)

    def _counters(self, key: str, index: int) -> tuple[int, int]:
        then, previous, current = self._table.get(key, (index, 0, 0))
        if then == index:
            return previous, current
        return (current, 0) if then == index - 1 else (0, 0)

    def acquire_sliding_window_entry(
        self, key: str, limit: int, expiry: int, amount: int = 1
    ) -> bool:
        """Count *amount* under *key* if it fits."""
        return self.hit_window(key, limit, expiry, amount).allowed

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Both counters of *key*, each with its remaining seconds."""
        now = self.clock()
        left = expiry - now % expiry
        with self._lock:
            previous, current = self._counters(key, int(now // expiry))
        return previous, left, current, left + expiry

    def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Forget *key*."""
        del expiry
        self.clear(key)

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count under *key* without a limit."""
        return self.hit_window(key, 2**63, expiry, amount).current

    def get(self, key: str) -> int:
        """The counter of the window that was last counted in."""
        with self._lock:
            return self._table.get(key, (0, 0, 0))[2]

    def get_expiry(self, key: str) -> float:
        """When *key* may be forgotten; only its window's length would tell, so: now."""
        del key
        return time.time()

    def check(self) -> bool:
        """Memory is always there."""
        return True

    def reset(self) -> int:
        """Forget every key; returns how many there were."""
        with self._lock:
            count = len(self._table)
            self._table.clear()
        return count

    def clear(self, key: str) -> None:
        """Forget *key*."""
        with self._lock:
            self._table.pop(key, None)


class MemoryLimiter:
    """Limits of this process alone; never blocks, so it serves both worlds."""

    def __init__(self, storage: BoundedMemory | None = None) -> None:
        self._storage = storage or BoundedMemory()

    def hit(self, wanted: tuple[Bucket, ...]) -> Hits:
        """Count one turn in every bucket, in order, up to the first that is full."""
        seen: list[tuple[Limit, Window]] = []
        for limit, key in wanted:
            window = self._storage.hit_window(f"{key}:{limit.name}", limit.amount, limit.period)
            seen.append((limit, window))
            if not window.allowed:
                break
        return outcome(seen, wanted)


class _Fallback:
    """Counting alone while the shared storage is away, visibly."""

    def __init__(self, degraded: Degraded) -> None:
        self._memory = MemoryLimiter()
        self._degraded = degraded
        self._until = 0.0
        self._away = False

    def active(self) -> bool:
        return time.monotonic() < self._until

    def hit(self, wanted: tuple[Bucket, ...]) -> Hits:
        alone = self._memory.hit(wanted)
        return alone._replace(fallback=True)

    def failed(self) -> None:
        self._until = time.monotonic() + RETRY_AFTER
        if not self._away:
            self._away = True
            self._degraded("limits_storage", "unavailable")

    def worked(self) -> None:
        if self._away:
            self._away = False
            self._degraded("limits_storage", "recovered")


class SharedLimiter:
    """Limits in Redis or its kin, over the blocking client."""

    def __init__(self, url: str, degraded: Degraded) -> None:
        self._strategy = SlidingWindow(open_storage(url))
        self._fallback = _Fallback(degraded)

    def hit(self, wanted: tuple[Bucket, ...]) -> Hits:
        """Count one turn in every bucket; counts in memory while the storage is away."""
        if self._fallback.active():
            return self._fallback.hit(wanted)
        try:
            hits = self._hit(wanted)
        except StorageError:
            self._fallback.failed()
            return self._fallback.hit(wanted)
        self._fallback.worked()
        return hits

    def _hit(self, wanted: tuple[Bucket, ...]) -> Hits:
        for limit, key in wanted:
            if not self._strategy.hit(limit.item, key):
                storage: Any = self._strategy.storage
                window = storage.get_sliding_window(limit.item.key_for(key), limit.period)
                return outcome([(limit, _refused(limit.period, window))], wanted)
        return outcome([], wanted)


class AsyncSharedLimiter:
    """Limits in Redis or its kin, over the asyncio client; one connection pool a loop."""

    def __init__(self, url: str, degraded: Degraded) -> None:
        self._url = f"async+{url}"
        self._pools: WeakKeyDictionary[
            asyncio.AbstractEventLoop, tuple[AsyncSlidingWindow, asyncio.Semaphore]
        ] = WeakKeyDictionary()
        self._fallback = _Fallback(degraded)
        open_storage(self._url)  # a wrong URL or a missing driver is an error at start

    def hit(self, wanted: tuple[Bucket, ...]) -> Hits | Awaitable[Hits]:
        """Count one turn in every bucket; counts in memory while the storage is away."""
        return self._fallback.hit(wanted) if self._fallback.active() else self._ask(wanted)

    async def _ask(self, wanted: tuple[Bucket, ...]) -> Hits:
        loop = asyncio.get_running_loop()
        if loop not in self._pools:
            strategy = AsyncSlidingWindow(open_storage(self._url))
            self._pools[loop] = (strategy, asyncio.Semaphore(CONCURRENT_HITS))
        strategy, room = self._pools[loop]
        try:
            async with room:
                hits = await self._hit(strategy, wanted)
        except StorageError:
            self._fallback.failed()
            return self._fallback.hit(wanted)
        self._fallback.worked()
        return hits

    async def _hit(self, strategy: AsyncSlidingWindow, wanted: tuple[Bucket, ...]) -> Hits:
        for limit, key in wanted:
            if not await strategy.hit(limit.item, key):
                storage: Any = strategy.storage
                window = await storage.get_sliding_window(limit.item.key_for(key), limit.period)
                return outcome([(limit, _refused(limit.period, window))], wanted)
        return outcome([], wanted)


def open_storage(url: str) -> Any:
    """The ``limits`` storage behind *url*.

    Raises:
        SettingsError: If the URL is not understood or its driver is not installed.
    """
    options: dict[str, Any] = {"wrap_exceptions": True}
    if "redis" in url or "valkey" in url:
        options |= {"socket_timeout": REDIS_TIMEOUT, "socket_connect_timeout": REDIS_TIMEOUT}
    if url.startswith("async+redis"):
        options["implementation"] = "redispy"
    try:
        return storage_from_string(url, **options)
    except (ConfigurationError, ValueError) as problem:
        raise SettingsError(
            "limits_storage",
            f"the URL's scheme {url.partition('://')[0]!r} can't be used ({type(problem).__name__})",
            'Use a URL such as redis://host:6379/0, and install "safety-middleware[redis]".',
        ) from problem


def _refused(expiry: int, window: tuple[int, float, int, float]) -> Window:
    previous, previous_ttl, current, current_ttl = window
    return Window(False, previous, previous_ttl, current, current_ttl % expiry or expiry)
