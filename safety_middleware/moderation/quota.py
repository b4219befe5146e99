"""Reading what an answer's headers say of the service's own limits."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

__all__ = ["Quota", "duration", "quota_of", "retry_after"]

_WHOLE = re.compile(r"[0-9]{1,15}")
_DURATION = re.compile(
    r"(?=.)(?:([0-9.]{1,15})d)?(?:([0-9.]{1,15})h)?(?:([0-9.]{1,15})m)?"
    r"(?:([0-9.]{1,15})s)?(?:([0-9.]{1,15})ms)?"
)
_UNITS = (86_400.0, 3_600.0, 60.0, 1.0, 0.001)


@dataclass(frozen=True, slots=True)
class Quota:
    """What the service says of requests or of tokens; None: not a word that can be understood.

    Attributes:
        limit: The most in a minute.
        remaining: What is left of it.
        reset: Seconds until all of it is there again.
    """

    limit: int | None = None
    remaining: int | None = None
    reset: float | None = None


def quota_of(headers: Mapping[str, str], kind: str) -> Quota:
    """Read the ``x-ratelimit-*`` headers of *kind*, ``requests`` or ``tokens``."""
    limit = _whole(headers.get(f"x-ratelimit-limit-{kind}"))
    return Quota(
        limit or None,  # a limit of nothing would end all moderation for a header's slip
        _whole(headers.get(f"x-ratelimit-remaining-{kind}")),
        duration(headers.get(f"x-ratelimit-reset-{kind}") or ""),
    )


def duration(text: str) -> float | None:
    """Seconds of a duration such as ``1s``, ``6m0s``, ``1.5s`` or ``20ms``; None if it is none."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        return None
    try:
        return sum(
            float(part) * unit for part, unit in zip(found.groups(), _UNITS, strict=True) if part
        )
    except ValueError:  # several dots
        return None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds until the request may be sent again; None if the answer names no time."""
    for header, unit in (("retry-after-ms", 1_000), ("retry-after", 1)):
        try:
            seconds = float(headers.get(header, "")) / unit
        except ValueError:
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    try:
        then = parsedate_to_datetime(headers.get("retry-after", ""))
        return max(0.0, (then - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and _WHOLE.fullmatch(text.strip()) else None
