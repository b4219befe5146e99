"""Flagged messages get the refusal in every hold, early or late, and clean ones the reply."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, Response, request, session, stream_with_context
from openai import OpenAI

from safety_middleware import ContentBlocked, Refusal
from safety_middleware.testing import FakeOpenAI

Guard = Callable[..., Any]
HOLDS = pytest.mark.parametrize("hold", ["handler", "model", "reply"])


def ask(model: OpenAI, text: str, **options: Any) -> Any:
    create: Any = model.chat.completions.create
    messages = [{"role": "user", "content": text}]
    return create(model="m", messages=messages, **options)


def talking(model: OpenAI) -> Flask:
    """An app that answers with the model's words: whole, streamed, and streamed late."""
    app = Flask("talking")

    @app.post("/chat")
    def chat() -> str:
        return str(ask(model, request.json["message"]).choices[0].message.content)

    @app.post("/chat/stream")
    def stream() -> Response:
        return Response(_words(ask(model, request.json["message"], stream=True)))

    @app.post("/chat/late")
    def late() -> Response:
        def words() -> Iterator[str]:
            yield ""
            yield from _words(ask(model, request.json["message"], stream=True))

        return Response(stream_with_context(words()))

    return app


def _words(stream: Any) -> Iterator[str]:
    with stream:
        for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content


@HOLDS
@pytest.mark.parametrize("path", ["/chat", "/chat/stream", "/chat/late"])
def test_a_flagged_message_gets_the_refusal_and_no_byte_of_the_reply(
    guard: Guard, fake: FakeOpenAI, model: OpenAI, hold: str, path: str
) -> None:
    fake.moderation_latency = 0.2
    site = guard(talking(model), hold=hold)
    site.post("hello", path)
    site.record()
    fake.clear()
    reply = site.post("say UNSAFE", path)
    assert reply.status_code == 400
    assert reply.json["error"]["code"] == "content_blocked"
    record = site.record()
    assert (record.reason, record.status, record.hold) == ("content_blocked", 400, hold)
    if hold != "reply":
        assert not fake.calls("/chat/completions")


@HOLDS
@pytest.mark.parametrize("path", ["/chat", "/chat/stream", "/chat/late"])
def test_a_clean_message_gets_the_reply_under_its_identity(
    guard: Guard, fake: FakeOpenAI, model: OpenAI, hold: str, path: str
) -> None:
    fake.moderation_latency = 0.1
    site = guard(talking(model), hold=hold, max_output_tokens=77, user=lambda: "ann")
    reply = site.post("hello there", path)
    assert reply.text.startswith("You said: hello there")
    (call,) = fake.calls("/chat/completions")
    assert call.body["safety_identifier"] == site.safety.identify(user="ann")[0].safety_identifier
    assert call.body["max_completion_tokens"] == 77
    record = site.record()
    assert (record.action, record.status, record.guarded_calls) == ("allow", 200, 1)


def test_a_blocking_model_call_is_ended_when_the_verdict_comes(
    guard: Guard, fake: FakeOpenAI, model: OpenAI
) -> None:
    fake.moderation_latency = 0.2
    fake.first_token_latency = 5.0
    site = guard(talking(model), hold="reply")
    began = time.monotonic()
    assert site.post("say UNSAFE").status_code == 400
    assert time.monotonic() - began < 2
    fake.wait_for(lambda: fake.calls("/chat/completions")[0].aborted)
    assert site.record().aborted_calls == 1


def test_streaming_apps_open_their_model_call_while_the_verdict_is_out(
    guard: Guard, fake: FakeOpenAI, model: OpenAI
) -> None:
    fake.moderation_latency = fake.first_token_latency = 0.5
    site = guard(talking(model), hold="reply")
    began = time.monotonic()
    site.post("hello", "/chat/late")
    called, asked = fake.calls("/chat/completions")[0], fake.calls("/moderations")[0]
    assert abs(called.started - asked.started) < 0.4
    assert time.monotonic() - began < 0.95
    assert site.record().added_wait_ms < 450


def test_the_first_byte_leaves_before_the_last_is_made(guard: Guard) -> None:
    app = Flask("slow")
    made: list[str] = []

    @app.post("/chat")
    def chat() -> Response:
        def words() -> Iterator[str]:
            for word in "abc":
                made.append(word)
                yield word

        return Response(words())

    site = guard(app, hold="reply")
    with site.client.post("/chat", json={"message": "hello"}) as reply:
        pieces = iter(reply.response)
        assert next(pieces) == b"a"
        assert made == ["a"]
        assert b"".join(pieces) == b"bc"
    assert site.record().status == 200


def test_moderation_that_is_away_closes_every_hold(guard: Guard, fake: FakeOpenAI) -> None:
    fake.fail("/moderations", "status", status=500)
    for hold in ("handler", "reply"):
        app = Flask("closed")
        app.add_url_rule("/chat", "chat", lambda: "ok", methods=["POST"])
        reply = guard(app, hold=hold).post()
        assert reply.status_code == 503
        assert int(reply.headers["Retry-After"]) > 0


# Refusals


def test_an_early_refusal_goes_through_the_apps_after_request(guard: Guard) -> None:
    app = Flask("cors")
    app.secret_key = "k" * 32
    app.add_url_rule("/chat", "chat", lambda: "ok", methods=["POST"])

    @app.before_request
    def begin() -> None:
        session["seen"] = True

    @app.after_request
    def finish(response: Response) -> Response:
        response.headers["Access-Control-Allow-Origin"] = "*"
        response.headers["X-Own"] = "yes"
        return response

    reply = guard(app, hold="handler").post("say UNSAFE")
    assert reply.status_code == 400
    assert (reply.headers["Access-Control-Allow-Origin"], reply.headers["X-Own"]) == ("*", "yes")
    assert any(c.startswith("session=") for c in reply.headers.getlist("Set-Cookie"))


def test_a_late_refusal_keeps_only_headers_that_hold_nothing_of_the_reply(
    guard: Guard, fake: FakeOpenAI
) -> None:
    fake.moderation_latency = 0.2
    app = Flask("cors")
    app.secret_key = "k" * 32

    @app.post("/chat")
    def chat() -> Any:
        session["reply"] = "unchecked"
        return "unchecked", {
            "Access-Control-Allow-Origin": "*",
            "Vary": "Origin",
            "X-Reply": "unchecked",
            "ETag": "unchecked",
        }

    reply = guard(app, hold="reply").post("say UNSAFE")
    assert reply.status_code == 400
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert "Origin" in reply.headers["Vary"]
    assert "X-Reply" not in reply.headers
    assert "ETag" not in reply.headers
    assert all(c.startswith("safety_session=") for c in reply.headers.getlist("Set-Cookie"))
    assert "unchecked" not in str(reply.headers)


def test_a_late_refusal_to_head_has_no_body(guard: Guard, fake: FakeOpenAI) -> None:
    fake.moderation_latency = 0.2
    app = Flask("head")
    app.add_url_rule("/chat", "chat", lambda: "ok")
    site = guard(app, hold="reply", methods=("GET",))
    reply = site.client.head("/chat?message=UNSAFE")
    assert (reply.status_code, reply.data) == (400, b"")


def test_operators_may_render_refusals_themselves(guard: Guard) -> None:
    app = Flask("own")
    app.add_url_rule("/chat", "chat", lambda: "ok", methods=["POST"])

    def render(decision: Any, _: str) -> Refusal:
        return Refusal(418, (("Content-Type", "text/plain"),), decision.reason.value.encode())

    reply = guard(app, refusal=render).post("say UNSAFE")
    assert (reply.status_code, reply.text) == (418, "content_blocked")


def test_problem_details_are_given_where_they_are_asked_for(guard: Guard) -> None:
    app = Flask("problem")
    app.add_url_rule("/chat", "chat", lambda: "ok", methods=["POST"])
    reply = guard(app).post("UNSAFE", headers={"Accept": "application/problem+json"})
    assert reply.content_type == "application/problem+json"


def test_an_app_that_handles_all_errors_still_gives_the_refusal(
    guard: Guard, fake: FakeOpenAI, model: OpenAI
) -> None:
    fake.moderation_latency = 0.2
    app = talking(model)

    @app.errorhandler(Exception)
    def mine(_: Exception) -> Any:
        return "mine", 500

    @app.post("/chat/swallow")
    def swallow() -> str:
        try:
            ask(model, request.json["message"])
        except ContentBlocked:
            return "swallowed"
        return "answered"

    site = guard(app, hold="reply")
    assert site.post("say UNSAFE").status_code == 400
    assert site.post("say UNSAFE", "/chat/swallow").status_code == 400
    assert site.post("hello", "/chat/swallow").text == "answered"
