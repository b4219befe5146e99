"""One scope that serves two requests at once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from safety_middleware_starlette import SafetyMiddleware


async def chat(request: Request) -> PlainTextResponse:
    return PlainTextResponse(await request.body())


def test_a_scope_used_for_two_requests_lets_neither_through_unchecked(tmp_path: Path) -> None:
    app = Starlette(routes=[Route("/chat", chat, methods=["POST"])])
    guarded = SafetyMiddleware(
        app,
        routes=["/chat"],
        moderation=False,
        max_input_chars=5,
        secret="0" * 64,
        store=f"sqlite:///{tmp_path}/records.db",
    )
    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": "/chat",
        "root_path": "",
        "query_string": b"",
        "headers": [(b"content-type", b"text/plain")],
        "client": ("127.0.0.1", 1),
    }
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"longer than five"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def together() -> None:
        await asyncio.gather(guarded(scope, receive, send), guarded(scope, receive, send))
        await guarded.safety.aclose()

    asyncio.run(together())
    assert statuses == [413, 413]
