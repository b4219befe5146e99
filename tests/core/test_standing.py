from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import pytest

from safety_middleware.identity import Identity, Keyring, Kind
from safety_middleware.policy import Tier
from safety_middleware.standing import Standing, Standings, after_turn, hold_of, tier_of

NOW = 1_800_000_000.0
WEEK = 7 * 24 * 3600.0
OLD, NEW = "old-secret-" * 4, "new-secret-" * 4


@pytest.mark.parametrize(
    ("standing", "kind", "tier"),
    [
        (Standing(), Kind.USER, "new"),
        (Standing(19), Kind.USER, "new"),
        (Standing(20), Kind.USER, "known"),
        (Standing(20), Kind.SESSION, "known"),
        (Standing(10_000), Kind.ADDRESS, "new"),
        (Standing(20, NOW - WEEK + 1), Kind.USER, "watched"),
        (Standing(20, NOW - WEEK), Kind.USER, "known"),
        (Standing(0, NOW - 1), Kind.ADDRESS, "watched"),
    ],
)
def test_the_tier_follows_from_clean_turns_and_strikes(
    keyring: Keyring, standing: Standing, kind: Kind, tier: Tier
) -> None:
    assert tier_of(standing, keyring.identify(kind, "x"), NOW) == tier


def test_strangers_are_checked_first_and_regulars_feel_nothing() -> None:
    tiers: list[Tier] = ["new", "known", "watched"]
    assert [hold_of(tier) for tier in tiers] == ["model", "reply", "handler"]


@pytest.mark.parametrize(
    ("clean", "blocked", "after"),
    [
        (True, False, Standing(4, NOW - 9)),
        (False, False, Standing(3, NOW - 9)),
        (False, True, Standing(0, NOW)),
        (True, True, Standing(0, NOW)),
    ],
)
def test_a_blocked_turn_starts_over(*, clean: bool, blocked: bool, after: Standing) -> None:
    before = Standing(3, NOW - 9)
    assert after_turn(before, clean=clean, blocked=blocked, now=NOW) == after


def test_turns_are_counted_for_each_identity(identity: Identity, session: Identity) -> None:
    standings = Standings()
    standings.count(identity, clean=True, blocked=False, now=NOW)
    standings.count(identity, clean=False, blocked=False, now=NOW)
    assert standings.load(identity) == Standing(1)
    assert standings.load(session) == Standing()


def test_what_was_known_under_an_older_secret_stays_known() -> None:
    standings = Standings()
    before = Keyring([OLD]).identify(Kind.USER, "ada")
    rotated = Keyring([NEW, OLD]).identify(Kind.USER, "ada")
    standings.count(before, clean=False, blocked=True, now=NOW)
    assert standings.load(rotated) == Standing(0, NOW)
    standings.count(rotated, clean=True, blocked=False, now=NOW)
    assert standings.load(rotated) == Standing(1, NOW)
    assert standings.load(before) == Standing(0, NOW)


def test_the_identity_met_longest_ago_is_forgotten_first(keyring: Keyring) -> None:
    standings = Standings(size=2)
    a, b, c = (keyring.identify(Kind.USER, name) for name in "abc")
    for who in (a, b):
        standings.count(who, clean=True, blocked=False, now=NOW)
    standings.load(a)
    standings.count(c, clean=True, blocked=False, now=NOW)
    assert [standings.load(who).clean_turns for who in (a, b, c)] == [1, 0, 1]


@pytest.fixture
def restless() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("restless")
def test_a_strike_is_not_lost_among_clean_turns_that_end_with_it(identity: Identity) -> None:
    standings = Standings()
    start = threading.Barrier(4)

    def work(*, blocked: bool) -> None:
        start.wait()
        for turn in range(200):
            strikes = blocked and turn == 100
            standings.count(identity, clean=not strikes, blocked=strikes, now=NOW)

    threads = [
        threading.Thread(target=work, kwargs={"blocked": number == 0}) for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert standings.load(identity).last_strike == NOW
