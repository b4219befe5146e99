"""How long moderation takes in this process, smoothed."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Latency", "Meter"]


@dataclass(frozen=True, slots=True)
class Latency:
    """Time from sending a request to its answer.

    Attributes:
        mean: Smoothed mean, in seconds.
        deviation: Smoothed mean deviation from it, in seconds.
    """

    mean: float
    deviation: float


class Meter:
    """Smooths as TCP smooths round trips (RFC 6298, section 2: gains 1/8 and 1/4).

    Before the first answer it says 0.5 s +- 0.25 s, the median reported for OpenAI's endpoint.
    Updates from several threads may lose one another, which an average can bear.
    """

    __slots__ = ("_seen", "latency")

    def __init__(self) -> None:
        self.latency = Latency(0.5, 0.25)
        self._seen = False

    def took(self, seconds: float) -> None:
        """Count a request that was answered after *seconds*."""
        before = self.latency
        if not self._seen:
            self._seen = True
            self.latency = Latency(seconds, seconds / 2)
            return
        off = abs(seconds - before.mean)
        self.latency = Latency(
            before.mean + (seconds - before.mean) / 8,
            before.deviation + (off - before.deviation) / 4,
        )
