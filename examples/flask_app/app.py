"""A small chat app on Flask. The lines that guard it end in ``# safety_middleware``.

pip install "safety-middleware[flask]" gunicorn
OPENAI_API_KEY=… gunicorn --threads 100 app:app

Without a key it talks to a stand-in for the API that comes with the library.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator

from flask import Flask, Response, redirect, render_template, request, session
from flask.typing import ResponseReturnValue
from openai import APIError, OpenAI, Stream
from openai.types.chat import ChatCompletionChunk

from safety_middleware import guard_client  # safety_middleware
from safety_middleware_flask import SafetyMiddleware  # safety_middleware

if not os.environ.get("OPENAI_API_KEY"):
    from safety_middleware.testing import FakeOpenAI

    stand_in = FakeOpenAI(moderation_latency=0.4, first_token_latency=0.5, token_interval=0.03)
    os.environ |= {"OPENAI_API_KEY": "none", "OPENAI_BASE_URL": stand_in.start().base_url}

MODEL = os.environ.get("CHAT_MODEL", "gpt-5-mini")
client = guard_client(OpenAI())  # safety_middleware
app = Flask(__name__)
app.secret_key = os.environ.get("APP_SECRET", secrets.token_hex())
SafetyMiddleware(app, routes=["/chat"], user=lambda: session.get("user"))  # safety_middleware


@app.get("/")
def page() -> ResponseReturnValue:
    return render_template("chat.html")


@app.get("/me")
def me() -> ResponseReturnValue:
    return {"user": session.get("user")}


@app.post("/login")
def login() -> ResponseReturnValue:
    session["user"] = request.form.get("user", "")
    return redirect("./", 303)


@app.post("/logout")
def logout() -> ResponseReturnValue:
    session.clear()
    return redirect("./", 303)


@app.post("/chat")
def chat() -> ResponseReturnValue:
    try:
        messages = request.get_json()["messages"]
        stream = client.chat.completions.create(model=MODEL, messages=messages, stream=True)
    except (KeyError, TypeError, ValueError):
        return {"error": {"message": "There are no messages."}}, 400
    except APIError:
        return {"error": {"message": "The model did not answer."}}, 502
    return Response(events(stream), mimetype="text/event-stream")


def events(stream: Stream[ChatCompletionChunk]) -> Iterator[str]:
    """The answer as server-sent events: pieces of text, then why it ended."""
    with stream:
        for chunk in stream:
            for choice in chunk.choices:
                if choice.delta.content:
                    yield f"data: {json.dumps({'text': choice.delta.content})}\n\n"
                if choice.finish_reason:
                    yield f"data: {json.dumps({'finish': choice.finish_reason})}\n\n"
