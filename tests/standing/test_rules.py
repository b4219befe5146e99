from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_middleware import SettingsError
from safety_middleware.identity import Kind
from safety_middleware.policy import Tier
from safety_middleware.standing import (
    DAY,
    Clean,
    Event,
    Guest,
    Lift,
    Standing,
    Strike,
    Suspend,
    Tiers,
    after,
    kind_of,
    merged,
    tier_of,
    weight_of,
)

NOW = 1_800_000_000.0
TIERS = Tiers()
REGULAR = Standing(200, NOW - 14 * DAY)


def strike(number: int, at: float = NOW, weight: float = 1.0, what: str = "hate") -> Strike:
    return Strike(f"req_{number}", at, weight, what)


def told(*events: Event, kind: Kind = Kind.USER, tiers: Tiers = TIERS) -> Standing:
    standing = Standing()
    for event in events:
        standing = after(standing, event, kind, tiers)
    return standing


@pytest.mark.parametrize(
    ("standing", "kind", "tier"),
    [
        (Standing(), Kind.USER, "new"),
        (Standing(19), Kind.USER, "new"),
        (Standing(20), Kind.USER, "known"),
        (Standing(20), Kind.SESSION, "known"),
        (Standing(10_000, 0.0), Kind.ADDRESS, "new"),
        (REGULAR, Kind.USER, "trusted"),
        (REGULAR, Kind.SESSION, "known"),
        (replace(REGULAR, clean_turns=199), Kind.USER, "known"),
        (replace(REGULAR, clean_since=NOW - 14 * DAY + 1), Kind.USER, "known"),
        (replace(REGULAR, clean_since=None), Kind.USER, "known"),
        (replace(REGULAR, strikes=(strike(1, NOW - 30 * DAY),)), Kind.USER, "trusted"),
        (replace(REGULAR, strikes=(strike(1, NOW - 30 * DAY + 1),)), Kind.USER, "known"),
        (replace(REGULAR, watched_until=NOW + 1), Kind.USER, "watched"),
        (replace(REGULAR, watched_until=NOW), Kind.USER, "trusted"),
        (Standing(watched_until=NOW + 1), Kind.ADDRESS, "watched"),
        (Standing(suspended_until=NOW + 1), Kind.USER, "suspended"),
        (Standing(suspended_until=math.inf), Kind.SESSION, "suspended"),
        (Standing(suspended_until=NOW), Kind.USER, "new"),
        (Standing(suspended_until=math.inf), Kind.ADDRESS, "new"),
    ],
)
def test_the_tier_follows_from_what_is_known(standing: Standing, kind: Kind, tier: Tier) -> None:
    assert tier_of(standing, kind, NOW, TIERS) == tier


def test_one_strike_demotes_at_once_and_for_a_week() -> None:
    struck = after(REGULAR, strike(1), Kind.USER, TIERS)
    assert (struck.clean_turns, struck.clean_since) == (0, None)
    assert tier_of(struck, Kind.USER, NOW, TIERS) == "watched"
    assert tier_of(struck, Kind.USER, NOW + 7 * DAY - 1, TIERS) == "watched"
    assert tier_of(struck, Kind.USER, NOW + 7 * DAY, TIERS) == "new"


def test_a_strike_counts_once_however_often_it_is_told() -> None:
    assert told(strike(1), strike(1), strike(1)) == told(strike(1))


def test_strikes_weigh_half_after_a_half_life_and_nothing_after_the_window() -> None:
    strikes = (strike(1, NOW, 2.0),)
    assert weight_of(strikes, NOW, TIERS) == 2
    assert weight_of(strikes, NOW + 7 * DAY, TIERS) == pytest.approx(1)
    assert weight_of(strikes, NOW + 30 * DAY, TIERS) == 0
    assert weight_of(strikes, NOW - 60, TIERS) == 2, "another machine's clock is ahead"


def test_strikes_of_enough_weight_suspend_for_a_day() -> None:
    almost = told(*(strike(n) for n in range(4)))
    assert almost.suspended_until is None
    suspended = after(almost, strike(4), Kind.USER, TIERS)
    assert suspended.suspended_until == NOW + DAY
    assert suspended.note == "strikes: hate"
    assert tier_of(suspended, Kind.USER, NOW, TIERS) == "suspended"
    assert tier_of(suspended, Kind.USER, NOW + DAY, TIERS) == "watched"
    again = after(suspended, strike(5, NOW + DAY), Kind.USER, TIERS)
    assert again.suspended_until == NOW + 2 * DAY, "one more is enough then"


def test_old_strikes_do_not_suspend() -> None:
    assert told(*(strike(n, NOW + 8 * n * DAY) for n in range(20))).suspended_until is None


def test_strikes_can_suspend_until_lifted_or_never() -> None:
    strikes = [strike(n) for n in range(9)]
    assert told(*strikes, tiers=Tiers(suspend_hours=None)).suspended_until == math.inf
    assert told(*strikes, tiers=Tiers(suspend_at=0)).suspended_until is None


def test_an_address_is_watched_and_never_suspended() -> None:
    standing = told(*(strike(n) for n in range(60)), Suspend(math.inf, NOW, ""), kind=Kind.ADDRESS)
    assert standing.suspended_until is None
    assert tier_of(standing, Kind.ADDRESS, NOW, TIERS) == "watched"
    assert told(Clean(99, NOW, NOW), kind=Kind.ADDRESS).clean_turns == 0


def test_clean_turns_before_a_strike_do_not_count_after_it() -> None:
    assert told(strike(1), Clean(3, NOW - 9, NOW)).clean_turns == 0
    standing = told(strike(1), Clean(3, NOW + 1, NOW + 9), Clean(1, NOW + 10, NOW + 10))
    assert (standing.clean_turns, standing.clean_since) == (4, NOW + 1)
    assert (standing.first_seen, standing.last_seen) == (NOW, NOW + 10)


def test_a_lifted_suspension_forgives_what_led_to_it() -> None:
    strikes = [strike(n) for n in range(5)]
    lifted = told(*strikes, Lift(NOW + 1))
    assert not lifted.suspended(NOW + 1)
    assert tier_of(lifted, Kind.USER, NOW + 1, TIERS) == "watched"
    assert after(lifted, strike(9, NOW + 2), Kind.USER, TIERS).suspended_until is None
    late = after(lifted, strike(8, NOW), Kind.USER, TIERS)
    assert weight_of(late.strikes, NOW, TIERS) == 0, "it was told after it was forgiven"


def test_rulings_count_in_the_order_they_were_made() -> None:
    suspend, lift = Suspend(math.inf, NOW, "why"), Lift(NOW + 1)
    assert not told(lift, suspend).suspended(NOW + 2)
    assert told(lift, Suspend(math.inf, NOW + 2, "")).suspended(NOW + 2)
    assert told(suspend).note == "why"


def test_strikes_never_shorten_a_suspension() -> None:
    standing = told(Suspend(math.inf, NOW, "why"), *(strike(n, NOW + n) for n in range(9)))
    assert (standing.suspended_until, standing.note) == (math.inf, "why")


def test_few_strikes_are_kept_and_none_that_is_too_old() -> None:
    many = told(*(strike(n, NOW + n, 0.01) for n in range(70)))
    assert [s.id for s in many.strikes] == [f"req_{n}" for n in range(20, 70)]
    assert len(told(strike(1, NOW), strike(2, NOW + 31 * DAY)).strikes) == 1


class TestLoggingIn:
    def test_strikes_go_with_whoever_logs_in_once(self) -> None:
        came = told(strike(1), kind=Kind.SESSION)
        user = after(REGULAR, Guest(came, NOW), Kind.USER, TIERS)
        assert tier_of(user, Kind.USER, NOW, TIERS) == "watched"
        assert after(user, Guest(came, NOW + 1), Kind.USER, TIERS) == user

    def test_a_suspended_guest_is_a_suspended_user(self) -> None:
        came = told(Suspend(math.inf, NOW, "why"), kind=Kind.SESSION)
        user = after(REGULAR, Guest(came, NOW), Kind.USER, TIERS)
        assert tier_of(user, Kind.USER, NOW, TIERS) == "suspended"

    def test_strikes_on_both_sides_add_up(self) -> None:
        came = told(*(strike(n) for n in range(3)), kind=Kind.SESSION)
        user = told(*(strike(n) for n in range(10, 12)), Guest(came, NOW))
        assert user.suspended(NOW)

    def test_what_was_lifted_does_not_come_back(self) -> None:
        came = told(*(strike(n) for n in range(5)), kind=Kind.SESSION)
        user = told(Guest(came, NOW), Lift(NOW + 1), Guest(came, NOW + 2))
        assert not user.suspended(NOW + 2)

    def test_what_is_too_old_to_matter_stays_behind(self) -> None:
        came = told(strike(1), kind=Kind.SESSION)
        assert after(REGULAR, Guest(came, NOW + 31 * DAY), Kind.USER, TIERS) == REGULAR
        full = told(*(strike(n, NOW + n, 0.01) for n in range(60)))
        assert after(full, Guest(told(strike(0)), NOW + 60), Kind.USER, TIERS) == full


class TestOlderSecrets:
    def test_nothing_known_is_a_stranger(self) -> None:
        assert merged([]) == merged([Standing()]) == Standing()
        assert merged([Standing(), REGULAR]) == REGULAR

    def test_clean_turns_add_up_and_strikes_stay(self) -> None:
        new, old = told(Clean(5, NOW + 5, NOW + 9)), told(strike(1), Clean(8, NOW + 1, NOW + 2))
        standing = merged([new, old])
        assert (standing.clean_turns, standing.clean_since) == (13, NOW + 1)
        assert standing.strikes == old.strikes
        assert standing.watched_until == old.watched_until

    def test_a_strike_under_the_new_secret_demotes_what_was_clean_under_the_old(self) -> None:
        assert merged([told(strike(1, NOW + 5)), told(Clean(99, NOW, NOW))]).clean_turns == 0

    def test_the_latest_ruling_counts_under_whichever_secret(self) -> None:
        old = told(*(strike(n) for n in range(5)))
        assert merged([told(Clean(1, NOW + 1, NOW + 1)), old]).suspended(NOW)
        lifted = merged([told(Lift(NOW + 1)), old])
        assert not lifted.suspended(NOW + 1)
        assert weight_of(lifted.strikes, NOW + 1, TIERS) == 0


@pytest.mark.parametrize("name", ["", "ada", "u1_short", "x1_" + "a" * 49, "u1_" + "a" * 48 + "\n"])
def test_what_is_no_safety_identifier_is_told(name: str) -> None:
    with pytest.raises(SettingsError, match="no safety identifier"):
        kind_of(name)


def _clean(number: int, at: float) -> Clean:
    return Clean(number + 1, at, at)


numbers = st.integers(0, 200)
times = st.floats(0, 40 * DAY).map(lambda seconds: NOW + seconds)
simple: st.SearchStrategy[Event] = st.one_of(
    st.builds(_clean, numbers, times),
    st.builds(strike, numbers, times, st.sampled_from([0.5, 1.0, 2.5])),
    st.builds(Suspend, times | st.just(math.inf), times, st.just("")),
    st.builds(Lift, times),
)


def _guest(events: list[Event], at: float) -> Guest:
    return Guest(told(*events, kind=Kind.SESSION), at)


events: st.SearchStrategy[list[Event]] = st.lists(
    simple | st.builds(_guest, st.lists(simple), times)
)


@given(events, times)
def test_no_sequence_of_events_suspends_an_address(said: list[Event], now: float) -> None:
    standing = told(*said, kind=Kind.ADDRESS)
    assert tier_of(standing, Kind.ADDRESS, now, TIERS) in {"new", "watched"}


@given(events, times)
def test_after_a_strike_nobody_is_better_than_watched_for_a_week(
    said: list[Event], at: float
) -> None:
    struck = told(*said, strike(999, at))
    for seconds in (0, DAY, 6.9 * DAY):
        assert tier_of(struck, Kind.USER, at + seconds, TIERS) in {"watched", "suspended"}


@given(events, st.lists(simple.filter(lambda event: not isinstance(event, Lift | Suspend))))
def test_only_an_operator_or_time_ends_a_suspension(
    before: list[Event], later: list[Event]
) -> None:
    suspended = told(*before, Suspend(math.inf, NOW + 99 * DAY, ""))
    for event in later:
        suspended = after(suspended, event, Kind.USER, TIERS)
        assert tier_of(suspended, Kind.USER, NOW + 999 * DAY, TIERS) == "suspended"


@given(events)
def test_telling_strikes_and_rulings_again_changes_nothing(said: list[Event]) -> None:
    once = [event for event in said if not isinstance(event, Clean | Guest)]
    last = once[-1:]
    assert told(*once, *last) == told(*once)
