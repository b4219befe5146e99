"""Starting, stopping, many clients at once, latencies, and clients that leave."""

from __future__ import annotations

import asyncio
import gc
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner
from openai import InternalServerError, OpenAI
from openai.types.chat import ChatCompletionMessageParam

from safety_middleware.testing import FakeOpenAI, Seen, lognormal
from safety_middleware.testing.__main__ import main

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]
HEADERS = {"Authorization": "Bearer any"}


def sockets() -> int:
    count = 0
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the listing's own descriptor
            count += str(link.readlink()).startswith("socket:")
    return count


def test_stopping_leaves_no_thread_and_no_socket() -> None:
    before = threading.active_count(), sockets()
    fake = FakeOpenAI(moderation_latency=60).start()
    port = fake.port
    idle = socket.create_connection(("127.0.0.1", port))
    busy = http.client.HTTPConnection("127.0.0.1", port)
    busy.request(
        "POST", "/v1/moderations", b'{"input":"a"}', {**HEADERS, "Content-Type": "application/json"}
    )
    fake.wait_for(lambda: fake.requests)
    begun = time.monotonic()
    fake.stop()
    fake.stop()
    assert time.monotonic() - begun < 2
    assert not fake.requests[0].aborted
    idle.close()
    busy.close()
    gc.collect()
    assert (threading.active_count(), sockets()) == before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_a_fake_can_be_started_again_on_a_fixed_port() -> None:
    with FakeOpenAI() as first:
        port = first.port
    fake = FakeOpenAI(port=port)
    for _ in range(2):
        with fake, OpenAI(base_url=fake.base_url, api_key="any") as client:
            client.models.list()
    assert len(fake.requests) == 2


def test_misuse_is_told(fake: FakeOpenAI) -> None:
    with pytest.raises(RuntimeError, match="already"):
        fake.start()
    before = threading.active_count()
    with pytest.raises(OSError, match="address already in use"):
        FakeOpenAI(port=fake.port).start()
    with pytest.raises(OverflowError):
        FakeOpenAI(port=70_000).start()
    assert threading.active_count() == before
    with pytest.raises(RuntimeError, match="does not run"):
        _ = FakeOpenAI().base_url


def test_two_hundred_clients_are_served_at_once(fake: FakeOpenAI) -> None:
    fake.token_interval = 0.001
    fake.moderation_latency = 0.2

    async def one(session: aiohttp.ClientSession, number: int) -> str:
        body = {"input": f"text {number}"}
        async with session.post(f"{fake.base_url}/moderations", json=body) as answer:
            assert not (await answer.json())["results"][0]["flagged"]
        chat: dict[str, Any] = {
            "messages": [{"role": "user", "content": str(number)}],
            "stream": True,
        }
        async with session.post(f"{fake.base_url}/chat/completions", json=chat) as answer:
            return (await answer.read()).decode()

    async def main() -> list[str]:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, headers=HEADERS) as session:
            return await asyncio.gather(*(one(session, number) for number in range(200)))

    texts = asyncio.run(main())
    assert all(text.endswith("data: [DONE]\n\n") for text in texts)
    assert {seen.tokens_sent for seen in fake.calls("/chat/completions")} == {40}
    assert {seen.aborted for seen in fake.requests} == {False}
    assert len({seen.connection for seen in fake.requests}) == 200
    assert len({seen.request_id for seen in fake.requests}) == 400


def test_a_reply_that_raises_is_a_server_error(
    client: OpenAI, fake: FakeOpenAI, caplog: pytest.LogCaptureFixture
) -> None:
    fake.reply = lambda body: body["no such field"]
    with pytest.raises(InternalServerError):
        client.chat.completions.create(model="m", messages=HELLO)
    assert "no such field" in caplog.text
    assert client.models.list()


def test_threads_may_share_it(fake: FakeOpenAI) -> None:
    def work() -> None:
        with OpenAI(base_url=fake.base_url, api_key="any") as client:
            for _ in range(5):
                client.moderations.create(input="a")
                fake.calls("/moderations")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fake.calls("/moderations")) == 40
    assert len({seen.connection for seen in fake.requests}) == 8


def test_a_connection_is_kept_alive(client: OpenAI, fake: FakeOpenAI) -> None:
    client.moderations.create(input="a")
    client.responses.create(model="m", input="a")
    list(client.responses.create(model="m", input="a", stream=True))
    client.models.list()
    # The SDK's synchronous client closes the connection itself after "[DONE]".
    list(client.chat.completions.create(model="m", messages=HELLO, stream=True))
    assert [seen.connection for seen in fake.requests] == [1] * 5
    assert not any(seen.aborted for seen in fake.requests)


def test_an_idle_connection_is_closed_in_its_time() -> None:
    with FakeOpenAI(keep_alive=0.05) as fake:
        idle = socket.create_connection(("127.0.0.1", fake.port), timeout=5)
        assert idle.recv(1) == b""
        idle.close()


def test_latencies_are_kept(client: OpenAI, fake: FakeOpenAI) -> None:
    fake.moderation_latency = lambda seen: len(seen.text) / 100
    fake.first_token_latency = 0.1
    fake.token_interval = 0.01
    fake.reply = "a b c d e f"
    client.moderations.create(input="12345")
    list(client.chat.completions.create(model="m", messages=HELLO, stream=True))
    client.chat.completions.create(model="m", messages=HELLO)
    spent = [(seen.finished or 0) - seen.started for seen in fake.requests]
    for took, least in zip(spent, (0.05, 0.15, 0.16), strict=True):
        assert least - 0.005 <= took < least + 1


def test_a_client_that_leaves_a_stream_is_noticed_at_once(client: OpenAI, fake: FakeOpenAI) -> None:
    fake.token_interval = 0.02
    stream = client.chat.completions.create(model="m", messages=HELLO, stream=True)
    for _ in range(4):
        next(stream)
    left = time.monotonic()
    stream.close()
    fake.wait_for(lambda: fake.requests[0].aborted)
    (seen,) = fake.requests
    assert seen.finished is not None
    assert seen.finished - left < 0.5
    assert 3 <= seen.tokens_sent < 20
    assert seen.status == 200


def test_a_client_that_leaves_a_whole_answer_pays_for_what_was_said(fake: FakeOpenAI) -> None:
    fake.first_token_latency = 0.05
    fake.token_interval = 0.05
    with OpenAI(base_url=fake.base_url, api_key="any", max_retries=0, timeout=0.18) as client:
        with pytest.raises(Exception, match="timed out"):
            client.chat.completions.create(model="m", messages=HELLO)
        fake.wait_for(lambda: fake.requests[0].aborted)
        assert 1 <= fake.requests[0].tokens_sent < 40
        fake.first_token_latency = 60
        with pytest.raises(Exception, match="timed out"):
            client.responses.create(model="m", input="a")
        fake.wait_for(lambda: fake.requests[1].aborted)
        assert fake.requests[1].tokens_sent == 0


def test_a_client_that_leaves_with_data_under_way_is_nothing_to_log(
    fake: FakeOpenAI, caplog: pytest.LogCaptureFixture
) -> None:
    fake.reply = ["word " * 400] * 20_000
    body = b'{"messages":[{}],"stream":true}'
    headers = {**HEADERS, "Content-Type": "application/json"}
    connections = [http.client.HTTPConnection("127.0.0.1", fake.port) for _ in range(50)]
    for connection in connections:
        connection.request("POST", "/v1/chat/completions", body, headers)
    fake.wait_for(lambda: len([s for s in fake.requests if s.tokens_sent > 10]) == 50)
    for connection in connections:
        connection.close()
    fake.wait_for(lambda: all(seen.aborted for seen in fake.requests))
    assert all(seen.tokens_sent < 20_000 for seen in fake.requests)
    assert caplog.records == []


def test_a_client_that_leaves_before_its_request_is_read_is_no_request(fake: FakeOpenAI) -> None:
    with socket.create_connection(("127.0.0.1", fake.port)) as half:
        half.sendall(b"POST /v1/moderations HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
    with OpenAI(base_url=fake.base_url, api_key="any") as client:
        client.models.list()
    assert [seen.endpoint for seen in fake.requests] == ["/models"]


def test_waiting_can_end_in_vain(fake: FakeOpenAI) -> None:
    with pytest.raises(TimeoutError, match="within"):
        fake.wait_for(lambda: fake.requests, timeout=0.01)

    async def main() -> None:
        await fake.await_for(lambda: fake.requests, timeout=0.01)

    with pytest.raises(TimeoutError, match="within"):
        asyncio.run(main())


def test_a_coroutine_can_wait_for_tokens(fake: FakeOpenAI) -> None:
    fake.token_interval = 0.005

    async def main() -> int:
        async with aiohttp.ClientSession(headers=HEADERS) as session:
            body: dict[str, Any] = {"messages": HELLO, "stream": True}
            async with session.post(f"{fake.base_url}/chat/completions", json=body):
                await fake.await_for(lambda: fake.requests[0].tokens_sent >= 5)
                return fake.requests[0].tokens_sent

    assert asyncio.run(main()) < 20


def test_the_log_can_be_bounded_and_cleared() -> None:
    ended: list[Seen] = []
    with FakeOpenAI(keep=2) as fake, OpenAI(base_url=fake.base_url, api_key="any") as client:
        fake.on_answer = ended.append
        for text in "abc":
            client.moderations.create(input=text)
        assert [seen.text for seen in fake.requests] == ["b", "c"]
        fake.clear()
        assert fake.requests == []
    assert [seen.text for seen in ended] == ["a", "b", "c"]


def test_neither_key_nor_text_is_in_the_repr(client: OpenAI, fake: FakeOpenAI) -> None:
    client.moderations.create(input="private words")
    assert "private" not in repr(fake.requests)
    assert "Bearer" not in repr(fake.requests)


def seen_with(text: str) -> Seen:
    return Seen("POST", "", "/moderations", "", {}, {"input": text}, 1, "", 0.0)


def test_seeded_latencies_depend_on_the_text_alone() -> None:
    one, other = lognormal(0.5, 1.2, seed=7), lognormal(0.5, 1.2, seed=7)
    drawn = [one(seen_with(f"text {number}")) for number in range(2000)]
    assert drawn == [other(seen_with(f"text {number}")) for number in range(2000)]
    assert drawn != [lognormal(0.5, 1.2, seed=8)(seen_with(f"text {n}")) for n in range(2000)]
    drawn.sort()
    assert drawn[1000] == pytest.approx(0.5, rel=0.1)
    assert drawn[1900] == pytest.approx(1.2, rel=0.15)


def test_unseeded_latencies_differ() -> None:
    latency = lognormal(0.5, 1.2)
    assert len({latency(seen_with("a")) for _ in range(10)}) == 10


@pytest.mark.parametrize(("median", "p95"), [(0, 1), (1, 0.5), (-1, 1)])
def test_impossible_latencies_are_told(median: float, p95: float) -> None:
    with pytest.raises(ValueError, match="median"):
        lognormal(median, p95)


def test_it_runs_by_itself_and_prints_a_line_for_each_request() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def use() -> None:
        with OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="any", max_retries=5) as client:
            client.moderations.create(input="private words")
            list(
                client.chat.completions.create(model="m", messages=HELLO, stream=True, max_tokens=2)
            )
        os.kill(os.getpid(), signal.SIGTERM)

    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    user = threading.Thread(target=use)
    user.start()
    options = f"--port {port} --moderation-latency 0.001 --moderation-p95 0.002 --seed 1"
    try:
        shown = CliRunner().invoke(main, options.split())
    finally:
        user.join()
        for number, handler in kept.items():
            signal.signal(number, handler)
    assert shown.exit_code == 0
    head, *lines = shown.output.splitlines()
    assert head == f"Fake OpenAI API: OPENAI_BASE_URL=http://127.0.0.1:{port}/v1 OPENAI_API_KEY=any"
    assert re.fullmatch(r"POST /v1/moderations 200 \d+ ms", lines[0])
    assert re.fullmatch(r"POST /v1/chat/completions 200 \d+ ms 2 tokens", lines[1])


def test_it_is_a_module_to_run() -> None:
    command = [sys.executable, "-m", "safety_middleware.testing", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--moderation-latency" in shown.stdout
