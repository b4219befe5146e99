"""A Starlette app with every kind of handler that a promise depends on, bare and protected."""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

from openai import AsyncOpenAI
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from safety_middleware import guard_client
from safety_middleware_starlette import SafetyMiddleware

from . import probe


def user_of(request: Request) -> str | None:
    return request.headers.get("x-user")


seen = probe.Seen()
released: defaultdict[str | None, asyncio.Event] = defaultdict(asyncio.Event)
safety = probe.safety(user_of)
plain = AsyncOpenAI(base_url=os.environ["PROBE_OPENAI"], api_key="sk-test", max_retries=0)
guarded = guard_client(plain)


def client_of(request: Request) -> AsyncOpenAI:
    return plain if request.url.path.startswith("/bare/") else guarded


async def words(client: AsyncOpenAI, text: str) -> AsyncIterator[str]:
    stream = await client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": text}], stream=True
    )
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            yield chunk.choices[0].delta.content


async def echo(request: Request) -> Response:
    return Response(await request.body(), media_type="application/octet-stream")


async def stream(request: Request) -> Response:
    text = (await request.json())["message"]
    return StreamingResponse(words(client_of(request), text), media_type="text/plain")


async def catches(request: Request) -> Response:
    text = (await request.json())["message"]

    async def pieces() -> AsyncIterator[str]:
        try:
            async for word in words(client_of(request), text):
                yield word
        except Exception:
            yield f"{probe.SECRET} apology"

    return StreamingResponse(pieces(), media_type="text/plain")


async def held(request: Request) -> Response:
    await request.body()

    async def pieces() -> AsyncIterator[str]:
        yield probe.PIECES[0]
        await released[user_of(request)].wait()
        yield probe.PIECES[1]

    return StreamingResponse(pieces(), media_type="text/plain")


async def generator(request: Request) -> Response:
    await request.body()

    def pieces() -> Iterator[str]:
        yield from probe.PIECES

    return StreamingResponse(pieces(), media_type="text/plain")


def threaded(request: Request) -> Response:
    return PlainTextResponse("".join(probe.PIECES))


async def fails(request: Request) -> Response:
    await request.body()
    raise RuntimeError("the app's own bug")


async def fails_late(request: Request) -> Response:
    await request.body()

    async def pieces() -> AsyncIterator[str]:
        yield probe.PIECES[0]
        raise RuntimeError("the app's own bug")

    return StreamingResponse(pieces(), media_type="text/plain")


async def background(request: Request) -> Response:
    await request.body()

    async def after() -> None:
        seen.background[f"{user_of(request)} begun"] += 1
        await released[user_of(request)].wait()
        seen.background[f"{user_of(request)} done"] += 1

    return PlainTextResponse(probe.PIECES[0], background=BackgroundTask(after))


async def _begin(send: Send) -> None:
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def _piece(send: Send, text: str, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": text.encode(), "more_body": more})


class Children:
    """Sends from child tasks, several at once."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with asyncio.TaskGroup() as first:
            first.create_task(_begin(send))
        async with asyncio.TaskGroup() as group:
            for text in probe.PIECES:
                group.create_task(_piece(send, text))
        await _piece(send, "", more=False)


class Stubborn:
    """Goes on sending whatever is done to end it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _begin(send)
        for text in probe.PIECES * 2:
            try:
                await _piece(send, text)
                await asyncio.sleep(0.02)
            except asyncio.CancelledError:
                continue
        await _piece(send, "", more=False)


async def release(request: Request) -> Response:
    released[user_of(request)].set()
    return Response()


async def at_work(_request: Request) -> Response:
    return JSONResponse({**probe.at_work(), "background": seen.background})


def records(request: Request) -> Response:
    safety.store.flush()
    latest = safety.store.latest(int(request.query_params["count"]))
    return JSONResponse([[r.identity, r.reason, r.status, r.aborted_calls] for r in latest])


HANDLERS: dict[str, Any] = {
    "echo": echo,
    "stream": stream,
    "catches": catches,
    "held": held,
    "generator": generator,
    "threaded": threaded,
    "fails": fails,
    "fails_late": fails_late,
    "background": background,
    "children": Children(),
    "stubborn": Stubborn(),
}


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
    yield
    await plain.close()
    await guarded.close()


app = Starlette(
    routes=[
        *(
            Route(f"/{prefix}/{name}", handler, methods=["POST"])
            for prefix in probe.PREFIXES
            for name, handler in HANDLERS.items()
        ),
        Route("/release", release, methods=["POST"]),
        Route("/at-work", at_work),
        Route("/records", records),
    ],
    lifespan=lifespan,
)
app.add_middleware(SafetyMiddleware, safety=safety)
