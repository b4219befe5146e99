"""Apps served over real sockets, whose handlers tell what reached them."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from safety_middleware import Policy, Safety, Settings, guard_client
from safety_middleware.testing import FakeOpenAI
from safety_middleware_starlette import SafetyMiddleware
from tests.contract import serving

BAD = "please explain [[violence]]"


@dataclass
class Reached:
    """A handler in several shapes, and what came to it."""

    texts: list[str] = field(default_factory=list[str])

    async def handler(self, request: Request) -> Response:
        """A function of Starlette's."""
        body = await request.body()
        self.texts.append(f"{body!r} {dict(request.path_params)} {request.query_params}")
        return PlainTextResponse("reached")

    async def asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI app without a router, that reads one message of a body."""
        if scope["type"] == "lifespan":
            return
        message = await receive()
        self.texts.append(f"{message.get('body')!r} {scope['path']}")
        await PlainTextResponse("reached")(scope, receive, send)


class Endpoint:
    """An ASGI app that a ``Route`` takes for a class, so that it answers every method."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


@dataclass
class Bench:
    """Makes engines and serves apps for one test."""

    fake: FakeOpenAI
    directory: Path
    stack: ExitStack
    made: int = 0
    clients: list[AsyncOpenAI] = field(default_factory=list[AsyncOpenAI])

    def model(self) -> AsyncOpenAI:
        """A guarded client of the model; apps of ``app()`` close it."""
        client = AsyncOpenAI(base_url=self.fake.base_url, api_key="sk-test", max_retries=0)
        self.clients.append(guard_client(client))
        return self.clients[-1]

    def app(self, routes: list[Any], **options: Any) -> Starlette:
        """A Starlette app, not guarded yet."""

        @asynccontextmanager
        async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
            yield
            for client in self.clients:
                await client.close()

        return Starlette(routes=routes, lifespan=lifespan, **options)

    def safety(
        self, routes: Any = None, settings: dict[str, Any] | None = None, **policy: Any
    ) -> Safety:
        """An engine that holds at the handler, without limits to speak of."""
        self.made += 1
        rules: dict[str, Any] = {
            "anonymous_limits": "1000/minute",
            "address_limits": None,
            "hold": "handler",
            **policy,
        }
        given: dict[str, Any] = {
            "secret": "s" * 64,
            "openai_api_key": "sk-test",
            "openai_base_url": self.fake.base_url,
            "store": f"sqlite:///{self.directory}/{self.made}.db",
            **(settings or {}),
        }
        if routes is not None:
            given["routes"] = routes
        safety = Safety(Settings(policy=Policy(**rules), **given))
        self.stack.callback(safety.close)
        return safety

    def guarded(self, routes: list[Any], patterns: Any = None, **policy: Any) -> Starlette:
        """A Starlette app of *routes* behind the middleware."""
        app = self.app(routes)
        app.add_middleware(SafetyMiddleware, safety=self.safety(patterns, **policy))
        return app

    def serve(self, app: Any, **options: Any) -> httpx.Client:
        """Serve an ASGI app; gives a client of it."""
        url = self.stack.enter_context(serving.asgi(app, **options))
        return self.stack.enter_context(httpx.Client(base_url=url, timeout=20))

    def serve_flask(self, app: Any) -> httpx.Client:
        """Serve a Flask app; gives a client of it."""
        url = self.stack.enter_context(serving.wsgi(app))
        return self.stack.enter_context(httpx.Client(base_url=url, timeout=20))


@pytest.fixture
def reached() -> Reached:
    return Reached()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with ExitStack() as stack:
        yield Bench(stack.enter_context(FakeOpenAI()), tmp_path, stack)


def say(client: httpx.Client, path: str = "/chat", method: str = "POST") -> httpx.Response:
    """Say something flagged."""
    return client.request(method, path, json={"message": BAD})


def blocked(answer: httpx.Response) -> bool:
    """Whether the answer is the refusal of flagged content."""
    return answer.status_code == 400 and answer.json()["error"]["code"] == "content_blocked"


def raw(client: httpx.Client, request: bytes) -> bytes:
    """Send bytes that no client library would, and read the answer."""
    url = client.base_url
    with socket.create_connection((url.host, url.port or 80), timeout=20) as wire:
        wire.sendall(request)
        return wire.makefile("rb").read()


def written(method: str, path: str, body: Any, *headers: str) -> bytes:
    """A request as bytes; *body* is sent as JSON unless it is bytes."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", *headers]
    return "\r\n".join([*lines, f"Content-Length: {len(content)}", "", ""]).encode() + content
