"""The budget alone, by an injected clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_middleware.moderation import Priority, Question
from safety_middleware.moderation import budget as module
from safety_middleware.moderation.budget import FLOOR, IMAGE_TOKENS, Budget, tokens_of
from safety_middleware.moderation.parts import mixed

PERIOD = 60.0
EVERY = list(Priority)
REQUIRED = [priority for priority in Priority if priority.required]


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class World:
    """A budget, its clock, and everything that was spent."""

    requests: int | None = None
    tokens: int | None = None
    share: float = 1.0
    clock: Clock = field(default_factory=Clock)
    spent: list[tuple[float, int, int]] = field(default_factory=list[tuple[float, int, int]])

    def __post_init__(self) -> None:
        self.budget = Budget(self.requests, self.tokens, self.share, self.clock)

    def spend(self, priority: Priority, tokens: int, requests: int = 1) -> bool:
        let_go = self.budget.spend(priority, tokens, requests)
        if let_go:
            self.spent.append((self.clock.now, requests, tokens))
        return let_go

    def most(self) -> tuple[int, int]:
        """The most requests and tokens spent in any minute."""
        minutes = [
            [(r, t) for at, r, t in self.spent if end - PERIOD < at <= end]
            for end, _, _ in self.spent
        ]
        requests = max((sum(r for r, _ in minute) for minute in minutes), default=0)
        return requests, max((sum(t for _, t in minute) for minute in minutes), default=0)


def says(limit: int, remaining: int, reset: str, kind: str = "requests") -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{kind}": str(limit),
        f"x-ratelimit-remaining-{kind}": str(remaining),
        f"x-ratelimit-reset-{kind}": reset,
    }


steps = st.lists(
    st.tuples(
        st.floats(0, 20) | st.just(0.0),
        st.sampled_from(EVERY),
        st.integers(1, 400),
        st.booleans(),
    ),
    max_size=80,
)


@given(steps, st.integers(1, 30), st.integers(1, 2_000))
def test_no_minute_holds_more_than_the_limits(
    steps: Sequence[tuple[float, Priority, int, bool]], requests: int, tokens: int
) -> None:
    world = World(requests, tokens)
    for pause, priority, amount, again in steps:
        world.clock.now += pause
        let_go = world.spend(priority, amount)
        if let_go and again and world.budget.again(amount):
            world.spent.append((world.clock.now, 1, amount))
        if let_go:
            world.budget.ended(amount)
    most = world.most()
    assert most[0] <= requests
    assert most[1] <= tokens


@given(steps, st.integers(1, 30), st.integers(1, 2_000), st.integers(0, 30), st.integers(1, 400))
def test_whatever_is_let_go_would_have_been_at_every_higher_priority(
    steps: Sequence[tuple[float, Priority, int, bool]],
    requests: int,
    tokens: int,
    remaining: int,
    amount: int,
) -> None:
    def after(priority: Priority) -> bool:
        world = World(requests, tokens)
        world.budget.heard(200, says(requests, min(remaining, requests), "30s"), 10)
        for pause, each, size, _ in steps:
            world.clock.now += pause
            world.spend(each, size)
        return world.spend(priority, amount)

    let_go = [after(priority) for priority in EVERY]
    assert let_go == sorted(let_go, reverse=True)


@given(steps, st.integers(1, 30), st.integers(400, 2_000), st.sampled_from(REQUIRED))
def test_waiting_as_long_as_told_lets_a_required_question_go_in_the_end(
    steps: Sequence[tuple[float, Priority, int, bool]],
    requests: int,
    tokens: int,
    priority: Priority,
) -> None:
    world = World(requests, tokens)
    for pause, each, size, _ in steps:
        world.clock.now += pause
        if world.spend(each, size):
            world.budget.ended(size)
    waited = 0.0
    while not world.spend(priority, 200):
        wait = max(world.budget.wait(priority, 200), 0.01)
        waited += wait
        world.clock.now += wait
        assert waited <= 2 * PERIOD


def test_what_is_optional_leaves_a_reserve_and_what_is_watched_uses_it() -> None:
    world = World(tokens=1_000)
    while world.spend(Priority.SAMPLE, 10):
        pass
    taken = sum(tokens for _, _, tokens in world.spent)
    assert taken <= 600
    assert world.spend(Priority.WATCHED, 1_000 - taken)
    assert not world.spend(Priority.WATCHED, 1)


def test_a_required_question_larger_than_the_rest_is_asked_while_nothing_else_is() -> None:
    world = World(tokens=1_000)
    assert not world.spend(Priority.SAMPLE, 990)
    assert world.spend(Priority.KNOWN, 990)
    assert not World(tokens=1_000).spend(Priority.WATCHED, 1_001)


def test_a_question_larger_than_the_limit_waits_a_minute_at_most() -> None:
    assert World(tokens=10).budget.wait(Priority.NEW, 11) == PERIOD


def test_without_a_word_on_limits_there_are_none() -> None:
    world = World(share=0.05)
    assert all(world.spend(Priority.SAMPLE, 10**9) for _ in range(1_000))
    assert all(world.budget.share(("u1_a",), 10**9) for _ in range(1_000))
    assert world.budget.wait(Priority.SAMPLE, 10**9) <= 0
    assert world.budget.again(10**9)


def test_limits_are_learnt_from_answers_and_never_raise_those_that_are_set() -> None:
    world = World(requests=3)
    world.budget.heard(200, says(10, 10, "0s") | says(100, 100, "0s", "tokens"), 10)
    assert [world.spend(Priority.WATCHED, 1) for _ in range(4)] == [True, True, True, False]
    learns = World()
    learns.budget.heard(200, says(10, 10, "0s") | says(100, 100, "0s", "tokens"), 10)
    assert learns.spend(Priority.WATCHED, 100)
    assert not learns.spend(Priority.WATCHED, 1)


def test_what_others_took_of_the_service_is_not_there_and_comes_back_as_it_says() -> None:
    world = World()
    world.budget.heard(200, says(60, 0, "60s"), 10)
    assert not world.spend(Priority.WATCHED, 1)
    assert world.budget.wait(Priority.WATCHED, 1) == pytest.approx(1.0)
    world.clock.now += 1.001
    assert world.spend(Priority.WATCHED, 1)
    assert not world.spend(Priority.WATCHED, 1)
    world.clock.now += 3_600
    assert sum(world.spend(Priority.WATCHED, 1) for _ in range(100)) == 60


def test_a_limit_of_a_day_comes_back_in_a_day() -> None:
    world = World()
    world.budget.heard(200, says(200, 100, "12h"), 10)
    assert sum(world.spend(Priority.WATCHED, 1) for _ in range(300)) == 100
    world.clock.now += 3_600
    assert sum(world.spend(Priority.WATCHED, 1) for _ in range(300)) == 8


def test_what_is_under_way_is_not_in_the_services_count_yet() -> None:
    world = World()
    for _ in range(5):
        world.spend(Priority.NEW, 10)
    world.budget.heard(200, says(100, 6, "1m0s"), 10)
    assert [world.spend(Priority.WATCHED, 1) for _ in range(3)] == [True, True, False]


def test_an_answer_that_says_all_is_there_again_ends_the_scarcity() -> None:
    world = World()
    world.budget.heard(200, says(10, 0, "60s"), 10)
    world.budget.heard(200, says(10, 0, "0s"), 10)
    assert world.spend(Priority.WATCHED, 1)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"retry-after": "7"}, 7.0), ({"retry-after-ms": "20"}, 0.02), ({}, 1.0)],
)
def test_a_429_stops_everything_for_as_long_as_it_says(
    headers: dict[str, str], seconds: float
) -> None:
    world = World()
    world.budget.heard(429, headers, 10)
    assert not world.spend(Priority.WATCHED, 1)
    assert world.budget.wait(Priority.WATCHED, 1) == pytest.approx(seconds)
    world.clock.now += seconds
    assert world.spend(Priority.SAMPLE, 1)


def test_a_429_cannot_stop_it_for_more_than_a_minute() -> None:
    world = World()
    world.budget.heard(429, {"retry-after": "86400"}, 10)
    world.clock.now += PERIOD
    assert world.spend(Priority.NEW, 1)


def test_the_second_attempt_keeps_to_the_limit_only() -> None:
    world = World(requests=2)
    world.budget.heard(429, says(100, 0, "60s") | {"retry-after": "1"}, 10)
    assert [world.budget.again(1) for _ in range(3)] == [True, True, False]


@given(
    st.lists(
        st.tuples(
            st.floats(0, 10), st.sampled_from("abc"), st.sampled_from("xy"), st.integers(1, 300)
        ),
        max_size=120,
    ),
    st.integers(1, 400),
    st.integers(1, 20_000),
)
def test_nobody_gets_more_than_a_share_in_a_minute(
    asks: Sequence[tuple[float, str, str, int]], requests: int, tokens: int
) -> None:
    world = World(requests, tokens, share=0.05)
    let_go: list[tuple[float, tuple[str, str], int]] = []
    for pause, who, address, amount in asks:
        world.clock.now += pause
        if world.budget.share((who, address), amount):
            let_go.append((world.clock.now, (who, address), amount))
    for end, names, _ in let_go:
        for name in names:
            mine = [t for at, of, t in let_go if name in of and end - PERIOD < at <= end]
            within = len(mine) <= 0.05 * requests and sum(mine) <= 0.05 * tokens
            assert within or len(mine) <= FLOOR


def test_a_share_that_is_refused_is_charged_to_nobody_and_comes_back() -> None:
    world = World(requests=100, share=0.05)
    assert all(world.budget.share(("u1_a", "a1_x"), 1) for _ in range(5))
    assert not world.budget.share(("u1_b", "a1_x"), 1)
    assert all(world.budget.share(("u1_b",), 1) for _ in range(5))
    world.clock.now += PERIOD + 1
    assert world.budget.share(("u1_a", "a1_x"), 1)


def test_a_share_of_everything_is_no_bound() -> None:
    world = World(requests=10, share=1.0)
    assert all(world.budget.share(("u1_a",), 1) for _ in range(100))


def test_the_table_of_shares_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_NAMES", 3)
    world = World(requests=100, share=0.05)
    for _ in range(5):
        assert world.budget.share(("first",), 1)
    for name in "abc":
        assert world.budget.share((name,), 1)
    assert world.budget.share(("first",), 1)  # forgotten, by then


def test_tokens_are_estimated_for_every_script_and_image() -> None:
    assert tokens_of(Question("")) == 1
    assert tokens_of("a" * 400) == 101
    assert tokens_of("語" * 100) == 101
    assert tokens_of("\ud800") == 2
    assert tokens_of(Question("a" * 400, ("data:", "data:"))) == 101 + 2 * IMAGE_TOKENS
    assert tokens_of(mixed("a" * 400, "data:")) == 101 + IMAGE_TOKENS
    assert tokens_of(mixed(None, "data:")) == IMAGE_TOKENS
