"""Many turns at once: nobody waits for another's verdict, and nothing leaks under load."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from safety_middleware.testing import FakeOpenAI, lognormal

from . import probe
from .conftest import BAD, Site

LOADED = ("uvicorn-httptools-uvloop", "gunicorn-gthread")
TOKENS = 200
FAULTS = ("hang", "reset", "status-429", "status-500", "malformed")

pytestmark = pytest.mark.parametrize("server", LOADED, indirect=True, scope="session")


def test_two_hundred_turns_wait_for_their_verdicts_together(site: Site) -> None:
    site.ask_all(site.turn("/bare/echo") for _ in range(200))  # all threads are there
    site.fake.moderation_latency = 1.0
    turns = [site.turn(f"/{hold}/echo") for hold in ("handler", "reply") for _ in range(100)]
    began = time.monotonic()
    answers = site.ask_all(turns)
    assert time.monotonic() - began < 2.5
    assert {(answer.status, answer.whole) for answer in answers} == {(200, True)}


def test_flagged_turns_under_load_show_nothing_and_cost_next_to_nothing(site: Site) -> None:
    fake = site.fake
    fake.reply, fake.token_interval = [f"{probe.SECRET} "] * TOKENS, 0.02
    fake.moderation_latency = lognormal(0.25, 0.4, seed=1)
    # one model in five is quicker than any verdict, so that there is something to hold back
    fake.first_token_latency = lambda seen: 0.6 if int(seen.request_id[4:], 16) % 5 else 0.1
    turns = [site.turn("/reply/stream", BAD) for _ in range(300)]
    answers = site.ask_all(turns, at_once=50)
    assert Counter((answer.status, answer.code) for answer in answers) == {
        (400, "content_blocked"): len(turns)
    }
    assert not any(probe.SECRET.encode() in answer.raw for answer in answers)
    calls = fake.calls("/chat/completions")
    fake.wait_for(lambda: all(call.finished for call in calls), timeout=15)
    assert sum(call.aborted for call in calls) >= 0.99 * len(calls)
    assert sum(call.tokens_sent for call in calls) <= 0.05 * TOKENS * len(calls)


@pytest.mark.parametrize("fault", FAULTS)
def test_turns_whose_moderation_fails_end_as_their_policy_says(site: Site, fault: str) -> None:
    before = site.at_work()
    kind, _, status = fault.partition("-")
    prefixes = [*probe.POLICIES] * 12
    turns = [site.turn(f"/{prefix}/stream") for prefix in prefixes]
    with site.fake.fail("/moderations", kind, status=int(status or 500), delay=0.05):  # type: ignore[arg-type]
        answers = site.ask_all(turns)
    for prefix, answer in zip(prefixes, answers, strict=True):
        if prefix == "open":
            assert (answer.status, answer.whole) == (200, True)
            assert answer.body.decode() == f"{probe.SECRET} " * 20
        else:
            assert (answer.status, answer.code) == (503, "moderation_unavailable")
            assert int(answer.headers["retry-after"]) >= 1
            assert probe.SECRET.encode() not in answer.raw
    recovers(site)
    site.at_rest(before | {"sockets": 1000})  # a fault closes connections and opens others


def recovers(site: Site) -> None:
    """The app answers again, once the breaker has had its rest."""
    deadline = time.monotonic() + 10
    while (answer := site.ask("/handler/echo")).status != 200:
        assert answer.code == "moderation_unavailable"
        assert time.monotonic() < deadline
    assert site.ask("/reply/stream", BAD).code == "content_blocked"
    assert {a.status for a in site.ask_all(site.turn("/reply/stream") for _ in range(50))} == {200}


def test_every_turn_is_on_record(site: Site, fake: FakeOpenAI) -> None:
    fake.moderation_latency = 0.1
    turns = [site.turn("/reply/stream", BAD if n % 2 else None) for n in range(60)]
    site.ask_all(turns)
    site.until(
        lambda: (
            Counter(reason for _, reason, *_ in site.records(60))
            == {"ok": 30, "content_blocked": 30}
        )
    )
