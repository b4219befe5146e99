"""The body is read to be checked, and the app reads the very same bytes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, Request, request
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import Headers, ImmutableMultiDict
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.test import create_environ

from safety_middleware import SettingsError
from safety_middleware.errors import BadInput
from safety_middleware_flask._input import Input

Guard = Callable[..., Any]
UNSAFE = b'{"message": "say UNSAFE"}'
SAFE = b'{"message": "say hello"}'


def data() -> bytes:
    return request.get_data()


def stream() -> bytes:
    return request.stream.read()


def raw() -> bytes:
    return bytes(request.environ["wsgi.input"].read())


def raw_line() -> bytes:
    return bytes(request.environ["wsgi.input"].readline())


def app_with(view: Callable[[], Any]) -> Flask:
    app = Flask("bodies")
    app.add_url_rule("/chat", "chat", view, methods=["POST"])
    return app


@pytest.fixture
def app() -> Flask:
    return app_with(raw)


@pytest.mark.parametrize(
    "read",
    [
        data,
        stream,
        lambda: b"".join(iter(lambda: request.stream.read(3), b"")),
        lambda: b"".join(request.stream),
        lambda: b"".join(request.environ["wsgi.input"]),
        lambda: b"".join(request.environ["wsgi.input"].readlines()),
        lambda: (request.json and None) or request.get_data(),
    ],
)
def test_the_app_reads_what_was_sent(guard: Guard, read: Callable[[], bytes]) -> None:
    body = b'{"message":\n "hello",\n\n "more": [1, 2]}\n'
    site = guard(app_with(read))
    assert site.client.post("/chat", data=body, content_type="application/json").data == body


@pytest.mark.parametrize(
    "early",
    [
        data,
        lambda: request.json,
        lambda: request.stream.read(5),
        raw_line,
    ],
)
def test_what_a_before_request_function_read_is_checked_too(
    guard: Guard, early: Callable[[], Any]
) -> None:
    seen: list[Any] = []
    app = app_with(raw)
    app.before_request(lambda: seen.append(early()))
    site = guard(app)
    send = {"content_type": "application/json"}
    assert site.client.post("/chat", data=UNSAFE, **send).status_code == 400
    reply = site.client.post("/chat", data=SAFE, **send)
    assert reply.status_code == 200
    if isinstance(seen[1], bytes):
        assert seen[1] + reply.data == SAFE


def test_a_body_read_before_anything_of_flasks_is_checked_if_it_was_kept(guard: Guard) -> None:
    app = app_with(data)
    keep = True
    original = app.request_context

    def early(environ: Any) -> Any:
        context = original(environ)
        context.request.get_data(cache=keep)
        return context

    app.request_context = early  # type: ignore[method-assign]
    site = guard(app)
    assert site.post("UNSAFE").status_code == 400
    assert site.post("hello").status_code == 200
    keep = False
    assert site.client.post("/chat").status_code == 200  # there is nothing to be read
    with pytest.raises(SettingsError, match="used up"):
        site.post("hello")


def test_forms_are_read_by_the_apps_own_parser_too(guard: Guard) -> None:
    app = Flask("forms")

    @app.post("/chat")
    def chat() -> str:
        files = [(f.filename, f.read().decode()) for f in request.files.values()]
        return f"{request.form['message']} {files}"

    site = guard(app)
    post = site.client.post
    assert post("/chat", data={"message": "hello"}).text == "hello []"
    assert post("/chat", data={"message": "UNSAFE"}).status_code == 400
    kind = "multipart/form-data; boundary=b"
    upload = (
        b'--b\r\nContent-Disposition: form-data; name="message"\r\n\r\nsee\r\n--b\r\n'
        b'Content-Disposition: form-data; name="file"; filename="a.txt"\r\n'
        b"Content-Type: text/plain\r\n\r\na text\r\n--b--\r\n"
    )
    assert post("/chat", data=upload, content_type=kind).text == "see [('a.txt', 'a text')]"
    upload = upload.replace(b"a text", b"UNSAFE")
    assert post("/chat", data=upload, content_type=kind).status_code == 400


def test_fields_that_only_the_apps_parser_finds_are_checked(guard: Guard) -> None:
    class Odd(FormDataParser):
        def parse(self, *arguments: Any, **options: Any) -> Any:
            stream, form, files = super().parse(*arguments, **options)
            return stream, ImmutableMultiDict({k: v[::-1] for k, v in form.items()}), files

    class OddRequest(Request):
        form_data_parser_class = Odd

    app = Flask("odd")
    app.request_class = OddRequest
    app.add_url_rule("/chat", "chat", lambda: request.form["m"], methods=["POST"])
    site = guard(app)
    assert site.client.post("/chat", data={"m": "EFASNU"}).status_code == 400
    assert site.client.post("/chat", data={"m": "olleh"}).text == "hello"


def test_a_body_that_is_too_long_is_refused_before_it_is_read(guard: Guard, app: Flask) -> None:
    site = guard(app, max_body_bytes=10)
    stream = io.BytesIO(b"x" * 11)
    reply = site.client.post("/chat", input_stream=stream, content_length=11)
    assert reply.status_code == 413
    assert stream.tell() == 0


def test_a_chunked_body_is_read_no_further_than_the_limit(guard: Guard, app: Flask) -> None:
    site = guard(app, max_body_bytes=10)
    stream = io.BytesIO(b"x" * 100)
    environ = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    reply = site.client.post("/chat", input_stream=stream, environ_overrides=environ)
    assert reply.status_code == 413
    assert stream.tell() <= 11


def test_a_chunked_body_reaches_the_app_whole(guard: Guard, app: Flask) -> None:
    site = guard(app)
    environ = {
        "wsgi.input_terminated": True,
        "HTTP_TRANSFER_ENCODING": "chunked",
        "CONTENT_TYPE": "application/json",
    }
    for body, status in ((SAFE, 200), (UNSAFE, 400)):
        stream = io.BytesIO(body)
        reply = site.client.post("/chat", input_stream=stream, environ_overrides=environ)
        assert reply.status_code == status
    assert site.no_record() is False


def test_a_truncated_body_never_reaches_the_app(guard: Guard, app: Flask) -> None:
    site = guard(app)
    for terminated in ({}, {"wsgi.input_terminated": True}):
        reply = site.client.post(
            "/chat",
            input_stream=io.BytesIO(SAFE),
            environ_overrides={
                "CONTENT_LENGTH": str(len(SAFE) + 5),
                "CONTENT_TYPE": "application/json",
                **terminated,
            },
        )
        assert reply.status_code == 400
        assert reply.json["error"]["code"] == "unreadable_body"
        assert site.record().notes["disconnected"] is True


def test_the_apps_own_limit_stays_its_own_answer(guard: Guard) -> None:
    app = app_with(data)
    app.config["MAX_CONTENT_LENGTH"] = 30

    @app.errorhandler(RequestEntityTooLarge)
    def mine(_: Any) -> Any:
        return "mine", 413

    @app.post("/chat/large")
    def large() -> bytes:
        request.max_content_length = 1000
        return request.get_data()

    site = guard(app)
    long = "hello " * 10
    assert (site.post(long).text, site.post("hi").status_code) == ("mine", 200)
    assert site.post(long, "/chat/large").status_code == 200
    form = {"data": {"message": long}}
    assert site.client.post("/chat/large", **form).status_code == 200


def test_observing_leaves_even_a_broken_body_to_the_app(guard: Guard) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            piece = super().read(size)
            if not piece:
                raise OSError("the line is gone")
            return piece

    app = Flask("observed")

    @app.post("/chat")
    def chat() -> Any:
        there = request.environ["wsgi.input"]
        first = there.read(100)
        with pytest.raises(OSError, match="the line is gone"):
            there.read(1)
        with pytest.raises(OSError, match="the line is gone"):
            there.readline()
        return first

    site = guard(app, observe=True)
    environ = {"wsgi.input_terminated": True, "CONTENT_LENGTH": "100"}
    reply = site.client.post("/chat", input_stream=Broken(SAFE), environ_overrides=environ)
    assert reply.data == SAFE
    assert site.record().reason == "unreadable_body"


def test_observing_leaves_even_an_endless_body_to_the_app(guard: Guard, app: Flask) -> None:
    site = guard(app, observe=True, max_body_bytes=10)
    environ = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    body = b"one\n" * 10
    reply = site.client.post("/chat", input_stream=io.BytesIO(body), environ_overrides=environ)
    assert reply.data == body
    assert site.record().reason == "body_too_large"


def test_the_callers_environ_is_left_as_it_was(guard: Guard, app: Flask, gated: Any) -> None:
    site = guard(app)
    environ = create_environ("/chat", method="POST", data=SAFE, content_type="application/json")
    stream = environ["wsgi.input"]
    for _ in range(2):
        stream.seek(0)
        with gated(site.app, environ) as (iterable, _events):
            assert b"".join(iterable) == SAFE
        assert environ["wsgi.input"] is stream


def test_headers_and_environ_of_the_apps_request_stay_one(guard: Guard) -> None:
    app = Flask("headers")

    @app.post("/chat")
    def chat() -> str:
        request.environ["HTTP_X_OWN"] = "set"
        return request.headers["X-Own"] + str(request.environ["wsgi.input"].closed)

    assert guard(app).post().text == "setFalse"


def test_a_request_class_may_have_headers_of_its_own(guard: Guard) -> None:
    class Own(Request):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.headers = Headers(self.headers)

    app = app_with(lambda: type(request.headers).__name__)
    app.request_class = Own
    assert guard(app).post().text == "Headers"


# The stream by itself

CALLS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.one_of(st.none(), st.integers(-1, 9))),
        st.tuples(st.just("readline"), st.one_of(st.none(), st.integers(-1, 9))),
        st.tuples(st.just("readinto"), st.integers(0, 9)),
        st.tuples(st.just("readlines"), st.one_of(st.none(), st.integers(0, 9))),
    ),
    max_size=8,
)


def _do(stream: Any, call: tuple[str, Any]) -> Any:
    name, argument = call
    if name == "readinto":
        buffer = bytearray(argument)
        return bytes(buffer[: stream.readinto(buffer)])
    return getattr(stream, name)(argument)


@given(
    body=st.lists(st.sampled_from([b"a", b"bc", b"\n"]), max_size=20).map(b"".join),
    before=CALLS,
    after=CALLS,
    terminated=st.booleans(),
)
def test_reading_ahead_can_not_be_told(
    body: bytes, before: list[Any], after: list[Any], terminated: bool
) -> None:
    plain = io.BytesIO(body)
    environ: dict[str, Any] = {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
    if terminated:
        environ["wsgi.input_terminated"] = True
    stream = Input(environ, 1_000)
    for call in before:
        assert _do(stream, call) == _do(plain, call)
    assert stream.read_body() == body
    for call in (*after, ("read", -1)):
        assert _do(stream, call) == _do(plain, call)
    assert stream.read() == b""


@given(
    body=st.binary(max_size=30),
    taken=st.integers(0, 30),
    limit=st.integers(0, 30),
    declared=st.booleans(),
)
def test_a_limit_is_kept_whoever_reads(body: bytes, taken: int, limit: int, declared: bool) -> None:
    environ: dict[str, Any] = {"wsgi.input": io.BytesIO(body), "wsgi.input_terminated": True}
    if declared:
        environ["CONTENT_LENGTH"] = str(len(body))
    stream = Input(environ, limit)
    read = stream.read(taken)
    if len(body) <= limit:
        assert stream.read_body() == body
    else:
        with pytest.raises(BadInput, match="body_too_large"):
            stream.read_body()
    assert read + stream.read() == body


def test_lines_are_given_up_to_a_hint() -> None:
    stream = Input({"wsgi.input": io.BytesIO(b"a\nb\nc\n"), "CONTENT_LENGTH": "6"}, 10)
    assert stream.readlines(3) == [b"a\n", b"b\n"]
    assert stream.read_body() == b"a\nb\nc\n"
    assert stream.readlines() == [b"c\n"]


def test_without_a_length_and_an_end_nothing_is_read() -> None:
    endless: Iterator[bytes] = iter(())
    assert Input({"wsgi.input": endless}, 10).read_body() == b""
