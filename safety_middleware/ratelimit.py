"""Rate limits per identity and address: buckets, the answer to a hit, and its headers.

The arithmetic and the Redis scripts are those of the ``limits`` library (its sliding window
counter: no burst at a window's border, two counters a key). Memory is our own storage for it,
because the library's own grows without bound and sweeps every key from a timer thread.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from limits import RateLimitItem

__all__ = ["AsyncLimiter", "Bucket", "Hits", "Limiter", "Window", "buckets", "outcome"]


@dataclass(frozen=True, slots=True)
class Bucket:
    """One limit of one key.

    Attributes:
        item: The limit, as the ``limits`` library parsed it.
        key: Whose it is: a hash and the rules it counts for, never a raw id.
        name: Its name in the ``RateLimit`` headers.
    """

    item: RateLimitItem
    key: str
    name: str


@dataclass(frozen=True, slots=True)
class Window:
    """The two counters of a bucket after a hit.

    Attributes:
        allowed: The hit was within the limit, and counted.
        previous: Turns in the window before.
        previous_ttl: Seconds for which they still weigh.
        current: Turns in this window.
        current_ttl: Seconds until this window is the one before.
    """

    allowed: bool
    previous: int
    previous_ttl: float
    current: int
    current_ttl: float


@dataclass(frozen=True, slots=True)
class Hits:
    """What the limits said of one turn.

    Attributes:
        allowed: Every bucket had room.
        headers: ``RateLimit-Policy`` and ``RateLimit``, as far as the storage tells them for free.
        retry_after: Whole seconds after which the turn can succeed, when it was refused.
        fallback: The shared storage was away and this process counted alone.
    """

    allowed: bool = True
    headers: tuple[tuple[str, str], ...] = ()
    retry_after: int | None = None
    fallback: bool = False


class Limiter(Protocol):
    """The blocking port of rate limits."""

    def hit(self, wanted: tuple[Bucket, ...]) -> Hits:
        """Count one turn in every bucket, in order, up to the first that is full."""
        ...


class AsyncLimiter(Protocol):
    """The awaitable port of rate limits."""

    def hit(self, wanted: tuple[Bucket, ...]) -> Hits | Awaitable[Hits]:
        """Count one turn in every bucket, in order, up to the first that is full."""
        ...


@lru_cache(maxsize=256)
def _parse(notation: str) -> tuple[tuple[RateLimitItem, str], ...]:
    from limits import parse_many  # noqa: PLC0415  # 0.2 s of import, so not by our own import

    return tuple((item, f"{item.amount}-{item.get_expiry()}s") for item in parse_many(notation))


def buckets(parts: Iterable[tuple[str | None, str]]) -> tuple[Bucket, ...]:
    """The buckets of ``(notation or None, key)`` pairs, shortest window of each pair first."""
    found: list[Bucket] = []
    for notation, key in parts:
        if notation is not None:
            found += [Bucket(item, key, name) for item, name in _parse(notation)]
    return tuple(found)


def outcome(seen: list[tuple[Bucket, Window]], wanted: tuple[Bucket, ...]) -> Hits:
    """Turn the windows that a storage reported into the answer and its headers."""
    if not wanted:
        return Hits()
    policies = dict.fromkeys(
        f'"{b.name}";q={b.item.amount};w={b.item.get_expiry()}' for b in wanted
    )
    headers = [("RateLimit-Policy", ", ".join(policies))]
    if not seen:
        return Hits(headers=tuple(headers))
    tightest, window = min(seen, key=lambda pair: (pair[1].allowed, _remaining(*pair)))
    remaining = _remaining(tightest, window) if window.allowed else 0
    reset = math.ceil(window.current_ttl if window.allowed else _wait(tightest, window))
    headers.append(("RateLimit", f'"{tightest.name}";r={remaining};t={reset}'))
    if window.allowed:
        return Hits(headers=tuple(headers))
    return Hits(allowed=False, headers=tuple(headers), retry_after=max(1, reset))


def _weight(bucket: Bucket, window: Window) -> float:
    return window.previous * window.previous_ttl / bucket.item.get_expiry() + window.current


def _remaining(bucket: Bucket, window: Window) -> int:
    return max(0, bucket.item.amount - math.ceil(_weight(bucket, window)))


def _wait(bucket: Bucket, window: Window) -> float:
    """Seconds until one more turn fits, by the formula of the sliding window counter."""
    amount, period = bucket.item.amount, bucket.item.get_expiry()
    room = amount - 1 - window.current
    if room >= 0 and window.previous:
        return max(0.0, window.previous_ttl - room * period / window.previous)
    if room >= 0:
        return 0.0
    return window.current_ttl + period - (amount - 1) * period / window.current
