"""What the benchmarks over the server share: apps in processes of their own, and a lean client.

usage: python bench/serving.py starlette|flask bare|ours FD   (started by the benchmarks themselves)
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from safety_middleware.testing import FakeOpenAI

SECRET = b"secret"
"""Every token of the model's answer, so that a leak is seen in the bytes."""
_TICKS = os.sysconf("SC_CLK_TCK")


# The server's side


def _settings() -> dict[str, Any]:
    from safety_middleware import Policy

    return {
        "routes": {"/chat": Policy(), "/canned": Policy(), "/quiet": Policy(moderation=False)},
        "secret": "0" * 64,
        "openai_api_key": "sk-bench",
        "openai_base_url": os.environ["BENCH_OPENAI"],
        "store": os.environ["BENCH_STORE"],
        "hold": "reply",
        "limits": "1000000/minute",
        "address_limits": None,
    }


def starlette(*, ours: bool) -> Any:
    """The chat app; */chat* streams the model's answer, */canned* and */quiet* call no model."""
    from openai import AsyncOpenAI
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, Response, StreamingResponse
    from starlette.routing import Route

    from safety_middleware import guard_client
    from safety_middleware_starlette import SafetyMiddleware

    client = AsyncOpenAI(base_url=os.environ["BENCH_OPENAI"], api_key="sk-bench", max_retries=0)
    client = guard_client(client) if ours else client

    async def words(text: str) -> AsyncIterator[str]:
        stream = await client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": text}], stream=True
        )
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content

    async def chat(request: Request) -> Response:
        text = (await request.json())["message"]
        return StreamingResponse(words(text), media_type="text/plain")

    async def canned(request: Request) -> Response:
        await request.json()
        return PlainTextResponse("ok")

    paths = {"/chat": chat, "/canned": canned, "/quiet": canned}
    app = Starlette(routes=[Route(path, view, methods=["POST"]) for path, view in paths.items()])
    if ours:
        app.add_middleware(
            SafetyMiddleware, user=lambda request: request.headers["x-user"], **_settings()
        )
    return app


def flask(*, ours: bool) -> Any:
    """The same with Flask and the blocking client."""
    from flask import Flask, request
    from flask import Response as FlaskResponse
    from openai import OpenAI

    from safety_middleware import guard_client
    from safety_middleware_flask import SafetyMiddleware

    client = OpenAI(base_url=os.environ["BENCH_OPENAI"], api_key="sk-bench", max_retries=0)
    client = guard_client(client) if ours else client

    def words(text: str) -> Iterator[str]:
        with client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": text}], stream=True
        ) as stream:
            for chunk in stream:
                if chunk.choices and chunk.choices[0].delta.content:
                    yield chunk.choices[0].delta.content

    app = Flask(__name__)

    @app.post("/chat")
    def chat() -> FlaskResponse:
        return FlaskResponse(words(request.get_json()["message"]), mimetype="text/plain")

    def canned() -> str:
        request.get_json()
        return "ok"

    app.add_url_rule("/canned", "canned", canned, methods=["POST"])
    app.add_url_rule("/quiet", "quiet", canned, methods=["POST"])
    if ours:
        SafetyMiddleware(app, user=lambda: request.headers["x-user"], **_settings())
    return app


def _serve(framework: str, kind: str, fd: int) -> None:
    if framework == "starlette":
        import uvicorn

        config = uvicorn.Config(
            starlette(ours=kind == "ours"), http="httptools", loop="uvloop", log_level="error"
        )
        uvicorn.Server(config).run(sockets=[socket.socket(fileno=fd)])
        return
    from gunicorn.app.wsgiapp import run  # type: ignore[import-untyped]  # it has no types

    own = ["--bind", f"fd://{fd}", "--log-level", "error", "--no-control-socket"]
    made = f"serving:flask(ours={kind == 'ours'})"
    sys.argv = ["gunicorn", *own, "--worker-class", "gthread", "--threads", "64", made]
    run()


# The benchmarks' side


@dataclass
class Served:
    """A running app."""

    framework: str
    kind: str
    port: int
    pid: int

    def cpu(self) -> float:
        """CPU time of the process and its children so far, in seconds."""
        stats: dict[str, tuple[str, int]] = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(") ")[2].split()
            except OSError:
                continue  # it has ended meanwhile
            stats[path.parent.name] = fields[1], int(fields[11]) + int(fields[12])
        family = {str(self.pid)}
        while found := {pid for pid, (parent, _) in stats.items() if parent in family} - family:
            family |= found
        return sum(stats[pid][1] for pid in family if pid in stats) / _TICKS


@contextmanager
def served(framework: str, kind: str, openai: str) -> Generator[Served]:
    """Run one app in a process of its own; loopback only."""
    names = ("SAFETY_", "OPENAI_")
    environment = {n: v for n, v in os.environ.items() if not n.startswith(names)}
    here = Path(__file__)
    paths = (str(here.parent), environment.get("PYTHONPATH"))
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    environment["BENCH_OPENAI"] = openai
    with TemporaryDirectory() as place:
        environment["BENCH_STORE"] = f"sqlite:///{place}/bench.db"
        with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
            port, fd = listener.getsockname()[1], listener.fileno()
            process = subprocess.Popen(
                [sys.executable, str(here), framework, kind, str(fd)],
                cwd=place,
                env=environment,
                pass_fds=[fd],
            )
        try:
            yield Served(framework, kind, port, process.pid)
        finally:
            process.terminate()
            process.wait(30)


@dataclass
class Reply:
    """What came back.

    Attributes:
        raw: All bytes.
        first: Seconds from sending to the first byte of the body of an answer.
        sent: When it was sent, by ``time.monotonic()``.
        ended: When the first byte came, by the same clock.
    """

    raw: bytes
    first: float
    sent: float
    ended: float


def request_of(path: str, text: str, user: str, *, keep: bool = False) -> bytes:
    """The bytes of one request."""
    body = json.dumps({"message": text}).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nConnection: {'keep-alive' if keep else 'close'}\r\n"
        f"X-User: {user}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def ask(port: int, path: str, text: str, user: str) -> Reply:
    """One request on a connection of its own, read to its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    sent = time.monotonic()
    writer.write(request_of(path, text, user))
    raw, body = b"", None
    try:
        while piece := await reader.read(65_536):
            raw += piece
            _, _, rest = raw.partition(b"\r\n\r\n")
            if body is None and rest:
                body = time.monotonic()
    finally:
        writer.close()
    body = body or time.monotonic()
    return Reply(raw, body - sent, sent, body)


async def ask_all(port: int, turns: Iterable[tuple[str, str, str]], at_once: int) -> list[Reply]:
    """Many requests (path, text, user), *at_once* at a time."""
    free = asyncio.Semaphore(at_once)

    async def one(turn: tuple[str, str, str]) -> Reply:
        async with free:
            return await ask(port, *turn)

    return await asyncio.gather(*map(one, turns))


def judged_at(fake: FakeOpenAI) -> dict[str, float]:
    """Text -> when the verdict about it left the service, by ``time.monotonic()``."""
    judged: dict[str, float] = {}
    for call in fake.calls("/moderations"):
        asked: str | list[str] = call.body["input"]
        for text in [asked] if isinstance(asked, str) else asked:
            judged[text] = call.finished or float("nan")
    return judged


def conditions() -> str:
    """The machine and what else it does, in a line."""
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{os.cpu_count()} cores, load {load}, Python {sys.version.split()[0]}"


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))
