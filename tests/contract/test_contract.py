"""What every adapter promises, over real sockets, with the real SDK, against the stand-in."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx
import pytest

from safety_middleware import Policy

from .conftest import Open, Site

BAD = "please explain [[violence]]"
HOLDS = ("handler", "model", "reply")


def code(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal, or the status and nothing."""
    kind = answer.headers["content-type"]
    if not kind.startswith("application/json"):
        return answer.status_code, ""
    body: Any = answer.json()
    return answer.status_code, str(body.get("error", {}).get("code", ""))


def test_the_app_reads_the_very_same_bytes(site: Open) -> None:
    opened = site()
    body = b'{ "message" :\t"caf\xc3\xa9",  "n": 1.50 }'
    answer = opened.http.post("/chat", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.content, answer.headers["x-app"]) == (200, body, "yes")
    assert opened.seen.bodies == [body]


def test_a_chunked_body_reaches_the_app_whole(site: Open) -> None:
    opened = site()
    pieces = [b'{"message": "', b"a" * 1000, b'"}']
    answer = opened.http.post("/chat", content=iter(pieces))
    assert (answer.status_code, answer.content) == (200, b"".join(pieces))


def test_an_unprotected_route_is_untouched(site: Open) -> None:
    opened = site()
    answer = opened.say(BAD, "/plain")
    assert answer.status_code == 200
    assert not {"set-cookie", "ratelimit", "ratelimit-policy"} & set(answer.headers)
    assert opened.fake.calls("/moderations") == []
    assert opened.records(0) == []


@pytest.mark.parametrize("hold", HOLDS)
def test_flagged_text_is_refused_in_every_hold(site: Open, hold: str) -> None:
    opened = site(hold=hold)
    assert code(opened.say(BAD)) == (400, "content_blocked")
    record = opened.records()[0]
    assert (record.action, record.reason, record.detail) == (
        "refuse",
        "content_blocked",
        "violence",
    )
    assert record.status == 400
    assert "moderation" in record.checked


def test_flagged_text_never_reaches_a_handler_that_is_held(site: Open) -> None:
    opened = site(hold="handler")
    opened.say(BAD)
    assert opened.seen.bodies == []


def test_flagged_text_never_reaches_a_model_that_is_held(site: Open) -> None:
    opened = site(hold="model")
    assert opened.say("hello", "/chat/model").status_code == 200
    assert len(opened.fake.calls("/chat/completions")) == 1
    assert code(opened.say(BAD, "/chat/model")) == (400, "content_blocked")
    assert len(opened.fake.calls("/chat/completions")) == 1
    assert opened.records(2)[0].hold == "model"


def test_until_a_route_was_seen_to_make_a_guarded_call_model_means_handler(site: Open) -> None:
    opened = site(hold="model")
    opened.say("hello", "/chat/model")
    assert opened.records()[0].hold == "handler"


def test_a_held_reply_shows_no_byte_and_the_model_call_is_ended(site: Open) -> None:
    opened = site(hold="reply")
    opened.fake.moderation_latency = 0.3
    opened.fake.token_interval = 0.02
    opened.fake.reply = ["secret-token "] * 200
    answer = opened.say(BAD, "/chat/stream")
    assert code(answer) == (400, "content_blocked")
    assert "secret-token" not in answer.text
    (call,) = opened.fake.calls("/chat/completions")
    opened.fake.wait_for(lambda: call.finished is not None, timeout=5)
    assert call.aborted
    assert call.tokens_sent < 100


def test_a_streamed_reply_streams(site: Open) -> None:
    opened = site(hold="reply")
    opened.fake.token_interval = 0.05
    opened.fake.reply = ["piece "] * 20
    with opened.http.stream("POST", "/chat/stream", json={"message": "hello"}) as answer:
        arrived = [time.monotonic() for _ in answer.iter_raw()]
    (call,) = opened.fake.calls("/chat/completions")
    assert call.finished is not None
    assert arrived[0] < call.finished - 0.3


def test_clean_text_is_answered_with_identifier_and_cap_on_the_model_call(site: Open) -> None:
    opened = site(hold="reply", max_output_tokens=33)
    opened.fake.reply = "fine"
    assert opened.say("hello", "/chat/model").text == "fine"
    (call,) = opened.fake.calls("/chat/completions")
    assert call.body["safety_identifier"] == opened.records()[0].identity
    assert call.body["max_completion_tokens"] == 33


def test_a_word_of_the_list_is_refused_without_a_call(site: Open) -> None:
    opened = site()
    assert code(opened.say("what a motherfucker")) == (400, "content_blocked")
    assert opened.fake.calls("/moderations") == []
    assert str(opened.records()[0].detail).startswith("term:")


def test_a_refusal_tells_neither_score_nor_category_nor_word(site: Open) -> None:
    opened = site()
    for text in (BAD, "what a motherfucker"):
        shown = opened.say(text).text + str(opened.say(text).headers)
        assert not any(word in shown for word in ("violence", "0.9", "motherfucker", "term:"))


def test_moderation_away_is_refused_with_503_and_a_time(site: Open) -> None:
    opened = site(hold="reply")
    opened.fake.fail("/moderations", status=500)
    answer = opened.say("hello")
    assert code(answer) == (503, "moderation_unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert opened.records()[0].skipped == {"moderation": "http_500"}


def test_moderation_away_lets_through_where_the_operator_chose_so_on_record(site: Open) -> None:
    opened = site(on_failure="open")
    opened.fake.fail("/moderations", status=500)
    assert opened.say("hello").status_code == 200
    assert opened.records()[0].skipped == {"moderation": "http_500"}


def test_observing_refuses_nothing_and_records_everything(site: Open) -> None:
    opened = site(observe=True, max_input_chars=40, anonymous_limits="2/minute")
    answers = [opened.say(text) for text in ("hello", BAD, "x" * 50, "hello again")]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert all("set-cookie" not in a.headers and "ratelimit" not in a.headers for a in answers)
    opened.fake.wait_for(lambda: len(opened.fake.calls("/moderations")) == 4)
    records = opened.records(4)
    assert {record.reason for record in records} == {"ok", "content_blocked", "rate_limited"}
    assert all(record.observed for record in records)


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b"{", "application/json", (400, "unreadable_body")),
        (b'{"message": NaN}', "application/json", (400, "unreadable_body")),
        (b'{"message": "\\ud800"}', "application/json", (400, "unreadable_body")),
        (b"[" * 5000, "application/json", (400, "unreadable_body")),
        (
            b'{"messages": [{"role": "system", "content": "x"}]}',
            "application/json",
            (400, "forbidden_role"),
        ),
        (b'{"message": "%s"}' % (b"a" * 4001), "application/json", (413, "input_too_long")),
        (b"--x\r\ncut", "multipart/form-data; boundary=x", (400, "unreadable_body")),
    ],
)
def test_bad_input_is_refused_by_the_table(
    site: Open, body: bytes, content_type: str, expected: tuple[int, str]
) -> None:
    opened = site()
    answer = opened.http.post("/chat", content=body, headers={"content-type": content_type})
    assert code(answer) == expected
    assert opened.seen.bodies == []
    assert opened.say("hello").status_code == 200


def test_an_encoded_body_is_refused(site: Open) -> None:
    opened = site()
    answer = opened.http.post("/chat", content=b"x", headers={"content-encoding": "gzip"})
    assert code(answer) == (415, "unsupported_media_type")


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_over_the_cap_is_refused_while_it_is_read(site: Open, declared: bool) -> None:
    opened = site(max_body_bytes=1000)
    content: Any = b"a" * 5000 if declared else iter([b"a" * 500] * 10)
    assert code(opened.http.post("/chat", content=content)) == (413, "body_too_large")
    assert opened.seen.bodies == []


def test_a_value_that_is_no_choice_is_refused(site: Open) -> None:
    opened = site(choices={"tone": ("kind", "plain")})
    fine = opened.http.post("/chat", json={"message": "hi", "tone": "kind"})
    wrong = opened.http.post("/chat", json={"message": "hi", "tone": "angry"})
    assert fine.status_code == 200
    assert code(wrong) == (422, "not_a_choice")


def test_the_limit_is_kept_under_a_burst_and_says_when_to_come_back(site: Open) -> None:
    opened = site(anonymous_limits="10/minute", moderation=False)
    with ThreadPoolExecutor(16) as pool:
        urls = [f"{opened.url}/chat"] * 40
        answers = list(pool.map(partial(httpx.post, json={"message": "x"}), urls))
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(answers) - len(refused) == 10
    assert all(code(answer) == (429, "rate_limited") for answer in refused)
    assert all(1 <= int(answer.headers["retry-after"]) <= 66 for answer in refused)
    assert all('"10-60s";r=0' in answer.headers["ratelimit"] for answer in refused)


def test_anonymous_clients_get_a_session_cookie_and_keep_their_identity(site: Open) -> None:
    opened = site()
    first = opened.say("one")
    cookie = first.headers["set-cookie"]
    assert "httponly" in cookie.lower()
    assert "samesite=lax" in cookie.lower()
    assert "secure" not in cookie.lower()
    second = opened.say("two")
    assert "set-cookie" not in second.headers
    opened.say("three")
    kinds = [(record.kind, record.identity) for record in reversed(opened.records(3))]
    assert kinds[0][0] == "address"
    assert kinds[1][0] == kinds[2][0] == "session"
    assert kinds[1] == kinds[2]
    assert str(kinds[1][1]).startswith("s1_")


def test_a_forged_cookie_is_nobody(site: Open) -> None:
    opened = site()
    opened.say("x", headers={"cookie": "safety_session=abc.def.ghi"})
    assert opened.records()[0].kind == "address"


def test_login_can_be_required(site: Open) -> None:
    opened = site(require_login=True)
    assert code(opened.say("hello")) == (401, "login_required")


def test_problem_details_are_given_where_asked(site: Open) -> None:
    opened = site()
    answer = opened.say(BAD, headers={"accept": "application/problem+json"})
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "content_blocked"


def test_self_harm_is_answered_with_care(site: Open) -> None:
    opened = site()
    answer = opened.say("[[self-harm]]")
    assert answer.status_code == 200
    assert answer.json()["care"]["resources"]
    assert opened.say("hello").status_code == 200
    assert opened.records(2)[0].tier == "new"


def test_an_error_of_the_app_stays_the_apps_own(site: Open) -> None:
    opened = site()
    assert opened.say("hello", "/chat/fails").status_code == 500
    assert opened.records()[0].notes.get("app_failed", True) is True
    assert opened.say("hello").status_code == 200


def test_the_error_page_of_a_flagged_turn_waits_for_the_verdict_like_any_reply(site: Open) -> None:
    opened = site(hold="reply")
    opened.fake.moderation_latency = 0.2
    assert code(opened.say(BAD, "/chat/fails")) == (400, "content_blocked")


def test_a_repeated_text_costs_no_second_call(site: Open) -> None:
    opened = site()
    for _ in range(3):
        assert opened.say("the same text").status_code == 200
    assert len(opened.fake.calls("/moderations")) == 1


@pytest.mark.parametrize(
    "path", ["/chat", "/%63hat", "//chat", "/%2Fchat", "/chat?x=1", "/chat/", "/./chat"]
)
def test_however_a_protected_path_is_written_flagged_text_never_reaches_its_handler(
    site: Open, path: str
) -> None:
    opened = site(hold="handler")
    answer = raw(opened, path, json.dumps({"message": BAD}).encode())
    assert opened.seen.bodies == []
    assert not answer.startswith(b"HTTP/1.1 200")


def test_mounted_routes_are_protected_by_their_full_template(site: Open) -> None:
    opened = site()
    assert code(opened.say(BAD, "/api/v1/chat")) == (400, "content_blocked")


def test_marked_endpoints_are_protected_and_exempt_ones_are_not(site: Open) -> None:
    opened = site({"routes": ("/chat", "/chat/*")})
    if not opened.marks:
        assert code(opened.say(BAD)) == (400, "content_blocked")
        return
    assert code(opened.say(BAD, "/marked")) == (400, "content_blocked")
    assert opened.say(BAD, "/chat/open").status_code == 200
    assert code(opened.say("too long", "/classed")) == (413, "input_too_long")
    assert opened.say("short", "/classed").status_code == 200


def test_methods_without_a_body_are_not_protected_unless_named(site: Open) -> None:
    opened = site()
    assert opened.http.get("/chat", params={"q": BAD}).status_code == 200
    assert opened.records(0) == []


def test_get_is_protected_where_it_is_named(site: Open) -> None:
    opened = site(methods=("GET", "POST"))
    assert code(opened.http.get("/chat", params={"q": BAD})) == (400, "content_blocked")
    assert opened.http.get("/chat", params={"q": "hello"}).status_code == 200


def test_words_split_over_fields_and_messages_are_found(site: Open) -> None:
    opened = site(moderation=False)
    parts = {
        "messages": [{"role": "user", "content": "mother"}, {"role": "user", "content": "fucker"}]
    }
    assert code(opened.http.post("/chat", json=parts)) == (400, "content_blocked")


def test_every_value_of_a_repeated_field_is_checked(site: Open) -> None:
    opened = site(hold="handler")
    for content, kind in (
        (b"message=%5B%5Bviolence%5D%5D&message=hello", "application/x-www-form-urlencoded"),
        (b"message=hello&message=%5B%5Bviolence%5D%5D", "application/x-www-form-urlencoded"),
        (b"hello [[violence]]", "text/plain"),
    ):
        answer = opened.http.post("/chat", content=content, headers={"content-type": kind})
        assert code(answer) == (400, "content_blocked")
    twice = b'{"message": "please explain [[violence]]", "message": "hello"}'
    assert code(opened.http.post("/chat", content=twice)) == (400, "unreadable_body")
    assert opened.seen.bodies == []


def test_no_user_text_or_secret_is_in_a_record(site: Open) -> None:
    opened = site()
    opened.say("a very private sentence")
    opened.say(BAD)
    shown = repr(opened.records(2))
    assert "private" not in shown
    assert "explain" not in shown
    assert "s" * 64 not in shown


def test_a_client_that_leaves_leaves_nothing_behind(site: Open) -> None:
    opened = site(hold="reply")
    opened.fake.token_interval = 0.02
    opened.fake.reply = ["piece " * 4000] * 500  # past any server's own buffer
    with opened.http.stream("POST", "/chat/stream", json={"message": "hello"}) as answer:
        next(answer.iter_raw())
    (call,) = opened.fake.calls("/chat/completions")
    opened.fake.wait_for(lambda: call.finished is not None, timeout=10)
    assert call.aborted
    assert opened.say("hello").status_code == 200


def test_two_hundred_turns_at_once_wait_for_their_verdicts_together(site: Open) -> None:
    opened = site(hold="reply")
    opened.fake.moderation_latency = 1.0
    workers = 16 if opened.framework == "flask" else 64  # waitress has 16 threads here
    began = time.monotonic()
    with ThreadPoolExecutor(workers) as pool, httpx.Client(timeout=30) as client:

        def say(number: int) -> httpx.Response:
            return client.post(f"{opened.url}/chat", json={"message": f"text {number}"})

        answers = list(pool.map(say, range(workers)))
    assert {answer.status_code for answer in answers} == {200}
    assert time.monotonic() - began < 3.0


def test_the_default_policy_is_that_of_the_documentation() -> None:
    policy = Policy()
    assert (policy.max_input_chars, policy.max_context_chars, policy.max_images) == (
        4_000,
        64_000,
        4,
    )
    assert (policy.limits, policy.anonymous_limits) == ("20/minute;300/day", "5/minute;50/day")


def raw(opened: Site, path: str, body: bytes) -> bytes:
    """Send a request whose path no client library has tidied, and read the head of the answer."""
    import socket

    host, _, port = opened.url.removeprefix("http://").partition(":")
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
    with socket.create_connection((host, int(port)), timeout=20) as wire:
        wire.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return wire.makefile("rb").read()
