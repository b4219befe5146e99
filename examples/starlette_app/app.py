"""A small chat app on Starlette. The lines that guard it end in ``# safety_middleware``.

pip install "safety-middleware[starlette]" uvicorn
OPENAI_API_KEY=… uvicorn app:app

Without a key it talks to a stand-in for the API that comes with the library.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

from openai import APIError, AsyncOpenAI, AsyncStream
from openai.types.chat import ChatCompletionChunk
from starlette.applications import Starlette
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.responses import RedirectResponse as Redirect
from starlette.routing import Route

from safety_middleware import guard_client  # safety_middleware
from safety_middleware_starlette import SafetyMiddleware  # safety_middleware

if not os.environ.get("OPENAI_API_KEY"):
    from safety_middleware.testing import FakeOpenAI

    stand_in = FakeOpenAI(moderation_latency=0.4, first_token_latency=0.5, token_interval=0.03)
    os.environ |= {"OPENAI_API_KEY": "none", "OPENAI_BASE_URL": stand_in.start().base_url}

MODEL = os.environ.get("CHAT_MODEL", "gpt-5-mini")
PAGE = Path(__file__).parent / "templates" / "chat.html"
client = guard_client(AsyncOpenAI())  # safety_middleware


async def page(_request: Request) -> Response:
    return FileResponse(PAGE, headers={"Cache-Control": "no-cache"})


async def me(request: Request) -> Response:
    return JSONResponse({"user": request.session.get("user")})


async def login(request: Request) -> Response:
    async with request.form() as form:
        request.session["user"] = str(form.get("user", ""))
    return Redirect("./", status_code=303)


async def logout(request: Request) -> Response:
    request.session.clear()
    return Redirect("./", status_code=303)


async def chat(request: Request) -> Response:
    try:
        messages = (await request.json())["messages"]
        stream = await client.chat.completions.create(model=MODEL, messages=messages, stream=True)
    except (KeyError, TypeError, ValueError):
        return JSONResponse({"error": {"message": "There are no messages."}}, 400)
    except APIError:
        return JSONResponse({"error": {"message": "The model did not answer."}}, 502)
    return StreamingResponse(events(stream), media_type="text/event-stream")


async def events(stream: AsyncStream[ChatCompletionChunk]) -> AsyncIterator[str]:
    """The answer as server-sent events: pieces of text, then why it ended."""
    async with stream:
        async for chunk in stream:
            for choice in chunk.choices:
                if choice.delta.content:
                    yield f"data: {json.dumps({'text': choice.delta.content})}\n\n"
                if choice.finish_reason:
                    yield f"data: {json.dumps({'finish': choice.finish_reason})}\n\n"


def user_of(request: Request) -> str | None:
    user: str | None = request.session.get("user")
    return user


routes = [
    Route("/", page),
    Route("/me", me),
    Route("/login", login, methods=["POST"]),
    Route("/logout", logout, methods=["POST"]),
    Route("/chat", chat, methods=["POST"]),
]
app = Starlette(routes=routes)
app.add_middleware(SafetyMiddleware, routes=["/chat"], user=user_of)  # safety_middleware
app.add_middleware(SessionMiddleware, secret_key=os.environ.get("APP_SECRET", secrets.token_hex()))
