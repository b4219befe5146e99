"""The same small chat app, once for each framework; the contract's tests know nothing of them."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from litestar import Request as LitestarRequest
from litestar import Response as LitestarResponse
from litestar.response import Stream
from openai import AsyncOpenAI, OpenAI
from starlette.requests import Request
from starlette.responses import Response

from safety_middleware import Safety, guard_client
from safety_middleware_flask import SafetyMiddleware as FlaskSafety
from safety_middleware_flask import exempt as flask_exempt
from safety_middleware_flask import protect as flask_protect
from safety_middleware_starlette import SafetyMiddleware, exempt, protect


@dataclass
class Seen:
    """What the app's own code saw: bodies that reached a handler, and how its streams ended."""

    bodies: list[bytes] = field(default_factory=list[bytes])
    ended: list[str] = field(default_factory=list[str])


@dataclass(frozen=True)
class Built:
    """An app and what a test looks at."""

    app: Any
    seen: Seen
    safety: Safety


Build = Callable[[Safety, str], Built]


def said(body: bytes) -> str:
    """The message of a request, as a handler reads it."""
    read: Any = json.loads(body)
    return str(read["message"])


async def streamed(client: AsyncOpenAI, text: str, seen: Seen) -> AsyncIterator[str]:
    """The model's answer, piece by piece."""
    try:
        # the SDK's stream and its iterator are a cycle: closed here, not when it is collected
        async with await client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": text}], stream=True
        ) as stream:
            async for chunk in stream:
                if chunk.choices and chunk.choices[0].delta.content:
                    yield chunk.choices[0].delta.content
        seen.ended.append("whole")
    except BaseException as end:
        seen.ended.append(type(end).__name__)
        raise


def streamed_blocking(client: OpenAI, text: str, seen: Seen) -> Iterator[str]:
    """The same with the blocking client."""
    try:
        with client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": text}], stream=True
        ) as stream:
            for chunk in stream:
                if chunk.choices and chunk.choices[0].delta.content:
                    yield chunk.choices[0].delta.content
        seen.ended.append("whole")
    except BaseException as end:
        seen.ended.append(type(end).__name__)
        raise


def _async_client(base_url: str) -> AsyncOpenAI:
    return guard_client(AsyncOpenAI(base_url=base_url, api_key="sk-test", max_retries=0))


def _closing(client: AsyncOpenAI) -> Any:
    """A lifespan that closes *client*, as any app's should."""

    @asynccontextmanager
    async def lifespan(_app: Any) -> AsyncGenerator[None, None]:
        yield
        await client.close()

    return lifespan


async def _answer(client: AsyncOpenAI, text: str) -> str:
    completion = await client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": text}]
    )
    return completion.choices[0].message.content or ""


def starlette(safety: Safety, base_url: str) -> Built:
    """Starlette, with routes, a mount and a class."""
    from starlette.applications import Starlette
    from starlette.endpoints import HTTPEndpoint
    from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
    from starlette.routing import Mount, Route

    seen, client = Seen(), _async_client(base_url)

    async def echo(request: Request) -> Response:
        body = await request.body()
        seen.bodies.append(body)
        return Response(body, headers={"x-app": "yes"}, media_type="application/octet-stream")

    async def model(request: Request) -> Response:
        return PlainTextResponse(await _answer(client, said(await request.body())))

    async def stream(request: Request) -> Response:
        return StreamingResponse(streamed(client, said(await request.body()), seen))

    @protect
    async def marked(request: Request) -> Response:
        return await echo(request)

    @exempt
    async def open_(request: Request) -> Response:
        return await echo(request)

    @protect(max_input_chars=5)
    class Classed(HTTPEndpoint):
        async def post(self, request: Request) -> Response:
            return await echo(request)

    async def fails(request: Request) -> Response:
        raise RuntimeError("the app's own bug")

    async def users(request: Request) -> Response:
        return JSONResponse({"ok": True})

    chats = [Route("/chat", echo, methods=["POST"])]
    app = Starlette(
        routes=[
            Route("/chat", echo, methods=["POST", "GET"]),
            Route("/chat/model", model, methods=["POST"]),
            Route("/chat/stream", stream, methods=["POST"]),
            Route("/chat/open", open_, methods=["POST"]),
            Route("/chat/fails", fails, methods=["POST"]),
            Route("/marked", marked, methods=["POST"]),
            Route("/classed", Classed),
            Route("/plain", echo, methods=["POST"]),
            Mount("/api/v1", routes=chats),
            Route("/users", users),
        ],
        lifespan=_closing(client),
    )
    app.add_middleware(SafetyMiddleware, safety=safety)
    return Built(app, seen, safety)


def fastapi(safety: Safety, base_url: str) -> Built:
    """FastAPI, with an included router."""
    from fastapi import APIRouter, FastAPI
    from fastapi.responses import PlainTextResponse, StreamingResponse

    seen, client = Seen(), _async_client(base_url)
    app, router = FastAPI(lifespan=_closing(client)), APIRouter()

    @router.post("/chat")
    @app.api_route("/chat", methods=["GET", "POST"])
    @app.post("/plain")
    async def echo(request: Request) -> Response:
        body = await request.body()
        seen.bodies.append(body)
        return Response(body, headers={"x-app": "yes"}, media_type="application/octet-stream")

    @app.post("/chat/model")
    async def model(body: dict[str, Any]) -> Response:
        return PlainTextResponse(await _answer(client, str(body["message"])))

    @app.post("/chat/stream")
    async def stream(body: dict[str, Any]) -> Response:
        return StreamingResponse(streamed(client, str(body["message"]), seen))

    @app.post("/marked")
    @protect
    async def marked(request: Request) -> Response:
        return await echo(request)

    @app.post("/classed")
    @protect(max_input_chars=5)
    async def classed(request: Request) -> Response:
        return await echo(request)

    @app.post("/chat/open")
    @exempt
    async def open_(request: Request) -> Response:
        return await echo(request)

    @app.post("/chat/fails")
    async def fails() -> Response:
        raise RuntimeError("the app's own bug")

    app.include_router(router, prefix="/api/v1")
    app.add_middleware(SafetyMiddleware, safety=safety)
    return Built(app, seen, safety)


def flask(safety: Safety, base_url: str) -> Built:
    """Flask, with a blueprint and a class."""
    from flask import Blueprint, Flask, request
    from flask import Response as FlaskResponse
    from flask.views import MethodView

    app, api = Flask("contract"), Blueprint("api", "contract", url_prefix="/api/v1")
    seen = Seen()
    client = guard_client(OpenAI(base_url=base_url, api_key="sk-test", max_retries=0))

    def echo() -> FlaskResponse:
        body = request.get_data()
        seen.bodies.append(body)
        return FlaskResponse(body, headers={"x-app": "yes"}, mimetype="application/octet-stream")

    app.add_url_rule("/chat", "chat", echo, methods=["GET", "POST"])
    app.add_url_rule("/plain", "plain", echo, methods=["POST"])
    api.add_url_rule("/chat", "chat", echo, methods=["POST"])

    @app.post("/chat/model")
    def model() -> str:
        completion = client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": said(request.get_data())}]
        )
        return completion.choices[0].message.content or ""

    @app.post("/chat/stream")
    def stream() -> FlaskResponse:
        text = said(request.get_data())
        return FlaskResponse(streamed_blocking(client, text, seen), mimetype="text/plain")

    @app.post("/marked")
    @flask_protect
    def marked() -> FlaskResponse:
        return echo()

    @app.post("/chat/open")
    @flask_exempt
    def open_() -> FlaskResponse:
        return echo()

    @app.post("/chat/fails")
    def fails() -> FlaskResponse:
        raise RuntimeError("the app's own bug")

    @flask_protect(max_input_chars=5)
    class Classed(MethodView):
        def post(self) -> FlaskResponse:
            return echo()

    app.add_url_rule("/classed", view_func=Classed.as_view("classed"))
    app.register_blueprint(api)
    FlaskSafety(app, safety=safety)
    return Built(app, seen, safety)


def quart(safety: Safety, base_url: str) -> Built:
    """Quart: an ASGI app whose router the middleware can't see."""
    from quart import Quart, request
    from quart import Response as QuartResponse

    app = Quart("contract")
    seen, client = Seen(), _async_client(base_url)

    async def echo() -> QuartResponse:
        body: Any = await request.get_data()
        seen.bodies.append(body)
        return QuartResponse(body, headers={"x-app": "yes"}, mimetype="application/octet-stream")

    for path in ("/chat", "/plain", "/api/v1/chat"):
        methods = ["GET", "POST"] if path == "/chat" else ["POST"]
        app.add_url_rule(path, path, echo, methods=methods)

    @app.post("/chat/model")
    async def model() -> str:
        body: Any = await request.get_data()
        return await _answer(client, said(body))

    @app.post("/chat/stream")
    async def stream() -> QuartResponse:
        body: Any = await request.get_data()
        return QuartResponse(streamed(client, said(body), seen), mimetype="text/plain")

    @app.post("/chat/fails")
    async def fails() -> QuartResponse:
        raise RuntimeError("the app's own bug")

    app.after_serving(client.close)
    return Built(SafetyMiddleware(app, safety=safety), seen, safety)


def litestar(safety: Safety, base_url: str) -> Built:
    """Litestar, likewise."""
    from litestar import Litestar, post, route

    seen, client = Seen(), _async_client(base_url)

    def echo(body: bytes) -> LitestarResponse[bytes]:
        seen.bodies.append(body)
        return LitestarResponse(
            body, headers={"x-app": "yes"}, media_type="application/octet-stream", status_code=200
        )

    @route(["/chat"], http_method=["GET", "POST"], status_code=200)
    async def chat(request: LitestarRequest[Any, Any, Any]) -> LitestarResponse[bytes]:
        return echo(await request.body())

    @post(["/plain", "/api/v1/chat"], status_code=200)
    async def others(request: LitestarRequest[Any, Any, Any]) -> LitestarResponse[bytes]:
        return echo(await request.body())

    @post("/chat/model", status_code=200, media_type="text/plain")
    async def model(request: LitestarRequest[Any, Any, Any]) -> str:
        return await _answer(client, said(await request.body()))

    @post("/chat/stream", status_code=200)
    async def stream(request: LitestarRequest[Any, Any, Any]) -> Stream:
        return Stream(streamed(client, said(await request.body()), seen), media_type="text/plain")

    @post("/chat/fails", status_code=200)
    async def fails() -> None:
        raise RuntimeError("the app's own bug")

    handlers = [chat, others, model, stream, fails]
    app = Litestar(route_handlers=handlers, openapi_config=None, on_shutdown=[client.close])
    return Built(SafetyMiddleware(app, safety=safety), seen, safety)
