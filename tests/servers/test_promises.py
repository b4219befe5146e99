"""The core promises on every server, over real sockets."""

from __future__ import annotations

import re
import time
from contextlib import ExitStack

import pytest

from . import client, probe
from .client import Answer
from .conftest import BAD, Site

HOLDS = ("handler", "model", "reply")
ASGI_ONLY = ("children", "stubborn")
SHARED = ("stream", "generator", "threaded", "fails", "fails_late", *ASGI_ONLY)
REPLIES = ("stream", "catches", "generator", "threaded", "fails", "fails_late", *ASGI_ONLY)
_VARYING = ("date", "ratelimit", "ratelimit-policy")


def kinds(site: Site, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if site.asgi or name not in ASGI_ONLY]


def told(answer: Answer) -> object:
    """What a client is told, without what changes from one answer to the next."""
    headers = {n: v for n, v in answer.headers.items() if n not in _VARYING}
    return answer.status, headers, answer.body, answer.whole


def test_a_protected_reply_is_the_bare_one_byte_for_byte(site: Site) -> None:
    site.fake.moderation_latency = 0.03
    for kind in kinds(site, SHARED):
        bare = site.ask(f"/bare/{kind}")
        for hold in HOLDS:
            assert told(site.ask(f"/{hold}/{kind}")) == told(bare), (kind, hold)


def test_the_app_reads_the_very_same_bytes(site: Site) -> None:
    body = b'{ "message" :\t"caf\\u00e9 \xc3\xa9",  "n": 1.50 }'
    site.fake.moderation_latency = 0.03
    for hold in HOLDS:
        head = f"POST /{hold}/echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-User: bytes\r\n"
        kind = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        chunks = (
            b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in (body[:9], body[9:])) + b"0\r\n\r\n"
        )
        assert site.send((head + kind).encode() + chunks).body == body


@pytest.mark.parametrize("hold", HOLDS)
def test_flagged_text_is_refused_in_every_hold(site: Site, hold: str) -> None:
    site.ask(f"/{hold}/stream")  # where a guarded call was seen, the model's hold is kept
    site.fake.clear()
    site.fake.moderation_latency = 0.1
    answer = site.ask(f"/{hold}/stream", BAD)
    assert (answer.status, answer.code) == (400, "content_blocked")
    assert probe.SECRET.encode() not in answer.raw
    if hold != "reply":
        assert site.fake.calls("/chat/completions") == []


def test_not_one_byte_of_a_flagged_turns_reply_leaves(site: Site) -> None:
    site.fake.moderation_latency = 0.3
    before = site.at_work()
    for kind, message, answer in at_once(site, BAD):
        assert (kind, answer.status, answer.code) == (kind, 400, "content_blocked")
        assert probe.SECRET.encode() not in answer.raw
        assert len(re.findall(rb"HTTP/1\.1 ", answer.raw)) == 1
        judged = verdict_of(site, message)
        assert judged <= answer.first < judged + 0.3, kind
    site.at_rest(before | {"sockets": 1000})  # the pools have grown


def test_not_one_byte_of_a_reply_leaves_before_its_verdict(site: Site) -> None:
    site.fake.moderation_latency = 0.3
    for kind, message, answer in at_once(site, None):
        assert answer.first >= verdict_of(site, message), kind


def at_once(site: Site, message: str | None) -> list[tuple[str, str, Answer]]:
    """A turn of every kind, all at once: the kind, what was said, the answer."""
    names = kinds(site, REPLIES)
    turns = [site.turn(f"/reply/{kind}", message) for kind in names]
    answers = site.ask_all(turns)
    return list(zip(names, (said for _, said, _ in turns), answers, strict=True))


def verdict_of(site: Site, message: str) -> float:
    """When the verdict about what was said left the service."""
    (finished,) = (
        call.finished for call in site.fake.calls("/moderations") if message in str(call.body)
    )
    assert finished is not None
    return finished


def test_a_stream_streams(site: Site) -> None:
    user = f"streams-{site.server}"
    sent = [site.turn(f"/{prefix}/held", user=user) for prefix in ("bare", *HOLDS)]
    with ExitStack() as stack:
        turns = [stack.enter_context(client.Turn(site.port)) for _ in sent]
        for turn, said in zip(turns, sent, strict=True):
            turn.send(*said)
        for turn in turns:
            turn.until(probe.PIECES[0].encode())  # the app makes the next piece when it is released
        site.release(user)
        for turn in turns:
            assert turn.answer().body.decode() == "".join(probe.PIECES[:2])


def test_background_tasks_run_once_after_the_reply_and_never_for_a_refused_one(site: Site) -> None:
    if not site.asgi:
        pytest.skip("WSGI has no background tasks")
    site.fake.moderation_latency = 0.05
    for prefix in ("bare", *HOLDS):
        path, message, user = site.turn(f"/{prefix}/background")
        with site.open(path, message, user) as turn:
            answer = turn.until(probe.PIECES[0].encode())
            assert answer.startswith(b"HTTP/1.1 200")
            assert site.background(user, "done") == 0
            site.release(user)
        site.wait_for_background(user)
        assert site.background(user, "begun") == 1
    for hold in HOLDS:
        path, message, user = site.turn(f"/{hold}/background", BAD)
        assert site.ask(path, message, user).code == "content_blocked"
        assert site.background(user, "begun") == 0


def test_a_connection_kept_alive_serves_the_turn_after_a_refused_one(site: Site) -> None:
    site.fake.moderation_latency = 0.05
    for kind in kinds(site, ("stream", "generator", "children", "stubborn")):
        with site.open(f"/reply/{kind}", BAD, keep=True) as turn:
            refused = turn.answer()
            assert refused.code == "content_blocked"
            if refused.headers.get("connection") == "close":
                continue
            began = time.monotonic()
            turn.send(*site.turn("/reply/threaded"))
            assert turn.answer().body.decode() == "".join(probe.PIECES)
            assert time.monotonic() - began < 2
