"""The breaker, with a clock set by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_middleware.moderation.breaker import Breaker
from safety_middleware.moderation.meter import Latency, Meter


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(5, 30.0, 15.0, clock)


def trip(breaker: Breaker) -> None:
    assert [breaker.failed() for _ in range(5)] == [False] * 4 + [True]


def test_five_failures_open_it(breaker: Breaker) -> None:
    trip(breaker)
    assert breaker.rests()
    assert not breaker.admit()


def test_failures_further_apart_than_the_window_do_not_open_it(
    breaker: Breaker, clock: Clock
) -> None:
    for _ in range(20):
        clock.now += 8
        assert not breaker.failed()
    assert breaker.admit()


def test_a_few_failures_among_many_answers_do_not_open_it(breaker: Breaker) -> None:
    for _ in range(100):
        for _ in range(9):
            breaker.succeeded()
        assert not breaker.failed()
    assert breaker.admit()


def test_after_its_rest_it_lets_one_probe_through(breaker: Breaker, clock: Clock) -> None:
    trip(breaker)
    clock.now += 14.9
    assert not breaker.admit()
    clock.now += 0.2
    assert not breaker.rests()
    assert [breaker.admit() for _ in range(3)] == [True, False, False]
    assert breaker.rests()


def test_a_probe_that_is_answered_closes_it(breaker: Breaker, clock: Clock) -> None:
    trip(breaker)
    clock.now += 15
    assert breaker.admit()
    assert breaker.open
    breaker.succeeded()
    assert not breaker.open
    assert breaker.admit()
    assert not breaker.failed()


def test_a_probe_that_fails_starts_another_rest(breaker: Breaker, clock: Clock) -> None:
    trip(breaker)
    clock.now += 20
    assert breaker.admit()
    clock.now += 5
    assert not breaker.failed()
    clock.now += 14
    assert not breaker.admit()
    clock.now += 1
    assert breaker.admit()


def test_a_probe_that_never_tells_is_given_up(breaker: Breaker, clock: Clock) -> None:
    trip(breaker)
    clock.now += 15
    assert breaker.admit()
    clock.now += 15
    assert breaker.admit()
    assert not breaker.admit()


def test_answers_to_what_was_sent_before_it_opened_do_not_close_it(breaker: Breaker) -> None:
    trip(breaker)
    breaker.succeeded()
    assert not breaker.failed()
    assert breaker.open


@given(st.lists(st.tuples(st.sampled_from(["ask", "answer", "fail"]), st.floats(0, 40))))
def test_while_open_at_most_one_request_a_rest_is_admitted(
    steps: list[tuple[str, float]],
) -> None:
    clock = Clock()
    breaker = Breaker(5, 30.0, 15.0, clock)
    last = -1e9
    for step, pause in steps:
        clock.now += pause
        if step == "answer":
            breaker.succeeded()
        elif step == "fail":
            breaker.failed()
        elif breaker.open and breaker.admit():
            assert clock.now - last >= 15 or last < 0
            last = clock.now
        if not breaker.open:
            last = -1e9


def test_latency_follows_what_is_measured() -> None:
    meter = Meter()
    assert meter.latency == Latency(0.5, 0.25)
    meter.took(0.2)
    assert meter.latency == Latency(0.2, 0.1)
    for _ in range(100):
        meter.took(1.0)
    assert meter.latency.mean == pytest.approx(1.0, abs=0.01)
    assert meter.latency.deviation == pytest.approx(0.0, abs=0.01)
