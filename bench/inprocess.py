"""What a request costs in process, beside the bare app in the same run: protected and not.

usage: python bench/inprocess.py [--framework starlette|flask]

Prints the median and the lower quartile of many short interleaved rounds, in microseconds of CPU
time of the serving thread. On a machine that others share the lower quartile is the steadier one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

ROUNDS = 200
CALLS = 40
BODY = json.dumps({"message": "What is a good name for a small green boat on a lake?"}).encode()
SETTINGS: dict[str, Any] = {
    "secret": "0" * 64,
    "openai_api_key": "sk-bench",
    "user": None,
    "limits": "1000000/minute;9000000/day",
    "address_limits": "1000000/minute",
    "moderation": False,
    "reply": "off",
}


Found = dict[str, tuple[float, float]]
"""Name of a run -> median and lower quartile of its rounds, in microseconds a call."""


def rounds(runs: dict[str, Callable[[], float]]) -> Found:
    """Interleave the runs, so that noise meets all alike."""
    seen: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()  # what is done once, at the first request
    for _ in range(ROUNDS):
        for name, run in runs.items():
            seen[name].append(run())
    return {
        name: (statistics.median(times), statistics.quantiles(times, n=4)[0])
        for name, times in seen.items()
    }


def starlette() -> Found:  # noqa: C901  # a small app, and what calls it
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    from safety_middleware_starlette import SafetyMiddleware

    async def handler(request: Request) -> PlainTextResponse:
        await request.body()
        return PlainTextResponse("ok")

    def app(*, guarded: bool) -> Starlette:
        paths = ["/chat", "/plain", *(f"/other/{n}" for n in range(18))]
        built = Starlette(routes=[Route(path, handler, methods=["POST"]) for path in paths])
        if guarded:
            chosen = {**SETTINGS, "user": lambda _request: "user-42"}
            built.add_middleware(SafetyMiddleware, routes=["/chat"], **chosen)
        return built

    loop = asyncio.new_event_loop()

    async def call(built: Starlette, path: str) -> None:
        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(BODY)).encode()),
            ],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "scheme": "http",
            "root_path": "",
            "http_version": "1.1",
            "asgi": {"version": "3.0"},
            "state": {},
        }

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": BODY, "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start" and message["status"] != 200:
                raise RuntimeError(message)

        await built(scope, receive, send)

    def run(built: Starlette, path: str) -> Callable[[], float]:
        async def many() -> float:
            began = time.thread_time()
            for _ in range(CALLS):
                await call(built, path)
            return (time.thread_time() - began) / CALLS * 1e6

        return lambda: loop.run_until_complete(many())

    bare, guarded = app(guarded=False), app(guarded=True)
    runs = {
        "bare": run(bare, "/plain"),
        "unprotected": run(guarded, "/plain"),
        "bare chat": run(bare, "/chat"),
        "protected, no call": run(guarded, "/chat"),
    }
    try:
        return rounds(runs)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def flask() -> Found:
    from flask import Flask, request
    from werkzeug.test import EnvironBuilder

    from safety_middleware_flask import SafetyMiddleware

    def app(*, guarded: bool) -> Flask:
        built = Flask("bench")
        for path in ["/chat", "/plain", *(f"/other/{n}" for n in range(18))]:
            built.add_url_rule(path, path, lambda: request.get_data() and "ok", methods=["POST"])
        if guarded:
            SafetyMiddleware(built, routes=["/chat"], **{**SETTINGS, "user": lambda: "user-42"})
        return built

    def run(built: Flask, path: str) -> Callable[[], float]:
        def many() -> float:
            environs = [
                EnvironBuilder(
                    path=path, method="POST", data=BODY, content_type="application/json"
                ).get_environ()
                for _ in range(CALLS)
            ]
            began = time.thread_time()
            for environ in environs:
                pieces = built.wsgi_app(environ, lambda *_: None)
                b"".join(pieces)
                getattr(pieces, "close", lambda: None)()
            return (time.thread_time() - began) / CALLS * 1e6

        return many

    bare, guarded = app(guarded=False), app(guarded=True)
    return rounds(
        {
            "bare": run(bare, "/plain"),
            "unprotected": run(guarded, "/plain"),
            "bare chat": run(bare, "/chat"),
            "protected, no call": run(guarded, "/chat"),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--framework", choices=("starlette", "flask"), default="starlette")
    chosen = parser.parse_args().framework
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        found = {"starlette": starlette, "flask": flask}[chosen]()
    print(f"{'microseconds a call':24}{'median':>10}{'quartile':>10}")
    for name, (median, quartile) in found.items():
        print(f"{name:24}{median:10.1f}{quartile:10.1f}")
    for name, guarded, bare in (
        ("added, unprotected", "unprotected", "bare"),
        ("added, protected", "protected, no call", "bare chat"),
    ):
        median, quartile = (a - b for a, b in zip(found[guarded], found[bare], strict=True))
        print(f"{name:24}{median:10.1f}{quartile:10.1f}")


if __name__ == "__main__":
    main()
