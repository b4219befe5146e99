"""The app's own code around a reply: what comes before the view, errors, clean-up, contexts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, Response, g, request, stream_with_context
from openai import OpenAI

from safety_middleware import ContentBlocked, current_turn
from safety_middleware.testing import FakeOpenAI
from safety_middleware.turn import find_turn

Guard = Callable[..., Any]


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


# Where a model call comes before the view


def test_a_model_call_in_before_request_admits_first(
    guard: Guard, fake: FakeOpenAI, model: OpenAI
) -> None:
    app = talking(model)
    seen: list[str] = []

    @app.before_request
    def classify() -> None:
        seen.append(ask(model, "classify").choices[0].message.content)
        g.asked = True

    site = guard(app, hold="handler")
    assert site.post("say UNSAFE").status_code == 400
    assert not seen
    assert not fake.calls("/chat/completions")
    assert site.post("hello").status_code == 200
    assert len(fake.calls("/chat/completions")) == 2


def test_a_refusal_that_before_request_swallows_still_stands(guard: Guard, model: OpenAI) -> None:
    app = talking(model)

    @app.before_request
    def classify() -> None:
        try:
            ask(model, "classify")
        except ContentBlocked:
            g.swallowed = True

    site = guard(app, hold="handler")
    assert site.post("say UNSAFE").status_code == 400


def test_what_before_request_answers_is_the_apps_own_unless_it_is_a_reply(guard: Guard) -> None:
    app = Flask("before")
    app.add_url_rule("/chat", "chat", lambda: "view", methods=["POST"])
    answers: dict[str, Any] = {"302": ("", 302, {"Location": "/login"}), "200": "reply"}
    app.before_request(lambda: answers.get(request.headers.get("X-Answer", "")))
    site = guard(app)
    assert site.post("UNSAFE", headers={"X-Answer": "302"}).status_code == 302
    record = site.record()
    assert record.notes["not_admitted"] is True
    assert record.identity is None
    assert site.post("UNSAFE", headers={"X-Answer": "200"}).status_code == 400
    assert site.post("hello", headers={"X-Answer": "200"}).text == "reply"


def test_errors_of_before_request_are_the_apps_own(guard: Guard) -> None:
    app = Flask("before")
    app.add_url_rule("/chat", "chat", lambda: "view", methods=["POST"])

    @app.before_request
    def fail() -> None:
        raise LookupError("mine")

    site = guard(app)
    with pytest.raises(LookupError, match="mine"):
        site.post("UNSAFE")
    assert site.record().notes == {"not_admitted": True, "app_failed": True}
    app.testing = False
    assert site.post("UNSAFE").status_code == 500
    assert site.record().status == 500


# The app's own errors and its clean-up


@pytest.mark.parametrize("latency", [0.0, 0.2])
def test_errors_of_the_view_and_of_the_stream_are_raised_as_they_are(
    guard: Guard, fake: FakeOpenAI, latency: float
) -> None:
    fake.moderation_latency = latency
    app = Flask("failing")
    closed: list[str] = []

    @app.post("/chat")
    def chat() -> str:
        raise LookupError("mine")

    @app.post("/chat/stream")
    def stream() -> Response:
        def words() -> Iterator[str]:
            try:
                raise LookupError("mine")
                yield ""
            finally:
                closed.append("generator")

        response = Response(words())
        response.call_on_close(lambda: closed.append("response"))
        return response

    site = guard(app, hold="reply")
    for path in ("/chat", "/chat/stream"):
        with pytest.raises(LookupError, match="mine"):
            site.post(f"hello {path}", path)
        assert site.record().notes["app_failed"] is True
    assert closed == ["generator", "response"]


def test_errors_of_unprotected_views_are_not_touched(guard: Guard) -> None:
    app = Flask("failing")

    @app.get("/other")
    def other() -> str:
        raise LookupError("mine")

    site = guard(app)
    with pytest.raises(LookupError, match="mine"):
        site.client.get("/other")
    assert site.no_record()


def test_groups_of_refusals_are_refusals(guard: Guard, fake: FakeOpenAI) -> None:
    fake.moderation_latency = 0.1
    app = Flask("groups")

    @app.post("/chat")
    def chat() -> str:
        blocked = ContentBlocked(current_turn().admitted.result())
        raise ExceptionGroup("several", [blocked, blocked])

    site = guard(app, hold="reply")
    assert site.post("say UNSAFE").status_code == 400
    with pytest.raises(ExceptionGroup):  # nothing was refused
        site.post("hello")


def test_a_refusal_raised_after_the_view_is_still_the_refusal(
    guard: Guard, fake: FakeOpenAI
) -> None:
    fake.moderation_latency = 0.1
    app = Flask("after")
    app.add_url_rule("/chat", "chat", lambda: "view", methods=["POST"])

    @app.after_request
    def call(response: Response) -> Response:
        decision = current_turn().admitted.result()
        if not decision.allowed:
            raise ContentBlocked(decision)
        return response

    site = guard(app, hold="reply")
    assert site.post("say UNSAFE").status_code == 400
    assert site.record().reason == "content_blocked"


def test_a_refused_reply_is_closed_with_its_turn(guard: Guard, fake: FakeOpenAI) -> None:
    fake.moderation_latency = 0.2
    closed: list[bool] = []
    app = Flask("closing")

    @app.post("/chat")
    def chat() -> Response:
        response = Response(iter("abc"))
        response.call_on_close(lambda: closed.append(find_turn() is not None))
        return response

    site = guard(app, hold="reply")
    assert site.post("say UNSAFE").status_code == 400
    assert closed == [True]
    assert site.post("hello").text == "abc"
    assert closed == [True, True]


def test_a_client_that_leaves_is_on_record(guard: Guard, fake: FakeOpenAI) -> None:
    app = Flask("leaving")
    app.add_url_rule("/chat", "chat", lambda: Response(iter("abc")), methods=["POST"])
    site = guard(app)
    with site.client.post("/chat", json={"message": "hello"}):
        pass
    assert site.record().notes["disconnected"] is True


# The turn's place in the thread's context


def test_the_turn_is_there_wherever_the_app_runs_and_nowhere_else(guard: Guard) -> None:
    seen: dict[str, bool] = {}
    app = Flask("contexts")

    def note(place: str) -> None:
        seen[place] = find_turn() is not None

    app.before_request(lambda: note("before"))

    @app.teardown_request
    def end(_: BaseException | None) -> None:
        note("teardown")

    @app.after_request
    def after(response: Response) -> Response:
        note("after")
        response.call_on_close(lambda: note("close"))
        return response

    @app.post("/chat")
    async def chat() -> Response:
        note("view")

        def words() -> Iterator[str]:
            note("first")
            yield "a"
            note("second")
            yield "b"

        return Response(words())

    site = guard(app)
    with site.client.post("/chat", json={"message": "hello"}) as reply:
        for _ in reply.response:
            assert find_turn() is None
    assert find_turn() is None
    assert seen == dict.fromkeys(
        ("before", "view", "after", "teardown", "first", "second", "close"), True
    )


def test_stream_with_context_keeps_the_request_to_the_end(guard: Guard) -> None:
    app = Flask("contexts")

    @app.post("/chat")
    def chat() -> Response:
        def words() -> Iterator[str]:
            yield request.path
            yield current_turn().route.name

        return Response(stream_with_context(words()))

    assert guard(app).post().text == "/chat/chat"
