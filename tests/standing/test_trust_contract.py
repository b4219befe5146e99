"""Who is suspended, in every framework, through the whole app."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import flask

from safety_middleware.standing import Suspend
from safety_middleware.store import Store
from tests.contract.conftest import Site, fake, framework, site

__all__ = ["fake", "framework", "site"]

Open = Callable[..., Site]


def named(framework: str) -> Callable[..., Any]:
    """Who is logged in, as the app would tell: here by a header."""
    if framework == "flask":
        return lambda: flask.request.headers.get("x-user")

    def by_request(request: Any) -> Any:
        return request.headers.get("x-user")

    return by_request


def into(told: list[Any]) -> Callable[..., None]:
    """A hook that writes down what it is told."""

    def hook(*event: Any) -> None:
        told.append(event)

    return hook


def guest_of(opened: Site) -> str:
    """The safety identifier of the browser, which has sent its cookie back."""
    assert opened.say("hello").status_code == 200
    assert opened.say("hello").status_code == 200
    identity = opened.records(2)[0].identity
    assert identity is not None
    assert identity.startswith("s1_")
    return identity


def test_an_operators_word_suspends_at_once_and_lifts_at_once(site: Open) -> None:
    opened = site()
    guest = guest_of(opened)
    bodies = len(opened.seen.bodies)
    opened.safety.suspend(guest, hours=2, why="ticket 4711")
    refused = opened.say("hello")
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (403, "suspended")
    assert abs(error["retry_at"] - time.time() - 7200) < 60
    assert 7100 < int(refused.headers["retry-after"]) <= 7200
    assert "ticket" not in refused.text
    assert len(opened.seen.bodies) == bodies
    record = opened.records(3)[0]
    assert (record.reason, record.tier, record.status) == ("suspended", "suspended", 403)
    opened.safety.lift(guest)
    assert opened.say("hello").status_code == 200


def test_strikes_watch_then_suspend_and_the_hooks_are_told(site: Open) -> None:
    struck: list[Any] = []
    suspended: list[Any] = []
    opened = site(
        {
            "on_strike": into(struck),
            "on_suspend": into(suspended),
            "tiers": {"suspend_at": 1.25},
        },
        hold="handler",
    )
    guest = guest_of(opened)
    statuses = [opened.say(f"[[hate]] {number}").status_code for number in range(4)]
    assert statuses == [400, 400, 400, 403]
    records = opened.records(6)
    assert [record.tier for record in records[:4]] == ["suspended", "watched", "watched", "new"]
    opened.safety.close()
    assert [(who, strike.what) for who, strike in struck] == [(guest, "hate")] * 3
    [(who, standing)] = suspended
    assert (who, len(standing.strikes)) == (guest, 3)


def test_logging_in_does_not_shake_off_a_suspension(site: Open, framework: str) -> None:
    opened = site({"user": named(framework)})
    guest = guest_of(opened)
    assert opened.say("hello", headers={"x-user": "ada"}).status_code == 200
    opened.safety.suspend(guest)
    assert opened.say("hello", headers={"x-user": "ada"}).status_code == 403
    opened.http.cookies.clear()
    assert opened.say("hello", headers={"x-user": "ada"}).status_code == 403
    assert opened.say("hello", headers={"x-user": "bob"}).status_code == 200


def test_a_suspension_by_another_process_counts_when_it_is_read(site: Open) -> None:
    opened = site()
    guest = guest_of(opened)
    with Store.open(opened.safety.settings.store) as other:
        other.change(guest, Suspend(time.time() + 60, time.time(), ""))
    assert opened.say("hello").status_code == 200, "read lately, and not read again yet"
    inside: Any = opened.safety.store.standings
    inside._entries.clear()
    assert opened.say("hello").status_code == 403


def test_an_address_is_watched_and_never_suspended(site: Open) -> None:
    opened = site(hold="handler")
    for _ in range(8):
        opened.http.cookies.clear()
        assert opened.say("[[hate]]").status_code == 400
    opened.http.cookies.clear()
    assert opened.say("hello").status_code == 200
    record = opened.records(9)[0]
    assert (record.kind, record.tier) == ("address", "watched")


def test_what_sampling_skips_makes_no_call_and_is_on_record(site: Open) -> None:
    opened = site(sample=0)
    assert opened.say("[[hate]]").status_code == 200
    assert opened.fake.calls("/moderations") == []
    assert opened.records()[0].skipped["moderation"] == "sampled out"
