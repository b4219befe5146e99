"""The way to the server: files, lists, ``write``, late starts; not one byte before the verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, Response, send_file
from werkzeug.test import create_environ
from werkzeug.wsgi import FileWrapper

from safety_middleware.testing import FakeOpenAI

Guard = Callable[..., Any]


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
