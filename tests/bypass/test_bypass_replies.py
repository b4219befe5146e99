"""Ways round the gate: not one byte of an app's answer leaves a refused turn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from safety_middleware import ContentBlocked
from safety_middleware_starlette import SafetyMiddleware

from .conftest import BAD, Bench, Endpoint, blocked, raw, written

Handler = Callable[[Request], Awaitable[Response]]


async def plain(request: Request) -> Response:
    return PlainTextResponse("LEAK", headers={"x-leak": "LEAK"})


async def cookies(request: Request) -> Response:
    answer = PlainTextResponse("LEAK")
    answer.set_cookie("reply", "LEAK")
    return answer


async def streams(request: Request) -> Response:
    async def pieces() -> AsyncIterator[str]:
        while True:
            yield "LEAK"
            await asyncio.sleep(0.01)

    return StreamingResponse(pieces())


async def swallows(request: Request) -> Response:
    for _ in range(100):
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            continue
    return PlainTextResponse("LEAK")


async def renames(request: Request) -> Response:
    try:
        await asyncio.sleep(10)
    except asyncio.CancelledError:
        raise RuntimeError("LEAK") from None
    return PlainTextResponse("LEAK")


async def groups(request: Request) -> Response:
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(10))
    return PlainTextResponse("LEAK")


def blocks(request: Request) -> Response:
    time.sleep(0.5)  # a thread, which nobody can cancel
    return PlainTextResponse("LEAK")


async def raises(request: Request) -> Response:
    raise RuntimeError("LEAK")


async def denies(request: Request) -> Response:
    raise HTTPException(402, "LEAK")


HANDLERS: list[Any] = [
    plain,
    cookies,
    streams,
    swallows,
    renames,
    groups,
    blocks,
    raises,
    denies,
]


def flagged(bench: Bench, app: Starlette) -> Any:
    """Say something flagged to the app, whose verdict takes a while."""
    bench.fake.moderation_latency = 0.2
    return bench.serve(app).post("/chat", json={"message": BAD})


def asserts_no_leak(answer: Any) -> None:
    assert blocked(answer)
    assert "LEAK" not in answer.text + str(answer.headers)


@pytest.mark.parametrize("handler", HANDLERS)
def test_whatever_the_handler_does_a_refused_turn_gets_the_refusal(
    bench: Bench, handler: Any
) -> None:
    began = time.monotonic()
    app = bench.guarded([Route("/chat", handler, methods=["POST"])], hold="reply")
    asserts_no_leak(flagged(bench, app))
    assert time.monotonic() - began < 5


class Passing(BaseHTTPMiddleware):
    """The kind of middleware most apps have."""

    async def dispatch(self, request: Request, call_next: Any) -> Response:
        answer: Response = await call_next(request)
        answer.headers["x-passed"] = "yes"
        return answer


class Rescuing:
    """Answers for an app that fails, with what it failed with."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def noticing(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, noticing)
        except Exception as problem:
            if not started:
                await PlainTextResponse(f"{problem}", 500)(scope, receive, send)


@pytest.mark.parametrize("handler", [plain, streams, raises])
def test_middlewares_round_us_see_the_refusal_and_nothing_else(bench: Bench, handler: Any) -> None:
    app = bench.guarded([Route("/chat", handler, methods=["POST"])], hold="reply")
    app.add_middleware(Rescuing)
    app.add_middleware(Passing)
    app.add_middleware(GZipMiddleware, minimum_size=1)
    app.add_middleware(CORSMiddleware, allow_origins=["*"])
    app.add_middleware(SessionMiddleware, secret_key="x" * 32)
    asserts_no_leak(flagged(bench, app))


def test_exception_handlers_of_the_app_answer_for_the_app_alone(bench: Bench) -> None:
    async def any_error(_request: Request, problem: Exception) -> Response:
        return PlainTextResponse(f"LEAK {problem!r}", 500)

    async def caught(_request: Request, _problem: Exception) -> Response:
        return PlainTextResponse("LEAK", 200)

    client = bench.model()

    async def asks(request: Request) -> Response:
        text = (await request.json())["message"]
        try:
            await client.chat.completions.create(
                model="gpt-4o", messages=[{"role": "user", "content": text}]
            )
        except ContentBlocked as blocked_call:
            how = request.headers["x-how"]
            if how == "swallow":
                return PlainTextResponse("LEAK")
            if how == "wrap":
                raise RuntimeError("LEAK") from blocked_call
            if how == "group":
                raise ExceptionGroup("LEAK", [blocked_call]) from None
            raise
        return PlainTextResponse("fine")

    handlers = {Exception: any_error, ContentBlocked: caught}
    app = bench.app([Route("/chat", asks, methods=["POST"])], exception_handlers=handlers)
    app.add_middleware(SafetyMiddleware, safety=bench.safety(hold="model"))
    served = bench.serve(app)
    warm = served.post("/chat", json={"message": "hello"}, headers={"x-how": "raise"})
    assert warm.text == "fine"
    bench.fake.moderation_latency = 0.1
    for how in ("raise", "swallow", "wrap", "group"):
        answer = served.post("/chat", json={"message": f"{BAD} {how}"}, headers={"x-how": how})
        asserts_no_leak(answer)
    assert len(bench.fake.calls("/chat/completions")) == 1


def test_messages_beside_the_body_and_sends_of_other_tasks_wait_too(bench: Bench) -> None:
    async def odd(scope: Scope, receive: Receive, send: Send) -> None:
        async def insists() -> None:
            for _ in range(20):
                await send({"type": "http.response.body", "body": b"LEAK", "more_body": True})
                await asyncio.sleep(0.02)

        for kind in ("early_hint", "pathsend", "zerocopysend", "push"):
            assert f"http.response.{kind}" not in scope.get("extensions", {})
            await send({"type": f"http.response.{kind}", "path": "LEAK", "links": [b"LEAK"]})
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"LEAK")]})
        await asyncio.gather(*(insists() for _ in range(5)))
        await send({"type": "http.response.trailers", "headers": [(b"x", b"LEAK")]})

    app = bench.guarded([Route("/chat", Endpoint(odd))], hold="reply")
    asserts_no_leak(flagged(bench, app))


def test_a_connection_is_of_use_after_a_refusal(bench: Bench) -> None:
    routes = [
        Route("/chat", swallows, methods=["POST"]),
        Route("/plain", plain, methods=["POST"]),
    ]
    app = bench.guarded(routes, ["/chat"], hold="reply")
    bench.fake.moderation_latency = 0.1
    client = bench.serve(app)
    asserts_no_leak(client.post("/chat", json={"message": BAD}))
    assert client.post("/plain", json={}).text == "LEAK"


def test_no_model_call_is_made_after_a_refusal(bench: Bench) -> None:
    client = bench.model()
    ended: list[str] = []

    async def ask(where: str) -> None:
        await asyncio.sleep(0.3)
        try:
            await client.with_options(timeout=5).chat.completions.create(
                model="gpt-4o", messages=[{"role": "user", "content": "later"}]
            )
        except ContentBlocked:
            ended.append(where)

    async def leaves_work(request: Request) -> Response:
        request.app.state.task = asyncio.create_task(ask("task"))
        return PlainTextResponse("LEAK", background=BackgroundTask(ask, "background"))

    app = bench.guarded([Route("/chat", leaves_work, methods=["POST"])], hold="reply")
    asserts_no_leak(flagged(bench, app))
    deadline = time.monotonic() + 5
    while "task" not in ended and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "task" in ended
    assert bench.fake.calls("/chat/completions") == []


def test_a_turn_opened_inside_a_refused_one_is_refused_with_it(bench: Bench) -> None:
    safety = bench.safety(hold="reply")
    client = bench.model()

    async def binds(request: Request) -> Response:
        await asyncio.sleep(0.3)
        with safety.bind("job", max_output_tokens=5):
            await client.chat.completions.create(
                model="gpt-4o", messages=[{"role": "user", "content": "x"}]
            )
        return PlainTextResponse("LEAK")

    app = bench.app([Route("/chat", binds, methods=["POST"])])
    app.add_middleware(SafetyMiddleware, safety=safety)
    asserts_no_leak(flagged(bench, app))
    assert bench.fake.calls("/chat/completions") == []


def test_observing_changes_no_byte_and_delays_no_piece(bench: Bench) -> None:
    async def slow(request: Request) -> Response:
        await request.body()

        async def pieces() -> AsyncIterator[str]:
            for n in range(3):
                yield f"data: {n}\n\n"
                await asyncio.sleep(0.05)

        return StreamingResponse(pieces(), media_type="text/event-stream")

    routes = [Route("/chat", slow, methods=["POST"])]
    bare = bench.serve(Starlette(routes=list(routes)))
    watched = bench.serve(
        bench.guarded([Route("/chat", slow, methods=["POST"])], observe=True, max_input_chars=1)
    )
    bench.fake.moderation_latency = 2
    for body in ({"message": BAD}, b"\xff{", b"x" * 300_000):
        answers = [
            b"\r\n".join(
                line
                for line in raw(client, written("POST", "/chat", body)).split(b"\r\n")
                if not line.lower().startswith(b"date:")
            )
            for client in (bare, watched)
        ]
        assert answers[0] == answers[1]
    began = time.monotonic()
    assert watched.post("/chat", json={"message": f"{BAD} again"}).status_code == 200
    assert time.monotonic() - began < 1.5
