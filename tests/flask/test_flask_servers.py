"""Guarded apps on gunicorn's threads and on waitress, over real sockets."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
from flask import Flask, Response, request
from openai import OpenAI
from waitress.server import create_server

from safety_middleware.testing import FakeOpenAI

Guard = Callable[..., Any]

SOURCE = """
from flask import Flask, Response, request
from openai import OpenAI
from safety_middleware import Policy
from safety_middleware_flask import SafetyMiddleware
from safety_middleware.openai import guard_client

app = Flask(__name__)
OFF = {"limits": None, "anonymous_limits": None, "address_limits": None}
HOLDS = ("handler", "model", "reply")
SafetyMiddleware(app, routes={f"/{hold}/*": Policy(hold=hold) for hold in HOLDS}, **OFF)
client = guard_client(OpenAI(max_retries=0))

@app.post("/chat")
def plain():
    return "plain " + request.json["message"]

def echo():
    return request.get_data()

def stream():
    messages = [{"role": "user", "content": request.json["message"]}]

    def words():
        with client.chat.completions.create(model="m", messages=messages, stream=True) as pieces:
            for piece in pieces:
                if piece.choices:
                    yield piece.choices[0].delta.content or ""

    return Response(words())

for hold in HOLDS:
    app.add_url_rule(f"/{hold}/echo", f"{hold}_echo", echo, methods=["POST"])
    app.add_url_rule(f"/{hold}/stream", f"{hold}_stream", stream, methods=["POST"])
"""


@contextmanager
def waitress(app: Any) -> Generator[int]:
    """Serves *app* in a thread; gives the port."""
    server: Any = create_server(app, host="127.0.0.1", port=0, threads=8)
    stopping = threading.Event()

    def run() -> None:
        while not stopping.is_set():
            server.asyncore.loop(timeout=5, map=server._map, count=1)
        server.task_dispatcher.shutdown()
        server.asyncore.close_all(server._map)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield int(server.effective_port)
    finally:
        stopping.set()
        server.pull_trigger()
        thread.join(10)
        assert not thread.is_alive()


@contextmanager
def gunicorn(directory: Path) -> Generator[int]:
    """Serves the source above with 200 of gunicorn's threads; gives the port."""
    (directory / "served.py").write_text(SOURCE)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    process = subprocess.Popen(
        (
            *(sys.executable, "-m", "gunicorn", "-k", "gthread", "--threads", "200"),
            *("--bind", f"127.0.0.1:{port}", "--log-level", "warning", "served:app"),
        ),
        cwd=directory,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        deadline = time.monotonic() + 30
        while not listens(port):
            assert process.poll() is None, "gunicorn ended at once"
            assert time.monotonic() < deadline, "gunicorn does not listen"
            time.sleep(0.05)  # there is nothing to wait on but the port
        yield port
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@pytest.fixture(scope="module")
def shared() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "any")
        patch.setenv("OPENAI_BASE_URL", fake.base_url)
        patch.setenv("SAFETY_SECRET", "s" * 40)
        yield fake


@pytest.fixture(scope="module", params=["gunicorn", "waitress"])
def port(
    request: pytest.FixtureRequest, shared: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """The port of the app above, on one server after the other."""
    directory = tmp_path_factory.mktemp(request.param)
    if request.param == "gunicorn":
        with gunicorn(directory) as port:
            yield port
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        module: dict[str, Any] = {"__name__": "served"}
        exec(SOURCE, module)  # the same as gunicorn's
        app = module["app"]
        with waitress(app) as port:
            yield port
        module["client"].close()
        app.extensions["safety_middleware"].safety.close()


@pytest.fixture
def openai(shared: FakeOpenAI) -> FakeOpenAI:
    """The stand-in, as new."""
    shared.clear()
    shared.heal()
    shared.moderation_latency = shared.first_token_latency = shared.token_interval = 0.0
    return shared


def post(port: int, path: str, message: str) -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        body = json.dumps({"message": message})
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()


def raw(port: int, head: str, body: bytes = b"", *, half_close: bool = False) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode() + body)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        return answer


@pytest.mark.parametrize("hold", ["handler", "model", "reply"])
def test_flagged_messages_are_refused_and_clean_ones_stream(
    port: int, openai: FakeOpenAI, hold: str
) -> None:
    openai.moderation_latency = 0.1
    for path in ("echo", "stream"):
        status, body = post(port, f"/{hold}/{path}", "say UNSAFE")
        assert status == 400
        assert json.loads(body)["error"]["code"] == "content_blocked"
        status, body = post(port, f"/{hold}/{path}", "hello")
        assert status == 200
        assert b"hello" in body
    assert post(port, "/chat", "say UNSAFE") == (200, b"plain say UNSAFE")


def test_the_first_words_arrive_before_the_last_are_made(port: int, openai: FakeOpenAI) -> None:
    openai.token_interval = 0.02
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        body = json.dumps({"message": "hello"})
        connection.request("POST", "/reply/stream", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        first = answer.read1(10)
        assert first
        assert openai.calls("/chat/completions")[0].finished is None
        assert b"hello" in first + answer.read()


def test_a_client_that_leaves_ends_the_model_call(port: int, openai: FakeOpenAI) -> None:
    openai.token_interval = 0.05
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        body = json.dumps({"message": "hello"})
        connection.request("POST", "/reply/stream", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.read1(10)
        answer.close()
    openai.wait_for(lambda: openai.calls("/chat/completions")[0].aborted, timeout=10)
    assert post(port, "/chat", "hello")[0] == 200


@pytest.mark.parametrize(
    "path", ["//reply/echo", "/%2Freply/echo", "/%72eply/echo", "/reply/echo#/chat"]
)
def test_no_way_to_write_the_path_leads_past_the_guard(
    port: int, openai: FakeOpenAI, path: str
) -> None:
    body = b'{"message": "say UNSAFE"}'
    head = f"POST {path} HTTP/1.0\nContent-Type: application/json\nContent-Length: {len(body)}\n\n"
    answer = raw(port, head, body)
    assert b"UNSAFE" not in answer
    assert b" 400 " in answer.partition(b"\r\n")[0]


def test_chunked_bodies_are_checked_and_reach_the_app(port: int, openai: FakeOpenAI) -> None:
    head = (
        "POST /handler/echo HTTP/1.1\nHost: x\nConnection: close\n"
        "Content-Type: application/json\nTransfer-Encoding: chunked\n\n"
    )
    for text, status in ((b"UNSAFE", b"400"), (b"hello!", b"200")):
        answer = raw(port, head, b'B\r\n{"message":\r\n9\r\n"' + text + b'"}\r\n0\r\n\r\n')
        assert answer.split(b" ")[1] == status
        assert (b'{"message":"hello!"}' in answer) is (status == b"200")


def test_half_a_body_never_reaches_the_app(port: int, openai: FakeOpenAI) -> None:
    head = "POST /handler/echo HTTP/1.1\nHost: x\nConnection: close\nContent-Length: 100\n\n"
    answer = raw(port, head, b'{"message":"hello"}', half_close=True)
    assert b"hello" not in answer
    assert b" 200 " not in answer
    assert post(port, "/chat", "hello")[0] == 200


def test_two_hundred_turns_wait_for_moderation_side_by_side(
    request: pytest.FixtureRequest, port: int, openai: FakeOpenAI
) -> None:
    if "waitress" in request.node.callspec.id:
        pytest.skip("it has 8 threads")
    bare = asyncio.run(many(port, "/chat"))
    openai.moderation_latency = 1.0
    guarded = asyncio.run(many(port, "/handler/echo"))
    assert [status for status, _ in guarded.answers] == [400] + [200] * 199
    assert all(f"{n} " in text for n, (s, text) in enumerate(guarded.answers) if s == 200)
    calls = len(openai.calls("/moderations"))
    print(f"bare {bare.took:.2f} s, guarded {guarded.took:.2f} s, {calls} moderation calls")  # noqa: T201  # with -s
    assert 1.0 < guarded.took < 4.0  # 1.5 where nothing else runs, and 200 one after another


class Many(NamedTuple):
    answers: list[tuple[int, str]]
    took: float


async def many(port: int, path: str) -> Many:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", connector=connector) as client:

        async def turn(number: int) -> tuple[int, str]:
            message = f"{number} " + ("fine" if number else "UNSAFE")
            async with client.post(path, json={"message": message}) as answer:
                return answer.status, await answer.text()

        began = time.monotonic()
        answers = await asyncio.gather(*map(turn, range(200)))
        return Many(list(answers), time.monotonic() - began)


def test_nothing_is_left_in_the_process_of_streams_that_were_left(
    guard: Guard, fake: FakeOpenAI, model: OpenAI
) -> None:
    fake.token_interval = 0.02
    app = Flask("left")
    ended = threading.Semaphore(0)

    @app.post("/chat")
    def chat() -> Response:
        messages: Any = [{"role": "user", "content": request.json["message"]}]

        def words() -> Iterator[str]:
            try:
                with model.chat.completions.create(
                    model="m", messages=messages, stream=True
                ) as pieces:
                    yield from (p.choices[0].delta.content or "" for p in pieces if p.choices)
            finally:
                ended.release()

        return Response(words())

    site = guard(app, hold="reply")
    with waitress(app) as port:
        post(port, "/chat", "warm")
        assert ended.acquire(timeout=5)
        site.record()
        before = threading.active_count()
        for number in range(5):
            with socket.create_connection(("127.0.0.1", port), 10) as connection:
                body = json.dumps({"message": f"hello {number}"}).encode()
                head = f"POST /chat HTTP/1.0\r\nContent-Length: {len(body)}\r\n"
                connection.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
                assert connection.recv(1)
            assert ended.acquire(timeout=10)
            assert site.record().notes["disconnected"] is True
        assert threading.active_count() == before
