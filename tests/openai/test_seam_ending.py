"""Model calls in flight are ended when their turn is refused, and only those."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from safety_middleware import ContentBlocked, Decision, Turn
from safety_middleware.openai import GuardedHttpClient, guard_client
from safety_middleware.testing import FakeOpenAI, Seen
from safety_middleware.turn import bound

MakeTurn = Callable[..., Turn]
InThread = Callable[[Callable[[], Any]], "Future[Any]"]
WithAsync = Callable[[Callable[[AsyncOpenAI], Any]], Any]
SOON = 0.5
"""Seconds; a call that is not ended takes ten."""


def use(client: Any, **more: Any) -> Any:
    return client.responses.create(model="m", input="hello", **more)


def used_in(turn: Turn, client: Any, **more: Any) -> Callable[[], Any]:
    def call() -> Any:
        with bound(turn):
            return use(client, **more)

    return call


def begun(fake: FakeOpenAI, count: int = 1) -> list[Seen]:
    """The requests that are being answered, once there are that many."""

    def seen() -> list[Seen]:
        going = [s for s in fake.requests if s.finished is None]
        return going if len(going) == count else []

    return fake.wait_for(seen)


async def abegun(fake: FakeOpenAI, tokens: int = 0) -> Seen:
    def seen() -> list[Seen]:
        return [s for s in fake.requests if s.finished is None and s.tokens_sent >= tokens]

    return (await fake.await_for(seen))[0]


def closed(fake: FakeOpenAI, seen: Seen, since: float) -> bool:
    """The server saw the connection close, soon."""
    fake.wait_for(lambda: seen.aborted)
    return (seen.finished or 1e9) - since < SOON


# Blocking


@pytest.mark.parametrize("warm", [False, True], ids=["new connection", "used connection"])
def test_a_call_waiting_for_its_answer_is_ended_and_not_tried_again(
    fake: FakeOpenAI, turn_of: MakeTurn, blocked: Decision, in_thread: InThread, warm: bool
) -> None:
    made = OpenAI(base_url=fake.base_url, api_key="any", max_retries=2)
    with made, guard_client(made) as client:
        if warm:
            use(client)
        fake.first_token_latency = 10
        answer = in_thread(used_in(turn := turn_of(), client))
        [seen] = begun(fake)
        began = time.monotonic()
        turn.decide(blocked)
        with pytest.raises(ContentBlocked) as caught:
            answer.result(5)
        assert time.monotonic() - began < SOON
        assert closed(fake, seen, began)
    assert caught.value.decision is blocked
    assert (turn.guarded_calls, turn.aborted_calls) == (1, 1)
    assert len(fake.requests) == (2 if warm else 1)


def test_a_stream_ends_where_it_stands(
    client: OpenAI, fake: FakeOpenAI, turn_of: MakeTurn, blocked: Decision, in_thread: InThread
) -> None:
    fake.token_interval = 0.02
    use(client)
    events: list[Any] = []

    def read() -> None:
        with bound(turn):
            events.extend(use(client, stream=True))

    turn = turn_of()
    answer = in_thread(read)
    [seen] = begun(fake)
    fake.wait_for(lambda: seen.tokens_sent > 2)
    began = time.monotonic()
    turn.decide(blocked)
    with pytest.raises(ContentBlocked):
        answer.result(5)
    assert closed(fake, seen, began)
    assert turn.aborted_calls == 1


def test_a_stream_nobody_reads_at_the_moment_ends_at_the_next_read(
    client: OpenAI, fake: FakeOpenAI, turn_of: MakeTurn, blocked: Decision
) -> None:
    fake.token_interval = 0.02
    turn = turn_of()
    with bound(turn):
        stream = iter(use(client, stream=True))
        next(stream)
        [seen] = begun(fake)
        began = time.monotonic()
        turn.decide(blocked)
        assert closed(fake, seen, began)
        with pytest.raises(ContentBlocked):
            list(stream)


def test_of_many_calls_at_once_only_those_of_the_refused_turns_end(
    client: OpenAI, fake: FakeOpenAI, turn_of: MakeTurn, blocked: Decision, in_thread: InThread
) -> None:
    for count in (0, 8):  # the second time over the same connections
        fake.first_token_latency = 10 if count else 0.2
        turns = [turn_of() for _ in range(8)]
        answers = [in_thread(used_in(turn, client)) for turn in turns]
        begun(fake, 8)
        if count:
            fake.first_token_latency = 0
        for turn in turns[1::2] if count else ():
            turn.decide(blocked)
        for answer in answers[1::2]:
            if count:
                with pytest.raises(ContentBlocked):
                    answer.result(5)
            else:
                assert answer.result(5).status == "completed"
        if count:
            assert len(begun(fake, 4)) == 4
            for turn in turns[::2]:
                turn.decide(blocked)
        assert [turn.aborted_calls for turn in turns] == [1 if count else 0] * 8


def test_a_finished_call_is_let_go(
    client: OpenAI, fake: FakeOpenAI, turn_of: MakeTurn, blocked: Decision
) -> None:
    turn = turn_of()
    with bound(turn):
        use(client)
        list(use(client, stream=True))
    turn.decide(blocked)
    assert turn.aborted_calls == 0
    use(client)  # over the same connection, which nobody shut down
    assert [seen.connection for seen in fake.requests] == [1, 1, 1]


def test_an_answer_given_up_by_the_app_is_let_go(
    client: OpenAI, fake: FakeOpenAI, turn_of: MakeTurn, blocked: Decision
) -> None:
    fake.token_interval = 0.02
    turn = turn_of()
    with bound(turn):
        use(client, stream=True).close()
    turn.decide(blocked)
    assert turn.aborted_calls == 0


def test_an_admitted_turn_ends_nothing(
    client: OpenAI, fake: FakeOpenAI, turn_of: MakeTurn, in_thread: InThread
) -> None:
    fake.first_token_latency = 0.2
    answer = in_thread(used_in(turn := turn_of(), client))
    begun(fake)
    turn.decide(Decision())
    assert answer.result(5).status == "completed"
    assert turn.aborted_calls == 0


def test_a_refusal_while_the_call_connects_stops_it_before_anything_is_sent(
    fake: FakeOpenAI, turn_of: MakeTurn, blocked: Decision
) -> None:
    turn = turn_of()
    events: list[str] = []

    def trace(event: str, _: Any) -> None:
        events.append(event)
        if event == "connection.connect_tcp.complete":
            turn.decide(blocked)

    with GuardedHttpClient(base_url=fake.base_url) as http, bound(turn):
        request = http.build_request("POST", "/responses", json={"input": "x"})
        request.extensions["trace"] = trace
        with pytest.raises(ContentBlocked):
            http.send(request)
    assert fake.requests == []
    assert "http11.send_request_headers.complete" not in events


def test_a_refusal_after_the_answers_head_is_no_answer(
    fake: FakeOpenAI, turn_of: MakeTurn, blocked: Decision
) -> None:
    turn = turn_of()

    def refuse_now(_: Any) -> None:
        turn.decide(blocked)

    fake.token_interval = 0.02
    http = GuardedHttpClient(event_hooks={"response": [refuse_now]})
    with OpenAI(base_url=fake.base_url, api_key="any", http_client=http) as client, bound(turn):
        with pytest.raises(ContentBlocked):
            use(client, stream=True)
        fake.wait_for(lambda: fake.requests[0].aborted)


def test_other_requests_of_the_same_http_client_are_no_part_of_the_call(
    fake: FakeOpenAI, turn_of: MakeTurn, blocked: Decision
) -> None:
    def look_aside(response: Any) -> None:
        if response.request.method == "POST":
            http.get("/models")

    http = GuardedHttpClient(base_url=fake.base_url, headers={"Authorization": "Bearer any"})
    with http, bound(turn := turn_of()):
        http.get("/models")
        http.event_hooks = {"response": [look_aside]}
        request = http.build_request("POST", "/responses", json={"model": "m", "input": "x"})
        response = http.send(request, stream=True)
        turn.decide(blocked)
        with pytest.raises(ContentBlocked):
            response.read()
        http.event_hooks = {}
        http.get("/models")
    connections = [seen.connection for seen in fake.requests if seen.endpoint == "/models"]
    assert connections[-1] in connections[:-1]


class Transport:
    """Answers like an HTTP client's transport that has no sockets to show."""

    def __init__(self, *events: tuple[str, Any]) -> None:
        self.events = events
        self.during: Callable[[], object] = lambda: None

    def http(self) -> Any:
        made = GuardedHttpClient(base_url="http://x", transport=self._transport())
        self._response = type(made.build_request("GET", "/")).__module__.partition(".")[0]
        return made

    def _transport(self) -> Any:
        import sys

        base: Any = openai.DefaultHttpxClient
        root = next(c for c in base.__mro__ if c.__name__ == "Client").__module__.partition(".")[0]
        module = sys.modules[root]

        def answer(request: Any) -> Any:
            for event, info in self.events:
                request.extensions["trace"](event, info)
            self.during()
            return module.Response(200, content=iter([b"{}", b"{}"]))

        return module.MockTransport(answer)


def test_a_connection_shared_with_other_requests_is_never_shut_down(
    turn_of: MakeTurn, blocked: Decision
) -> None:
    ours, theirs = socket.socketpair()

    class Stream:
        def write(self, buffer: bytes, timeout: float | None = None) -> None: ...

        def get_extra_info(self, name: str) -> object:
            return {"socket": ours}[name]

    stream = Stream()
    transport = Transport(
        ("connection.connect_tcp.complete", {"return_value": stream}),
        ("http11.send_request_headers.started", {}),  # to the proxy
        ("proxy.start_tls.started", {}),
        ("proxy.start_tls.complete", {"return_value": stream}),
        ("http2.send_connection_init.started", {}),
        ("http2.send_request_headers.started", {}),
    )
    turn = turn_of()

    def write_and_refuse() -> None:
        stream.write(b"shared")
        turn.decide(blocked)

    transport.during = write_and_refuse
    with transport.http() as http, bound(turn), ours, theirs:
        with pytest.raises(ContentBlocked):
            http.post("/responses", json={})
        ours.sendall(b"alive")
        assert theirs.recv(5) == b"alive"
    assert turn.aborted_calls == 1


def test_without_a_socket_to_shut_a_call_still_gives_no_answer(
    turn_of: MakeTurn, blocked: Decision
) -> None:
    with Transport().http() as http, bound(turn := turn_of()):
        request = http.build_request("POST", "/responses", json={})
        response = http.send(request, stream=True)
        chunks = response.iter_raw()
        assert next(chunks) == b"{}"
        turn.decide(blocked)
        with pytest.raises(ContentBlocked):
            next(chunks)


def test_an_answer_that_ends_by_being_cut_off_is_not_taken_for_whole(
    turn_of: MakeTurn, blocked: Decision
) -> None:
    with Transport().http() as http, bound(turn := turn_of()):
        response = http.send(http.build_request("POST", "/responses", json={}), stream=True)
        chunks = response.iter_raw()
        assert [next(chunks), next(chunks)] == [b"{}", b"{}"]
        turn.decide(blocked)
        with pytest.raises(ContentBlocked):
            next(chunks)


def test_a_refusal_that_comes_as_the_call_ends_ends_nothing(
    client: OpenAI, with_async: WithAsync, turn_of: MakeTurn
) -> None:
    turn = turn_of()
    ends: list[Callable[[], None]] = []
    register = turn.on_refused

    class Watched(Turn):
        __slots__ = ()

        def on_refused(self, end: Callable[[], None]) -> Callable[[], None]:
            ends.append(end)
            return register(end)

    turn.__class__ = Watched
    with bound(turn):
        use(client)
        with_async(use)
    for end in ends:  # as if it had been taken from the list a moment before
        end()
    assert (len(ends), turn.aborted_calls) == (2, 0)


def test_an_interrupted_call_is_let_go(turn_of: MakeTurn, blocked: Decision) -> None:
    transport = Transport()

    def interrupt() -> None:
        raise KeyboardInterrupt

    transport.during = interrupt
    with transport.http() as http, bound(turn := turn_of()), pytest.raises(KeyboardInterrupt):
        http.post("/responses", json={})
    turn.decide(blocked)
    assert turn.aborted_calls == 0


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        [
            *[
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "1",
                "-subj",
                "/CN=localhost",
            ],
            *("-addext", "subjectAltName=DNS:localhost", "-keyout", path, "-out", f"{path}.crt"),
        ],
        check=True,
        capture_output=True,
    )
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


class SilentServer(threading.Thread):
    """Reads one request over TLS, answers nothing, and tells when the client goes."""

    def __init__(self, certificate: Path) -> None:
        super().__init__(daemon=True)
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificate)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.asked = threading.Event()
        self.gone = threading.Event()
        self.received = b""

    def run(self) -> None:
        with (
            self._listener,
            self._context.wrap_socket(self._listener.accept()[0], server_side=True) as connection,
        ):
            connection.settimeout(10)
            while b'"hello"' not in self.received:
                self.received += connection.recv(65_536)
            self.asked.set()
            try:
                rest = connection.recv(65_536)
            except OSError:
                rest = b""
            if rest == b"":
                self.gone.set()


@pytest.fixture
def silent(certificate: Path) -> Iterator[SilentServer]:
    server = SilentServer(certificate)
    server.start()
    yield server
    server.join(10)


def test_an_encrypted_call_is_ended_too(
    silent: SilentServer,
    certificate: Path,
    turn_of: MakeTurn,
    blocked: Decision,
    in_thread: InThread,
) -> None:
    http = GuardedHttpClient(verify=ssl.create_default_context(cafile=f"{certificate}.crt"))
    base_url = f"https://localhost:{silent.port}/v1"
    with OpenAI(base_url=base_url, api_key="any", http_client=http, max_retries=2) as client:
        answer = in_thread(used_in(turn := turn_of(), client))
        assert silent.asked.wait(10)
        began = time.monotonic()
        turn.decide(blocked)
        with pytest.raises(ContentBlocked):
            answer.result(5)
        assert silent.gone.wait(5)
        assert time.monotonic() - began < SOON


# Asynchronous


@pytest.mark.parametrize("warm", [False, True], ids=["new connection", "used connection"])
def test_an_asynchronous_call_waiting_for_its_answer_is_ended(
    with_async: WithAsync, fake: FakeOpenAI, turn_of: MakeTurn, blocked: Decision, warm: bool
) -> None:
    turn = turn_of()

    async def main(client: AsyncOpenAI) -> None:
        if warm:
            await use(client)
        fake.first_token_latency = 10
        with bound(turn):
            call = asyncio.create_task(use(client))
        seen = await abegun(fake)
        began = time.monotonic()
        turn.decide(blocked)
        with pytest.raises(ContentBlocked):
            await call
        assert time.monotonic() - began < SOON
        assert await asyncio.to_thread(closed, fake, seen, began)

    with_async(main)
    assert turn.aborted_calls == 1


def test_an_asynchronous_stream_ends_where_it_stands(
    with_async: WithAsync, fake: FakeOpenAI, turn_of: MakeTurn, blocked: Decision
) -> None:
    turn = turn_of()
    fake.token_interval = 0.02

    async def read(client: AsyncOpenAI) -> int:
        with pytest.raises(ContentBlocked):
            async for _ in await use(client, stream=True):
                pass
        task = asyncio.current_task()
        assert task is not None
        await asyncio.sleep(0)  # no cancellation is left over
        return task.cancelling()

    async def main(client: AsyncOpenAI) -> None:
        with bound(turn):
            reading = asyncio.create_task(read(client))
        seen = await abegun(fake, 3)
        began = time.monotonic()
        await asyncio.to_thread(turn.decide, blocked)
        assert await reading == 0
        assert await asyncio.to_thread(closed, fake, seen, began)

    with_async(main)
    assert turn.aborted_calls == 1


def test_an_asynchronous_stream_nobody_reads_is_closed_at_once(
    with_async: WithAsync, fake: FakeOpenAI, turn_of: MakeTurn, blocked: Decision
) -> None:
    turn = turn_of()
    fake.token_interval = 0.02

    async def main(client: AsyncOpenAI) -> None:
        with bound(turn):
            stream = aiter(await use(client, stream=True))
            await anext(stream)
            seen = await abegun(fake)
            began = time.monotonic()
            turn.decide(blocked)
            assert await asyncio.to_thread(closed, fake, seen, began)
            with pytest.raises(ContentBlocked):
                await anext(stream)

    with_async(main)


def test_a_finished_asynchronous_call_is_let_go(
    with_async: WithAsync, fake: FakeOpenAI, turn_of: MakeTurn, blocked: Decision
) -> None:
    turn = turn_of()

    async def main(client: AsyncOpenAI) -> None:
        with bound(turn):
            await use(client)
            assert [event async for event in await use(client, stream=True)]
        turn.decide(blocked)
        await use(client)

    with_async(main)
    assert turn.aborted_calls == 0
    assert [seen.connection for seen in fake.requests] == [1, 1, 1]


def test_a_call_that_is_cancelled_as_well_stays_cancelled(
    with_async: WithAsync, fake: FakeOpenAI, turn_of: MakeTurn, blocked: Decision
) -> None:
    turn = turn_of()
    fake.first_token_latency = 10
    counts: list[int] = []

    async def call(client: AsyncOpenAI) -> None:
        try:
            await use(client)
        finally:
            task = asyncio.current_task()
            counts.append(task.cancelling() if task else -1)

    async def main(client: AsyncOpenAI) -> None:
        with bound(turn):
            task = asyncio.create_task(call(client))
        await abegun(fake)
        turn.decide(blocked)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with_async(main)
    assert counts == [1]


def test_a_timeout_of_the_apps_own_stays_a_timeout(
    with_async: WithAsync, fake: FakeOpenAI, turn_of: MakeTurn
) -> None:
    turn = turn_of()
    fake.first_token_latency = 10

    async def main(client: AsyncOpenAI) -> None:
        with bound(turn), pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await use(client)

    with_async(main)
    assert turn.aborted_calls == 0


def test_an_asynchronous_refusal_after_the_answers_head_is_no_answer(
    fake: FakeOpenAI, turn_of: MakeTurn, blocked: Decision
) -> None:
    turn = turn_of()
    fake.token_interval = 0.02

    async def refuse_now(_: Any) -> None:
        turn.decide(blocked)

    async def main() -> None:
        http = openai.DefaultAsyncHttpxClient(event_hooks={"response": [refuse_now]})
        made = AsyncOpenAI(base_url=fake.base_url, api_key="any", http_client=http)
        async with made:
            with bound(turn), pytest.raises(ContentBlocked):
                await use(guard_client(made), stream=True)
            await fake.await_for(lambda: fake.requests[0].aborted)

    asyncio.run(main())


def test_a_refusal_after_the_loop_is_gone_harms_nobody(
    fake: FakeOpenAI, turn_of: MakeTurn, blocked: Decision, caplog: pytest.LogCaptureFixture
) -> None:
    fake.token_interval = 0.02
    turn = turn_of()
    kept: list[Any] = []

    async def main() -> None:
        made = AsyncOpenAI(base_url=fake.base_url, api_key="any")
        async with made, guard_client(made) as client:
            with bound(turn):
                kept.append(await use(client, stream=True))

    asyncio.run(main())
    turn.decide(blocked)
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []
