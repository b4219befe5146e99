"""The desk's work on one loop, where threads and endings meet it half-way."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from safety_middleware.errors import ModerationUnavailable
from safety_middleware.moderation import Desk, DeskSettings, Question
from safety_middleware.moderation.backend import Endpoint
from safety_middleware.moderation.breaker import Breaker
from safety_middleware.moderation.line import Line
from safety_middleware.moderation.service import Service
from safety_middleware.moderation.thread import LoopThread
from safety_middleware.moderation.transport import Input, Reply
from safety_middleware.testing import FakeOpenAI
from safety_middleware.verdict import Verdict, wait

MakeDesk: TypeAlias = Callable[..., Desk]
#: Waits for a verdict, or the cause why there is none.
Outcome: TypeAlias = Callable[[Future[Verdict]], Any]


class Silent:
    """A transport that never answers."""

    def __init__(self) -> None:
        self.asked: list[Input] = []

    async def post(self, asked: Input, seconds: float) -> Reply:
        self.asked.append(asked)
        never: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        return await never

    async def aclose(self) -> None:
        pass


@pytest.fixture
def transport(monkeypatch: pytest.MonkeyPatch) -> Silent:
    silent = Silent()

    def open_it(service: Service) -> Endpoint:
        return Endpoint(silent, service.budget)

    monkeypatch.setattr(Service, "open", open_it)
    return silent


def nothing() -> None:
    pass


def test_of_two_threads_that_ask_after_the_rest_one_is_the_probe(
    transport: Silent, outcome: Outcome
) -> None:
    now = 0.0
    service = Service(DeskSettings(), None)
    service.breaker = Breaker(1, 30.0, 15.0, lambda: now)
    service.failed("timeout")
    now = 15.0

    async def main() -> list[Future[Verdict]]:
        line = Line(service, nothing)
        futures = [line.ask(None, Question(text), here=False) for text in "ab"]
        await asyncio.sleep(0.01)
        return futures

    probe, other = asyncio.run(main())
    assert transport.asked == ["a"]
    assert outcome(other) == "breaker_open"
    assert outcome(probe) == "closed"


def test_asking_a_line_that_has_ended_is_answered(transport: Silent, outcome: Outcome) -> None:
    async def main() -> tuple[Line, Future[Verdict]]:
        line = Line(Service(DeskSettings(), None), nothing)
        early = line.ask(None, Question("handed over but not begun"), here=False)
        await line.aclose()
        late = line.ask(None, Question("handed over too late"), here=False)
        await asyncio.sleep(0.01)
        assert outcome(late) == "closed"
        return line, early

    line, early = asyncio.run(main())
    assert outcome(early) == "closed"
    assert outcome(line.ask(b"key", Question("the loop is closed"), here=False)) == "closed"
    assert not transport.asked


def test_a_question_asked_again_after_its_deadline_is_not_mixed_up_with_the_first(
    transport: Silent, outcome: Outcome
) -> None:
    async def main() -> tuple[Future[Verdict], Future[Verdict]]:
        line = Line(Service(DeskSettings(timeout=0.05), None), nothing)
        first = line.ask(b"key", Question("hello"), here=True)
        with suppress(ModerationUnavailable):
            await wait(first)
        second = line.ask(b"key", Question("hello"), here=True)
        await asyncio.sleep(0.01)  # the first one's call has ended by now, too
        assert line.ask(b"key", Question("hello"), here=True) is second
        return first, second

    first, second = asyncio.run(main())
    assert (outcome(first), outcome(second)) == ("timeout", "closed")


def test_what_timed_out_while_texts_were_gathered_is_not_sent(
    transport: Silent, outcome: Outcome
) -> None:
    service = Service(DeskSettings(timeout=0.05, gather=0.1, unbatched=1), None)
    service.meter.took(10.0)

    async def main() -> list[Future[Verdict]]:
        line = Line(service, nothing)
        futures = [line.ask(None, Question(text), here=True) for text in ("sent", "gathered")]
        await asyncio.sleep(0.2)
        return futures

    assert [outcome(future) for future in asyncio.run(main())] == ["timeout", "timeout"]
    assert transport.asked == ["sent"]


def thread_of(desk: Desk) -> LoopThread:
    thread = desk._thread  # pyright: ignore[reportPrivateUsage]  # there is no other way to it
    assert thread
    return thread


def test_a_fork_leaves_the_running_thread_to_the_parent(
    make: MakeDesk, fake: FakeOpenAI, outcome: Outcome
) -> None:
    desk = make(fake.base_url)
    desk.start_afresh()
    assert isinstance(outcome(desk.ask(Question("one"))), Verdict)
    inherited = thread_of(desk)
    desk.start_afresh()
    assert isinstance(outcome(desk.ask(Question("one"))), Verdict)
    assert thread_of(desk) is not inherited
    assert isinstance(
        outcome(inherited.line().ask(None, Question("still works"), here=False)), Verdict
    )
    inherited.stop()


def test_a_system_without_threads_to_spare_is_no_verdict(
    make: MakeDesk,
    fake: FakeOpenAI,
    outcome: Outcome,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    desk = make(fake.base_url)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        assert outcome(desk.ask(Question("hello"))) == "error"
    assert "RuntimeError" in caplog.text
    assert isinstance(outcome(desk.ask(Question("hello"))), Verdict)


def test_a_transport_that_cannot_be_opened_is_no_verdict_until_it_can(
    make: MakeDesk,
    fake: FakeOpenAI,
    outcome: Outcome,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(_: Service) -> None:
        raise OSError("too many open files")

    desk = make(fake.base_url)
    with monkeypatch.context() as patch:
        patch.setattr(Service, "open", fail)
        assert outcome(desk.ask(Question("hello"))) == "error"
        desk.close()
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert isinstance(outcome(desk.ask(Question("hello"))), Verdict)


def test_the_thread_can_be_stopped_from_itself(
    make: MakeDesk, fake: FakeOpenAI, outcome: Outcome
) -> None:
    desk = make(fake.base_url)
    future = desk.ask(Question("hello"))
    threads = [thread for thread in threading.enumerate() if thread.name == "safety-moderation"]
    closed: Future[None] = Future()

    def close(_: Future[Verdict]) -> None:
        desk.close()
        closed.set_result(None)

    future.add_done_callback(close)
    assert isinstance(outcome(future), Verdict)
    closed.result(5)
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl to make a certificate")
def test_tls_is_verified_and_ends_quietly(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*make, *names, *files], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        serving = threading.Thread(target=refuse_over_tls, args=(server, context), daemon=True)
        serving.start()
        base_url = f"https://localhost:{server.getsockname()[1]}/v1"
        script = f"""if True:
            import asyncio
            from safety_middleware.errors import ModerationUnavailable
            from safety_middleware.moderation import Desk, DeskSettings, Question
            from safety_middleware.verdict import wait

            desk = Desk(DeskSettings(base_url={base_url!r}, api_key="k"), cache_key=b"k")

            async def main():
                try:
                    await wait(desk.ask(Question("hello")))
                except ModerationUnavailable as error:
                    print(error.cause)

            asyncio.run(main())
            """
        for trusted, cause in ((str(certificate), "http_418"), (None, "connection")):
            environ = os.environ | ({"SSL_CERT_FILE": trusted} if trusted else {})
            ended = subprocess.run(
                [sys.executable, "-W", "error", "-c", script],
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
                env=environ,
            )
            assert (ended.stdout, ended.stderr) == (cause + "\n", "")
        server.shutdown(socket.SHUT_RDWR)  # closing alone would not wake the thread
        serving.join(5)


def refuse_over_tls(server: socket.socket, context: ssl.SSLContext) -> None:
    """Answer each connection's first request with 418; end with the listening socket."""
    while True:
        try:
            plain, _ = server.accept()
        except OSError:
            return
        with suppress(OSError), context.wrap_socket(plain, server_side=True) as connection:
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 418 I'm a teapot\r\nContent-Length: 0\r\n\r\n")
            connection.recv(65_536)
