"""Replies: not one byte before the verdict, and otherwise as if nobody were there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, Response, g, request, send_file, session, stream_with_context
from openai import OpenAI
from werkzeug.test import create_environ
from werkzeug.wsgi import FileWrapper

from safety_middleware import ContentBlocked, Refusal, current_turn
from safety_middleware.testing import FakeOpenAI
from safety_middleware.turn import find_turn

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


# The way to the server


def test_observing_changes_nothing_and_records_everything(guard: Guard, fake: FakeOpenAI) -> None:
    app = Flask("observed")
    app.add_url_rule("/chat", "chat", lambda: Response(iter("abc")), methods=["POST"])
    site = guard(app, observe=True, limits_on=True, anonymous_limits="1/minute")
    for _ in range(2):
        reply = site.post("say UNSAFE")
        assert reply.text == "abc"
        assert set(reply.headers.keys()) == {"Content-Type"}
    records = [site.record() for _ in range(2)]
    assert [r.reason for r in records] == ["content_blocked", "rate_limited"]
    assert all(r.observed and r.status == 200 for r in records)


@pytest.mark.parametrize("settings", [{"observe": True}, {"hold": "reply"}, {"routes": []}])
def test_files_go_to_the_server_as_its_own_wrapper(
    guard: Guard, tmp_path: Any, gated: Any, settings: dict[str, Any]
) -> None:
    (tmp_path / "reply.txt").write_text("from a file")
    app = Flask("files")

    @app.post("/chat")
    def chat() -> Response:
        return send_file(tmp_path / "reply.txt")

    site = guard(app, **settings)
    environ = create_environ("/chat", method="POST", json={"message": "hello"})
    environ["wsgi.file_wrapper"] = FileWrapper
    with gated(site.app, environ) as (iterable, events):
        assert isinstance(iterable, FileWrapper)
        assert events[0][0] == "200 OK"
        assert b"".join(iterable) == b"from a file"
    assert iterable.file.closed
    if "routes" not in settings:
        assert "disconnected" not in site.record().notes


def test_an_unprotected_reply_is_the_apps_own_object(guard: Guard, gated: Any) -> None:
    app = Flask("plain")
    pieces = [b"a", b"b"]

    def raw(_: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return pieces

    app.wsgi_app = raw  # type: ignore[method-assign, assignment]  # as Flask's documentation does
    site = guard(app)
    with gated(site.app, create_environ("/raw")) as (iterable, _):
        assert iterable is pieces


class _Raw:
    """Changes how an app's reply is given."""

    def __init__(self, app: Any, *, way: str) -> None:
        self._app = app
        self._give = getattr(self, way)

    def __call__(self, environ: Any, start_response: Any) -> Any:
        if self._give == self.late:
            return self.late(environ, start_response)
        started: list[Any] = []
        write: list[Any] = []

        def start(*given: Any) -> Any:
            started.extend(given)
            if self._give != self.deferred:
                write.append(start_response(*given))
            return self

        pieces = list(self._app(environ, start))
        return self._give(pieces, start_response, started, *write)

    def late(self, environ: Any, start_response: Any) -> Iterator[bytes]:
        yield from self._app(environ, start_response)

    @staticmethod
    def deferred(pieces: list[bytes], start_response: Any, started: Any) -> Iterator[bytes]:
        start_response(*started)
        yield from pieces

    @staticmethod
    def as_list(pieces: list[bytes], *_: Any) -> Any:
        return pieces

    @staticmethod
    def iterator(pieces: list[bytes], *_: Any) -> Any:
        return iter(pieces)

    @staticmethod
    def slots(pieces: list[bytes], *_: Any) -> Any:
        return _Slots(pieces)

    @staticmethod
    def twice(pieces: list[bytes], start_response: Any, *_: Any) -> Any:
        start_response("200 OK", [])
        return pieces

    @staticmethod
    def replaced(_pieces: list[bytes], start_response: Any, *_: Any) -> Any:
        start_response("500 Mine", [], (LookupError, LookupError("mine"), None))
        return [b"replaced"]

    @staticmethod
    def write(pieces: list[bytes], _start: Any, _started: Any, write: Any) -> Any:
        for piece in pieces:
            write(piece)
        return []


class _Slots:
    __slots__ = ("_pieces", "closed")

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces
        self.closed = False

    def __len__(self) -> int:
        return len(self._pieces)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._pieces)

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("way", ["write", "late", "deferred", "as_list", "iterator", "slots"])
@pytest.mark.parametrize("hold", ["reply", "handler", "observe"])
def test_every_way_of_wsgi_to_answer_is_gated(
    guard: Guard, fake: FakeOpenAI, gated: Any, way: str, hold: str
) -> None:
    fake.moderation_latency = 0.1
    app = Flask("ways")
    app.add_url_rule("/chat", "chat", lambda: Response(iter(("re", "ply"))), methods=["POST"])
    app.wsgi_app = _Raw(app.wsgi_app, way=way)  # type: ignore[method-assign]
    observe = hold == "observe"
    site = guard(app, hold="reply" if observe else hold, observe=observe)
    for message, status in (("hello", "200"), ("UNSAFE", "200" if observe else "400")):
        environ = create_environ("/chat", method="POST", json={"message": message})
        with gated(site.app, environ) as (iterable, events):
            sent = b"".join(iterable)
            written = b"".join(event for event in events if isinstance(event, bytes))
        assert events[0][0].startswith(status)
        assert sum(isinstance(event, tuple) for event in events) == 1
        assert ((sent + written) == b"reply") is (status == "200")
        # behind a generator the app runs when its call has returned: there the verdict comes first
        assert site.record().status in {int(status), None if way == "late" else int(status)}


def test_an_app_that_calls_start_response_twice_is_told(
    guard: Guard, fake: FakeOpenAI, gated: Any
) -> None:
    fake.moderation_latency = 0.2
    app = Flask("ways")
    app.add_url_rule("/chat", "chat", lambda: "reply", methods=["POST"])
    app.wsgi_app = _Raw(app.wsgi_app, way="twice")  # type: ignore[method-assign]
    site = guard(app, hold="reply")
    environ = create_environ("/chat", method="POST", json={"message": "hello"})
    with pytest.raises(AssertionError, match="twice"), gated(site.app, environ):
        pass


@pytest.mark.parametrize("settings", [{"hold": "reply"}, {"hold": "handler"}, {"routes": []}])
def test_an_app_may_replace_what_it_started(
    guard: Guard, fake: FakeOpenAI, gated: Any, settings: dict[str, Any]
) -> None:
    fake.moderation_latency = 0.2
    app = Flask("ways")
    app.add_url_rule("/chat", "chat", lambda: "reply", methods=["POST"])
    app.wsgi_app = _Raw(app.wsgi_app, way="replaced")  # type: ignore[method-assign]
    site = guard(app, **settings)
    environ = create_environ("/chat", method="POST", json={"message": "hello"})
    with gated(site.app, environ) as (iterable, events):
        assert b"".join(iterable) == b"replaced"
    assert events[-1][0] == "500 Mine"
