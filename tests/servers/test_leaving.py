"""A client that leaves takes everything with it: tasks, threads and connections."""

from __future__ import annotations

import pytest

from . import probe
from .conftest import BAD, Site

HOLDS = ("handler", "model", "reply")
LONG = [f"{probe.SECRET} "] * 1000
"""A reply of half a minute, in which the app waits for the next word nearly all the time."""
INTERVAL = 0.03


@pytest.fixture
def warm(site: Site) -> Site:
    """A site that has its pools open and its routes seen."""
    if site.server == "gunicorn-asgi":
        pytest.skip("gunicorn tells an ASGI app nothing of a client that has left")
    site.fake.moderation_latency = site.fake.first_token_latency = 0.1
    answers = site.ask_all(site.turn(f"/{hold}/stream") for hold in HOLDS * 3)
    assert {answer.status for answer in answers} == {200}
    site.fake.moderation_latency = site.fake.first_token_latency = 0.0
    site.fake.clear()
    return site


def test_leaving_in_the_middle_of_a_stream_ends_the_model_call(warm: Site) -> None:
    before = warm.at_work()
    warm.fake.reply, warm.fake.token_interval = LONG, INTERVAL
    for hold in HOLDS:
        warm.fake.clear()
        with warm.open(f"/{hold}/stream") as turn:
            turn.until(probe.SECRET.encode())
        warm.fake.wait_for(lambda: warm.fake.calls("/chat/completions")[0].finished, timeout=10)
        (call,) = warm.fake.calls("/chat/completions")
        assert call.aborted, hold
    warm.at_rest(before)


@pytest.mark.parametrize("message", ["fine", BAD])
def test_leaving_while_the_verdict_is_out_leaves_nothing_behind(warm: Site, message: str) -> None:
    before = warm.at_work()
    warm.fake.reply, warm.fake.token_interval = LONG, INTERVAL
    warm.fake.moderation_latency = 0.4
    for hold in HOLDS:
        warm.fake.clear()
        with warm.open(f"/{hold}/stream", message):
            warm.fake.wait_for(lambda: warm.fake.calls("/moderations"))
    warm.at_rest(before)
    warm.fake.wait_for(lambda: all(call.finished for call in warm.fake.requests))
    assert all(call.aborted for call in warm.fake.calls("/chat/completions"))
    assert warm.ask("/reply/echo").status == 200


def test_leaving_with_half_a_body_sent_leaves_nothing_behind(warm: Site) -> None:
    before = warm.at_work()
    for hold in HOLDS:
        warm.send_half(f"/{hold}/stream")
    warm.at_rest(before)
    assert warm.fake.requests == []
