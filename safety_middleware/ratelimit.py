"""Rate limits per identity and address: buckets, the answer to a hit, and its headers.

The arithmetic and the Redis scripts are those of the ``limits`` library (its sliding window
counter: two counters a key, the older one weighing less as time goes by, so that a burst over a
window's border stays under twice the limit and wears off). Memory is our own storage for it,
because the library's own grows without bound and sweeps every key from a timer thread.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from limits import RateLimitItem

__all__ = [
    "AsyncLimiter",
    "Bucket",
    "Hits",
    "Limit",
    "Limiter",
    "Room",
    "Window",
    "allowed",
    "buckets",
    "refused",
]

ROUNDING = 0.001
"""Seconds added to a wait, so that no rounding on either side makes it too short."""
_ROOM = itemgetter(0)


class Limit(NamedTuple):
    """One limit of a notation.

    Attributes:
        amount: Turns allowed.
        period: Length of the window, in seconds.
        name: Its name in the ``RateLimit`` headers.
        quota: What the ``RateLimit-Policy`` header says of it.
        item: The same, as the ``limits`` library parsed it.
    """

    amount: int
    period: int
    name: str
    quota: str
    item: RateLimitItem


class Bucket(NamedTuple):
    """One limit of one key.

    Attributes:
        limit: The limit.
        key: Whose it is: a hash and the rules it counts for, never a raw id.
    """

    limit: Limit
    key: str


Room: TypeAlias = tuple[float, Limit, float]
"""What is left of a limit after a hit: turns, and the seconds until its window ends."""


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

    def close(self) -> None:
        """Release what was opened."""
        ...


class AsyncLimiter(Protocol):
    """The awaitable port of rate limits."""

    def hit(self, wanted: tuple[Bucket, ...]) -> Hits | Awaitable[Hits]:
        """Count one turn in every bucket, in order, up to the first that is full."""
        ...

    async def aclose(self) -> None:
        """Release what was opened on the running loop."""
        ...


@lru_cache(maxsize=256)
def _parse(notation: str) -> tuple[Limit, ...]:
    from limits import parse_many  # noqa: PLC0415  # 0.2 s of import, so not by our own import

    limits: dict[str, Limit] = {}
    for item in parse_many(notation):
        name = f"{item.amount}-{item.get_expiry()}s"
        quota = f'"{name}";q={item.amount};w={item.get_expiry()}'
        limits[name] = Limit(item.amount, item.get_expiry(), name, quota, item)
    return tuple(limits.values())  # one said twice would count every turn twice


def buckets(notation: str | None, key: str) -> list[Bucket]:
    """The buckets of *key* under *notation*; none where it is None."""
    return [] if notation is None else [Bucket(limit, key) for limit in _parse(notation)]


def allowed(left: list[Room], wanted: tuple[Bucket, ...]) -> Hits:
    """The answer to a turn that fitted into every bucket.

    Args:
        left: The room left after the hits; empty where the storage does not tell it for free.
        wanted: Every bucket of the turn.
    """
    policy = _policy([bucket.limit for bucket in wanted])
    if not left:
        return Hits(True, (policy,))
    room, tightest, ending = min(left, key=_ROOM)
    state = f'"{tightest.name}";r={int(room)};t={math.ceil(ending)}'
    return Hits(True, (policy, ("RateLimit", state)))


def refused(seen: list[tuple[Limit, Window]]) -> Hits:
    """The answer to a turn for which a bucket had no room.

    Args:
        seen: The windows of every bucket: the turn can succeed when the last one has room again.
    """
    policy = _policy([limit for limit, _ in seen])
    seconds, limit = max(((_wait(n, w), n) for n, w in seen), key=lambda found: found[0])
    wait = max(1, math.ceil(seconds + ROUNDING))
    return Hits(False, (policy, ("RateLimit", f'"{limit.name}";r=0;t={wait}')), wait)


def _policy(limits: list[Limit]) -> tuple[str, str]:
    return "RateLimit-Policy", ", ".join(dict.fromkeys([limit.quota for limit in limits]))


def _wait(limit: Limit, window: Window) -> float:
    """Seconds until one more turn fits, by the formula of the sliding window counter."""
    room = limit.amount - 1 - window.current
    if room >= 0:
        spread = room * limit.period / window.previous if window.previous else limit.period
        return max(0.0, window.previous_ttl - spread)
    later = (limit.amount - 1) * limit.period / window.current
    return window.current_ttl + limit.period - later
