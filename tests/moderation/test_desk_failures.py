"""Every way the service can fail, over real sockets, in threads and in tasks."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import struct
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, TypeAlias, cast

import pytest

from safety_middleware.moderation import Desk, Question
from safety_middleware.moderation.backend import Endpoint
from safety_middleware.moderation.service import Service
from safety_middleware.moderation.transport import MAX_BODY
from safety_middleware.policy import CATEGORIES
from safety_middleware.testing import FakeOpenAI, Kind
from safety_middleware.verdict import Verdict

#: Asks all questions at once; gives verdicts, or the causes why there is none.
Ask: TypeAlias = Callable[..., list[Any]]
MakeDesk: TypeAlias = Callable[..., Desk]
#: Waits for a verdict, or the cause why there is none.
Outcome: TypeAlias = Callable[[Future[Verdict]], Any]


def head(status: str, *lines: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode()


def read_request(connection: socket.socket) -> bytes:
    """The head and body of one request; empty at the end of the connection."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65_536)
        if not piece:
            return b""
        data += piece
    top, _, body = data.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in top.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    )
    while len(body) < length:
        body += connection.recv(65_536)
    return top + b"\r\n\r\n" + body


class RawServer:
    """Answers by hand: one function gets each connection, in order."""

    def __init__(self, *handlers: Callable[[socket.socket], None]) -> None:
        self.connections = 0
        self._handlers: Sequence[Callable[[socket.socket], None]] = handlers
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        for handler in self._handlers:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                self.connections += 1
                handler(connection)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)


@contextmanager
def raw_server(*handlers: Callable[[socket.socket], None]) -> Generator[RawServer]:
    with closing(RawServer(*handlers)) as server:
        yield server


SECRET = "my secret words"
HELLO = Question(SECRET)


class Told:
    """What ``on_degraded`` was told."""

    def __init__(self) -> None:
        self.causes: list[str] = []

    def __call__(self, service: str, cause: str) -> None:
        assert service == "moderation"
        self.causes.append(cause)


GOOD = json.dumps(
    {
        "id": "modr-1",
        "model": "omni",
        "results": [
            {
                "flagged": False,
                "categories": dict.fromkeys(CATEGORIES, False),
                "category_scores": dict.fromkeys(CATEGORIES, 0.0),
            }
        ],
    }
).encode()


def good(*lines: str) -> bytes:
    return head("200 OK", f"Content-Length: {len(GOOD)}", *lines) + GOOD


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("reset", "connection"),
        ("truncated", "connection"),
        ("malformed", "malformed"),
        ("wrong_shape", "malformed"),
        ("html", "malformed"),
        ("empty", "empty"),
        ("hang", "timeout"),
    ],
)
def test_a_failure_is_no_verdict(
    ask: Ask, make: MakeDesk, fake: FakeOpenAI, kind: Kind, cause: str
) -> None:
    desk = make(fake.base_url, timeout=0.5)
    desk.start()
    fake.fail("/moderations", kind)
    began = time.perf_counter()
    assert ask(desk, HELLO) == [cause]
    assert time.perf_counter() - began < 1.5


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 418, 422, 429, 500, 503])
def test_a_status_that_is_no_success_is_no_verdict(
    ask: Ask, make: MakeDesk, fake: FakeOpenAI, status: int
) -> None:
    desk = make(fake.base_url)
    fake.fail("/moderations", status=status)
    assert ask(desk, HELLO) == [f"http_{status}"]
    again = status in {408, 409, 429} or status >= 500
    assert len(fake.requests) == 2 if again else 1


def test_a_short_answer_is_no_verdict_for_any_of_its_texts(
    ask: Ask, make: MakeDesk, fake: FakeOpenAI
) -> None:
    fake.moderation_latency = 0.05
    desk = make(fake.base_url, unbatched=1)
    fake.fail("/moderations", "short", when=lambda seen: isinstance(seen.body["input"], list))
    answers = ask(desk, *[Question(f"text {n}") for n in range(5)])
    assert isinstance(answers[0], Verdict)
    assert answers[1:] == ["short"] * 4


def test_a_long_text_fails_if_one_of_its_requests_does(
    ask: Ask, make: MakeDesk, fake: FakeOpenAI
) -> None:
    desk = make(fake.base_url, batch_texts=1)
    fake.fail("/moderations", "malformed", when=lambda seen: "[[hate]]" in seen.body["input"])
    assert ask(desk, Question("word " * 5_000 + "[[hate]]")) == ["malformed"]


@pytest.mark.parametrize("failure", [{"status": 500}, {"status": 429}, {"kind": "reset"}])
def test_one_failure_is_made_good_by_one_retry(
    ask: Ask, desk: Desk, fake: FakeOpenAI, failure: dict[str, Any]
) -> None:
    fake.fail("/moderations", **failure, times=1)
    [verdict] = ask(desk, HELLO)
    assert isinstance(verdict, Verdict)
    assert len(fake.requests) == 2


@pytest.mark.parametrize(
    "headers",
    [
        {"retry-after": "0.5"},
        {"retry-after-ms": "500", "retry-after": "60"},
        {"retry-after-ms": "soon", "retry-after": "0.5"},
    ],
)
def test_the_retry_waits_as_long_as_the_service_says(
    desk: Desk, fake: FakeOpenAI, headers: dict[str, str], outcome: Outcome
) -> None:
    fake.fail("/moderations", status=429, headers=headers, times=1)
    assert isinstance(outcome(desk.ask(HELLO)), Verdict)
    first, second = fake.calls("/moderations")
    assert 0.45 <= second.started - first.started < 2


def test_the_time_to_retry_may_be_a_date(desk: Desk, fake: FakeOpenAI, outcome: Outcome) -> None:
    past = format_datetime(datetime.now(UTC) - timedelta(minutes=1), usegmt=True)
    fake.fail("/moderations", status=503, headers={"retry-after": past}, times=1)
    assert isinstance(outcome(desk.ask(HELLO)), Verdict)
    first, second = fake.calls("/moderations")
    assert second.started - first.started < 0.5


@pytest.mark.parametrize("value", ["60", "1e400", "-1", "nan", "tomorrow"])
def test_no_time_to_retry_keeps_anyone_beyond_the_deadline(
    desk: Desk, fake: FakeOpenAI, value: str, outcome: Outcome
) -> None:
    fake.fail("/moderations", status=429, headers={"retry-after": value})
    began = time.perf_counter()
    assert outcome(desk.ask(HELLO)) == "http_429"
    assert time.perf_counter() - began < 2
    assert len(fake.requests) == (1 if value == "60" else 2)


def test_the_service_can_forbid_the_retry(desk: Desk, fake: FakeOpenAI, outcome: Outcome) -> None:
    fake.fail("/moderations", status=500, headers={"x-should-retry": "false"})
    assert outcome(desk.ask(HELLO)) == "http_500"
    assert len(fake.requests) == 1


def test_nobody_listening_is_no_verdict(ask: Ask, make: MakeDesk) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert ask(make(f"http://127.0.0.1:{port}/v1"), HELLO) == ["connection"]


def test_a_host_that_does_not_exist_is_no_verdict(ask: Ask, make: MakeDesk) -> None:
    assert ask(make("http://moderation.invalid/v1"), HELLO) == ["connection"]


def test_a_service_that_accepts_nothing_is_no_verdict_in_time(ask: Ask, make: MakeDesk) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        address = server.getsockname()
        fill = [socket.socket() for _ in range(4)]
        for client in fill:
            client.setblocking(False)
            client.connect_ex(address)
        desk = make(f"http://127.0.0.1:{address[1]}/v1", timeout=0.6)
        desk.start()
        began = time.perf_counter()
        assert ask(desk, HELLO)[0] in {"connection", "timeout"}
        assert time.perf_counter() - began < 1.5
        for client in fill:
            client.close()


def replies(*answers: bytes) -> Callable[[socket.socket], None]:
    def handle(connection: socket.socket) -> None:
        for answer in answers:
            if not read_request(connection):
                return
            connection.sendall(answer)
        while connection.recv(65_536):
            pass

    return handle


def test_a_kept_connection_that_had_died_is_replaced_at_once(
    make: MakeDesk, outcome: Outcome
) -> None:
    def dies_on_second(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(good())
        read_request(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with raw_server(dies_on_second, replies(good())) as server:
        desk = make(server.base_url)
        assert isinstance(outcome(desk.ask(Question("one"))), Verdict)
        began = time.perf_counter()
        assert isinstance(outcome(desk.ask(Question("two"))), Verdict)
        assert time.perf_counter() - began < 0.09  # less than the pause before other retries
        desk.close()


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (head("200 OK", f"Content-Length: {MAX_BODY + 1}") + b" " * (MAX_BODY + 1), "malformed"),
        (
            head("200 OK", "Content-Encoding: gzip", "Connection: close") + gzip.compress(GOOD),
            "malformed",
        ),
        (head("204 No Content"), "empty"),
        (
            head("301 Moved Permanently", "Location: http://127.0.0.1:1/", "Content-Length: 0"),
            "http_301",
        ),
        (head("307 Temporary Redirect", "Location: /v1/else", "Content-Length: 0"), "http_307"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "malformed"),
        (head("200 OK", *[f"X-{n}: {'x' * 9_000}" for n in range(3)]) + GOOD, "malformed"),
    ],
    ids=["endless", "gzip", "nothing", "moved", "redirect", "no-http", "endless-headers"],
)
def test_what_is_no_answer_is_no_verdict(
    make: MakeDesk, answer: bytes, cause: str, outcome: Outcome
) -> None:
    def handle(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(answer)

    with raw_server(handle) as server:
        desk = make(server.base_url)
        assert outcome(desk.ask(HELLO)) == cause
        desk.close()


def test_requests_go_through_the_proxy_of_the_environment(
    make: MakeDesk, monkeypatch: pytest.MonkeyPatch, outcome: Outcome
) -> None:
    seen: list[bytes] = []

    def proxy(connection: socket.socket) -> None:
        seen.append(read_request(connection))
        connection.sendall(good("Connection: close"))

    with raw_server(proxy) as server:
        monkeypatch.setenv("http_proxy", f"http://user:pass@127.0.0.1:{server.port}")
        monkeypatch.setenv("no_proxy", "")
        desk = make("http://moderation.invalid/v1")
        assert isinstance(outcome(desk.ask(HELLO)), Verdict)
        desk.close()
    assert seen[0].startswith(b"POST http://moderation.invalid/v1/moderations HTTP/1.1")
    assert b"Proxy-Authorization: Basic dXNlcjpwYXNz" in seen[0]


def test_the_breaker_opens_answers_at_once_and_closes_again(
    ask: Ask, make: MakeDesk, fake: FakeOpenAI
) -> None:
    told = Told()
    desk = make(fake.base_url, breaker_rest=0.3, on_degraded=told, unbatched=99)
    fake.fail("/moderations", "malformed")
    assert ask(desk, *[Question(f"{n}") for n in range(5)]) == ["malformed"] * 5
    assert told.causes == ["breaker_open"]
    seen = len(fake.requests)
    began = time.perf_counter()
    assert ask(desk, *[Question(f"{n}") for n in range(50)]) == ["breaker_open"] * 50
    assert time.perf_counter() - began < 0.3
    assert len(fake.requests) == seen
    fake.heal()
    fake.moderation_latency = 0.5  # the probe is under way while the others ask
    time.sleep(0.31)  # the rest itself is what passes here
    answers = ask(desk, *[Question(f"{n}") for n in range(10)])
    assert sum(isinstance(answer, Verdict) for answer in answers) == 1
    assert answers.count("breaker_open") == 9
    assert told.causes == ["breaker_open", "recovered"]
    assert isinstance(ask(desk, Question("after"))[0], Verdict)


def test_a_bad_text_does_not_open_the_breaker(ask: Ask, desk: Desk, fake: FakeOpenAI) -> None:
    fake.fail("/moderations", status=400)
    for n in range(10):
        assert ask(desk, Question(f"{n}")) == ["http_400"]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_key_is_shouted_about_once_a_minute(
    make: MakeDesk,
    fake: FakeOpenAI,
    caplog: pytest.LogCaptureFixture,
    status: int,
    outcome: Outcome,
) -> None:
    told = Told()
    desk = make(fake.base_url, on_degraded=told)
    with fake.fail("/moderations", status=status):
        for n in range(3):
            assert outcome(desk.ask(Question(f"{SECRET} {n}"))) == f"http_{status}"
    assert told.causes == [f"http_{status}"]
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    outcome(desk.ask(HELLO))
    assert told.causes[1:] == ["recovered"]


def test_without_a_key_nothing_is_asked_and_that_is_shouted(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, make: MakeDesk, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    told = Told()
    desk = make("https://api.openai.com/v1", api_key=None, on_degraded=told)
    assert ask(desk, Question("a"), Question("b")) == ["misconfigured"] * 2
    assert told.causes == ["misconfigured"]
    assert "OPENAI_API_KEY" in caplog.text


def test_a_hook_that_fails_costs_nobody_their_verdict(
    make: MakeDesk, fake: FakeOpenAI, caplog: pytest.LogCaptureFixture, outcome: Outcome
) -> None:
    def hook(*_: str) -> None:
        raise ValueError(SECRET)

    desk = make(fake.base_url, on_degraded=hook)
    with fake.fail("/moderations", status=401):
        assert outcome(desk.ask(HELLO)) == "http_401"
    assert isinstance(outcome(desk.ask(HELLO)), Verdict)
    assert "ValueError" in caplog.text
    assert SECRET not in caplog.text


def test_an_error_nobody_thought_of_is_no_verdict(
    ask: Ask,
    make: MakeDesk,
    fake: FakeOpenAI,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Transport:
        async def post(self, *_: object) -> None:
            raise ZeroDivisionError(SECRET)

        async def aclose(self) -> None:
            pass

    desk = make(fake.base_url)

    def open_broken(service: Service) -> Endpoint:
        return Endpoint(cast("Any", Transport()), service.budget)

    monkeypatch.setattr(Service, "open", open_broken)
    assert ask(desk, HELLO) == ["error"]
    assert "ZeroDivisionError" in caplog.text
    assert SECRET not in caplog.text


def test_neither_texts_nor_keys_are_logged(
    outcome: Outcome, make: MakeDesk, fake: FakeOpenAI, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    desk = make(fake.base_url, timeout=0.4)
    kinds: list[Kind] = ["status", "reset", "malformed", "hang", "html"]
    for n, kind in enumerate(kinds):
        with fake.fail("/moderations", kind, status=401):
            error = outcome(desk.ask(Question(f"{SECRET} {n}")))
            assert isinstance(error, str)
    everything = caplog.text + repr(desk) + repr(HELLO.images)
    assert SECRET not in everything
    assert "sk-secret" not in everything
