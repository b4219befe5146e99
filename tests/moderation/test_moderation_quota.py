"""Reading what the service says of its limits."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_middleware.moderation.quota import Quota, duration, quota_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("20ms", 0.02),
        ("1.5s", 1.5),
        ("7m12.5s", 432.5),
        ("1h0m0s", 3600.0),
        ("1d", 86400.0),
        (" 59.999s ", 59.999),
        ("0s", 0.0),
    ],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "soon", "1", "-1s", "1.2.3s", ".s", "s", "1s2m", "nan s", "\u0661s"]
)
def test_what_is_no_duration_is_none(text: str) -> None:
    assert duration(text) is None


@given(st.text(alphabet="0123456789.dhms -e", max_size=30) | st.text(max_size=30))
def test_no_header_breaks_the_reading(text: str) -> None:
    seconds = duration(text)
    assert seconds is None or (seconds >= 0 and math.isfinite(seconds))
    headers = {f"x-ratelimit-{word}-tokens": text for word in ("limit", "remaining", "reset")}
    quota = quota_of(headers, "tokens")
    assert quota.limit is None or quota.limit > 0
    assert quota.remaining is None or quota.remaining >= 0


def test_headers_that_are_missing_or_nonsense_say_nothing() -> None:
    assert quota_of({}, "requests") == Quota()
    nonsense = {"x-ratelimit-limit-requests": "0", "x-ratelimit-remaining-requests": "-1"}
    assert quota_of(nonsense, "requests") == Quota()
    assert quota_of({"x-ratelimit-limit-tokens": "12"}, "requests") == Quota()
