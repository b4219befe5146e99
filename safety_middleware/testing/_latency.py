"""How long the fake takes: constants, functions, and a log-normal draw that can be repeated."""

from __future__ import annotations

import math
from collections.abc import Callable
from hashlib import blake2b
from random import Random
from statistics import NormalDist
from typing import TypeAlias

from ._log import Seen

__all__ = ["Latency", "draw", "lognormal"]

#: Seconds, or a function of the request that gives seconds.
Latency: TypeAlias = float | Callable[[Seen], float]

_Z95 = NormalDist().inv_cdf(0.95)


def lognormal(median: float, p95: float, seed: int | None = None) -> Callable[[Seen], float]:
    """Latencies as services have them: most near ``median``, a few far beyond.

    Args:
        median: Half of the requests take at most this long, in seconds, above 0.
        p95: 95 % of the requests take at most this long, in seconds, at least ``median``.
        seed: With a seed, the latency depends on it and on the request's text alone: the same
            text takes as long in every run and in whatever order requests come. Without one,
            every request draws anew.

    Raises:
        ValueError: If the two durations cannot belong to one distribution.
    """
    if not 0 < median <= p95:
        raise ValueError(f"need 0 < median <= p95, not {median} and {p95}")
    sigma = math.log(p95 / median) / _Z95
    chance = Random()
    standard = NormalDist()

    def latency(seen: Seen) -> float:
        if seed is None:
            return median * math.exp(sigma * chance.gauss())
        digest = blake2b(f"{seed}:{seen.text}".encode(errors="replace"), digest_size=6).digest()
        share = (int.from_bytes(digest) + 0.5) / 2**48
        return median * math.exp(sigma * standard.inv_cdf(share))

    return latency


def draw(latency: Latency, seen: Seen) -> float:
    """The latency of this request, in seconds."""
    return latency(seen) if callable(latency) else latency
