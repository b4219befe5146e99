"""Uses the installed package as a stranger would: no sources on the path, everything over HTTP."""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

PACKAGES = ("safety_middleware", "safety_middleware_flask", "safety_middleware_starlette")


def see_packages(sources: Path) -> None:
    """Every package comes from the wheel, and is typed."""
    for name in PACKAGES:
        place = Path(importlib.import_module(name).__file__ or "").parent
        assert not place.is_relative_to(sources), f"{name} was imported from the sources"
        assert (place / "py.typed").is_file(), f"{name} has no py.typed"


@contextmanager
def flask_app() -> Iterator[str]:
    """A guarded Flask app on a port of its own."""
    from flask import Flask, request

    from safety_middleware_flask import SafetyMiddleware

    class Quiet(WSGIRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    app = Flask("smoke")
    SafetyMiddleware(app)

    @app.post("/chat")
    def chat() -> dict[str, Any]:
        return {"reply": request.get_json()["text"]}

    with make_server("127.0.0.1", 0, app, handler_class=Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextmanager
def starlette_app() -> Iterator[str]:
    """A guarded Starlette app, called in process."""
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route
    from starlette.testclient import TestClient

    from safety_middleware_starlette import SafetyMiddleware

    async def chat(request: Any) -> JSONResponse:
        return JSONResponse({"reply": (await request.json())["text"]})

    app = Starlette(routes=[Route("/chat", chat, methods=["POST"])])
    app.add_middleware(SafetyMiddleware)
    with TestClient(app) as client:
        for text, status in (("hello", 200), ("UNSAFE", 400)):
            assert client.post("/chat", json={"text": text}).status_code == status, text
    yield ""


def post(url: str, text: str) -> int:
    """The status of a message."""
    body, kind = json.dumps({"text": text}).encode(), {"Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, kind), timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        refused.close()
        return refused.code


def main(sources: str) -> None:
    """Run everything."""
    see_packages(Path(sources).resolve())
    from safety_middleware.testing import FakeOpenAI

    with FakeOpenAI() as fake:
        os.environ |= {"OPENAI_BASE_URL": fake.base_url, "OPENAI_API_KEY": "none"}
        with starlette_app():
            pass
        with flask_app() as url:
            assert post(f"{url}/chat", "hello") == 200
            assert post(f"{url}/chat", "UNSAFE") == 400
    print("the installed wheel works")


if __name__ == "__main__":
    main(sys.argv[1])
