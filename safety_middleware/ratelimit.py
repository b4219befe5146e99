"""Rate limits per identity and address: buckets, the answer to a hit, and its headers.

The arithmetic and the Redis scripts are those of the ``limits`` library (its sliding window
counter: no burst at a window's border, two counters a key). Memory is our own storage for it,
because the library's own grows without bound and sweeps every key from a timer thread.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from limits import RateLimitItem

__all__ = ["AsyncLimiter", "Bucket", "Hits", "Limit", "Limiter", "Window", "buckets", "outcome"]


class Limit(NamedTuple):
    """One limit of a notation.

    Attributes:
        amount: Turns allowed.
        period: Length of the window, in seconds.
        name: Its name in the ``RateLimit`` headers.
        item: The same, as the ``limits`` library parsed it.
    """

    amount: int
    period: int
    name: str
    item: RateLimitItem


class Bucket(NamedTuple):
    """One limit of one key.

    Attributes:
        limit: The limit.
        key: Whose it is: a hash and the rules it counts for, never a raw id.
    """

    limit: Limit
    key: str


class Window(NamedTuple):
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


class Hits(NamedTuple):
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
def _parse(notation: str) -> tuple[Limit, ...]:
    from limits import parse_many  # noqa: PLC0415  # 0.2 s of import, so not by our own import

    return tuple(
        Limit(item.amount, item.get_expiry(), f"{item.amount}-{item.get_expiry()}s", item)
        for item in parse_many(notation)
    )


def buckets(notation: str | None, key: str) -> list[Bucket]:
    """The buckets of *key* under *notation*; none where it is None."""
    return [] if notation is None else [Bucket(limit, key) for limit in _parse(notation)]


def outcome(seen: list[tuple[Limit, Window]], wanted: tuple[Bucket, ...]) -> Hits:
    """Turn the windows that a storage reported into the answer and its headers.

    Args:
        seen: As far as the hits went; only the last one can be refused. Empty where the storage
            does not tell the windows of allowed hits for free.
        wanted: Every bucket of the turn.
    """
    policy = ("RateLimit-Policy", _policy(tuple([bucket.limit for bucket in wanted])))
    if not seen:
        return Hits(headers=(policy,))
    limit, window = seen[-1]
    if not window.allowed:
        wait = max(1, math.ceil(_wait(limit, window)))
        return Hits(False, (policy, ("RateLimit", f'"{limit.name}";r=0;t={wait}')), wait)
    least, tightest, reset = math.inf, limit, window.current_ttl
    for each, counted in seen:
        room = each.amount - counted.previous * counted.previous_ttl / each.period - counted.current
        if room < least:
            least, tightest, reset = room, each, counted.current_ttl
    state = f'"{tightest.name}";r={max(0, int(least))};t={math.ceil(reset)}'
    return Hits(headers=(policy, ("RateLimit", state)))


@lru_cache(maxsize=256)
def _policy(limits: tuple[Limit, ...]) -> str:
    return ", ".join(dict.fromkeys(f'"{n.name}";q={n.amount};w={n.period}' for n in limits))


def _wait(limit: Limit, window: Window) -> float:
    """Seconds until one more turn fits, by the formula of the sliding window counter."""
    room = limit.amount - 1 - window.current
    if room >= 0:
        spread = room * limit.period / window.previous if window.previous else limit.period
        return max(0.0, window.previous_ttl - spread)
    later = (limit.amount - 1) * limit.period / window.current
    return window.current_ttl + limit.period - later
