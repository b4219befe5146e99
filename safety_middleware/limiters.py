"""Rate limits shared by several processes, in Redis or Valkey."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from importlib import import_module
from threading import BoundedSemaphore, Lock
from typing import Any

from limits.aio.strategies import SlidingWindowCounterRateLimiter as AsyncSlidingWindow
from limits.errors import ConfigurationError
from limits.storage import storage_from_string
from limits.strategies import SlidingWindowCounterRateLimiter as SlidingWindow

from .counters import MemoryLimiter
from .errors import SettingsError
from .ratelimit import Bucket, Hits, Limit, Window, allowed, refused

__all__ = ["AsyncSharedLimiter", "SharedLimiter", "open_storage"]

REDIS_TIMEOUT = 0.25
"""Seconds a shared storage may take to connect or answer, twice, before this process counts alone."""
RETRY_AFTER = 2.0
"""Seconds between two turns that ask a failed storage again; the others are counted here."""
CONCURRENT_HITS = 50
"""Commands in flight, a loop or all threads; redis-py's default pool raises past 100 connections."""
_SHARED = re.compile(r"(?:async\+)?(redis|valkey)s?(?:\+\w+)?://")

Degraded = Callable[[str, str], None]


class _Fallback:
    """Counting alone while the shared storage is away, visibly."""

    def __init__(self, degraded: Degraded) -> None:
        self._memory = MemoryLimiter()
        self._degraded = degraded
        self._lock = Lock()
        self._until = 0.0
        self._away = False
        self.failures = 0

    def alone(self) -> bool:
        """Whether to count here. One turn in a while is told to ask the storage again."""
        if not self._away:
            return False
        with self._lock:
            now = time.monotonic()
            if now < self._until:
                return True
            self._until = now + RETRY_AFTER
            return False

    def hit(self, wanted: tuple[Bucket, ...]) -> Hits:
        return self._memory.hit(wanted)._replace(fallback=True)

    def failed(self) -> None:
        with self._lock:
            self.failures += 1
            self._until = time.monotonic() + RETRY_AFTER
            known, self._away = self._away, True
        if not known:
            self._degraded("limits_storage", "unavailable")

    def worked(self) -> None:
        if not self._away:
            return
        with self._lock:
            away, self._away = self._away, False
        if away:
            self._degraded("limits_storage", "recovered")


class SharedLimiter:
    """Limits in Redis or its kin, over the blocking client."""

    def __init__(self, url: str, degraded: Degraded) -> None:
        self._storage = open_storage(url)
        self._strategy = SlidingWindow(self._storage)
        self._fallback = _Fallback(degraded)
        self._room = BoundedSemaphore(CONCURRENT_HITS)

    def hit(self, wanted: tuple[Bucket, ...]) -> Hits:
        """Count one turn in every bucket; counts in memory while the storage is away."""
        if self._fallback.alone():
            return self._fallback.hit(wanted)
        failures = self._fallback.failures
        try:
            with self._room:
                if self._fallback.failures != failures:  # it failed while this turn queued
                    return self._fallback.hit(wanted)
                hits = self._hit(wanted)
        except Exception:  # whatever a driver raises: a limit must not break the request
            self._fallback.failed()
            return self._fallback.hit(wanted)
        self._fallback.worked()
        return hits

    def close(self) -> None:
        """Close the connections; a limiter that is used again opens new ones."""
        self._storage.storage.close()

    def _hit(self, wanted: tuple[Bucket, ...]) -> Hits:
        if all(self._strategy.hit(limit.item, key) for limit, key in wanted):
            return allowed([], wanted)
        look = self._storage.get_sliding_window
        return refused([(n, _window(n, look(n.item.key_for(k), n.period))) for n, k in wanted])


class AsyncSharedLimiter:
    """Limits in Redis or its kin, over the asyncio client; one connection pool a loop."""

    def __init__(self, url: str, degraded: Degraded) -> None:
        self._url = f"async+{url}"
        self._pools: dict[asyncio.AbstractEventLoop, _Pool] = {}
        self._fallback = _Fallback(degraded)
        open_storage(self._url)  # a wrong URL or a missing driver is an error at start

    def hit(self, wanted: tuple[Bucket, ...]) -> Hits | Awaitable[Hits]:
        """Count one turn in every bucket; counts in memory while the storage is away."""
        return self._fallback.hit(wanted) if self._fallback.alone() else self._ask(wanted)

    async def aclose(self) -> None:
        """Close the running loop's connections; asking again opens new ones."""
        pool = self._pools.get(asyncio.get_running_loop())
        if pool is not None:
            await pool.keeper.aclose()

    async def _ask(self, wanted: tuple[Bucket, ...]) -> Hits:
        failures = self._fallback.failures
        try:
            pool = self._pools.get(asyncio.get_running_loop()) or self._open()
            async with pool.room:
                if self._fallback.failures != failures:  # it failed while this turn queued
                    return self._fallback.hit(wanted)
                hits = await self._hit(pool, wanted)
        except Exception:  # whatever a driver raises: a limit must not break the request
            self._fallback.failed()
            return self._fallback.hit(wanted)
        self._fallback.worked()
        return hits

    def _open(self) -> _Pool:
        for old in list(self._pools):
            if old.is_closed():  # without ending what ran on it
                self._pools.pop(old, None)
        pools, loop = self._pools, asyncio.get_running_loop()
        pools[loop] = _Pool(open_storage(self._url), lambda: pools.pop(loop, None))
        return pools[loop]

    async def _hit(self, pool: _Pool, wanted: tuple[Bucket, ...]) -> Hits:
        for limit, key in wanted:
            if not await pool.strategy.hit(limit.item, key):
                break
        else:
            return allowed([], wanted)
        look = pool.storage.get_sliding_window
        seen = [(n, _window(n, await look(n.item.key_for(k), n.period))) for n, k in wanted]
        return refused(seen)


class _Pool:
    """The connections of one event loop, closed when the loop ends."""

    def __init__(self, storage: Any, gone: Callable[[], object]) -> None:
        self.storage = storage
        self.strategy = AsyncSlidingWindow(storage)
        self.room = asyncio.Semaphore(CONCURRENT_HITS)
        self._gone = gone
        # every way of running a loop to its end closes the loop's asynchronous generators:
        # the only notice of its end that needs nothing of the app
        self.keeper = self._keep()
        with suppress(StopIteration):
            next(self.keeper.__anext__().__await__())

    async def _keep(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            self._gone()
            await self.storage.bridge.storage.aclose()


def open_storage(url: str) -> Any:
    """The ``limits`` storage behind *url*.

    Raises:
        SettingsError: If the URL is not understood or its driver is not installed.
    """
    driver = _SHARED.match(url)
    problem = "unknown"
    if driver is not None:
        try:
            return storage_from_string(url, wrap_exceptions=True, **_options(url, driver[1]))
        except (ConfigurationError, ImportError, ValueError) as error:
            problem = type(error).__name__  # its words could hold the URL's password
    raise SettingsError(
        "limits_storage",
        f"this {url.partition('://')[0].removeprefix('async+')} URL can't be used ({problem})",
        'Use a URL such as redis://host:6379/0, and install "safety-middleware[redis]".',
    )


def _options(url: str, driver: str) -> dict[str, Any]:
    """One more try at once, for a connection that the server has closed meanwhile; no more."""
    world = ".asyncio" if url.startswith("async+") else ""
    retry = import_module(f"{driver}{world}.retry").Retry
    once = retry(import_module(f"{driver}.backoff").NoBackoff(), 1)
    options: dict[str, Any] = {"retry": once}
    options |= {"socket_timeout": REDIS_TIMEOUT, "socket_connect_timeout": REDIS_TIMEOUT}
    if world and driver == "redis":
        options["implementation"] = "redispy"
    return options


def _window(limit: Limit, counters: tuple[int, float, int, float]) -> Window:
    """The counters as the storage tells them, where a counter outlives its window by another."""
    previous, previous_ttl, current, current_ttl = counters
    return Window(False, previous, previous_ttl, current, max(0.0, current_ttl - limit.period))
