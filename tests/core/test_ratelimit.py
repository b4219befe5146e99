from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_middleware.counters import BoundedMemory, MemoryLimiter
from safety_middleware.ratelimit import Bucket, Hits, buckets


class Clock:
    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def limiter(clock: Clock, max_keys: int = 100) -> MemoryLimiter:
    return MemoryLimiter(BoundedMemory(max_keys, clock))


def wanted(*notations: str | None, key: str = "k") -> tuple[Bucket, ...]:
    return tuple(b for n, notation in enumerate(notations) for b in buckets(notation, f"{key}{n}"))


def header(hits: Hits, name: str) -> str:
    return dict(hits.headers)[name]


def test_a_notation_gives_its_buckets() -> None:
    found = buckets("20/minute;300/day", "scope:u1_x")
    assert [(b.limit.amount, b.limit.period, b.limit.name, b.key) for b in found] == [
        (20, 60, "20-60s", "scope:u1_x"),
        (300, 86_400, "300-86400s", "scope:u1_x"),
    ]
    assert buckets(None, "x") == []
    assert len(buckets("5/minute;5/60 second", "x")) == 1


def test_the_headers_tell_the_tightest_limit() -> None:
    limits = limiter(Clock())  # 1,000,000 is 40 seconds into its minute, 49,600 into its day
    first = limits.hit(wanted("3/minute;10/day"))
    assert first == Hits(
        True,
        (
            ("RateLimit-Policy", '"3-60s";q=3;w=60, "10-86400s";q=10;w=86400'),
            ("RateLimit", '"3-60s";r=2;t=20'),
        ),
    )
    assert header(limits.hit(wanted("3/minute;1/day")), "RateLimit").startswith('"1-86400s";r=0')


def test_one_limit_in_two_buckets_is_one_policy() -> None:
    hits = limiter(Clock()).hit(wanted("5/minute", "5/minute"))
    assert header(hits, "RateLimit-Policy") == '"5-60s";q=5;w=60'


def test_the_first_full_bucket_refuses_and_later_ones_are_not_charged() -> None:
    clock = Clock()
    limits = limiter(clock)
    both = wanted("1/minute", "10/minute")
    assert limits.hit(both).allowed
    refusal = limits.hit(both)
    assert not refusal.allowed
    assert refusal.retry_after == 80 + 1  # the rest of this minute, and all of the next
    assert header(refusal, "RateLimit") == '"1-60s";r=0;t=81'
    for _ in range(9):
        assert limits.hit(both[1:]).allowed
    assert not limits.hit(both[1:]).allowed


def test_retry_after_is_when_every_bucket_has_room() -> None:
    limits = limiter(Clock())
    both = wanted("1/minute;1/day")
    limits.hit(both)
    refusal = limits.hit(both)
    assert refusal.retry_after is not None
    assert refusal.retry_after > 86_400 - 50_000
    assert header(refusal, "RateLimit").startswith('"1-86400s";r=0')


notations = st.tuples(st.integers(1, 8), st.sampled_from(["second", "minute", "hour", "day"]))
pauses = st.one_of(st.just(0.0), st.floats(0, 5), st.floats(0, 200_000))


@given(
    st.floats(0, 1e9),
    st.lists(notations, min_size=1, max_size=3),
    st.lists(pauses, min_size=1, max_size=40),
)
def test_after_waiting_as_told_the_turn_succeeds(
    start: float, limits: list[tuple[int, str]], gaps: list[float]
) -> None:
    clock = Clock(start)
    counting = limiter(clock)
    turn = wanted(";".join(f"{amount}/{unit}" for amount, unit in limits))
    for gap in gaps:
        clock.now += gap
        hits = counting.hit(turn)
        if not hits.allowed:
            assert hits.retry_after is not None
            assert hits.retry_after >= 1
            clock.now += hits.retry_after
            assert counting.hit(turn).allowed


@given(st.floats(0, 1e6), st.integers(1, 6), st.lists(st.floats(0, 90), max_size=60))
def test_no_window_has_more_than_its_amount_and_no_stretch_twice_of_it(
    start: float, amount: int, gaps: list[float]
) -> None:
    clock = Clock(start)
    counting = limiter(clock)
    admitted: list[float] = []
    for gap in gaps:
        clock.now += gap
        if counting.hit(wanted(f"{amount}/minute")).allowed:
            admitted.append(clock.now)
    assert all(n <= amount for n in Counter(at // 60 for at in admitted).values())
    for first in admitted:
        assert sum(first <= at < first + 60 for at in admitted) < max(2 * amount, 2)


def test_a_bucket_that_rested_two_windows_is_empty() -> None:
    clock = Clock()
    counting = limiter(clock)
    assert counting.hit(wanted("1/minute")).allowed
    clock.now += 120
    assert counting.hit(wanted("1/minute")).allowed


@pytest.fixture
def restless() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("restless")
def test_a_burst_of_threads_gets_what_the_limit_says() -> None:
    counting = limiter(Clock())
    start = threading.Barrier(8)
    admitted: list[bool] = []

    def burst() -> None:
        start.wait()
        admitted.extend([counting.hit(wanted("100/minute")).allowed for _ in range(50)])

    threads = [threading.Thread(target=burst) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(admitted) == 100


def test_keys_are_bounded_and_the_least_recently_used_goes_first() -> None:
    storage = BoundedMemory(2, Clock())
    counting = MemoryLimiter(storage)
    one, two, three = (wanted("2/minute", key=name) for name in "abc")
    for turn in (one, two, one, three):
        assert counting.hit(turn).allowed
    assert len(storage) == 2
    assert not counting.hit(one).allowed, "used last but one, so it is still known"


def test_memory_uses_a_clock_that_never_goes_back_and_needs_no_closing() -> None:
    counting = MemoryLimiter()
    assert counting.hit(wanted("2/minute")).allowed
    counting.close()
