"""The same as a Flask app, with the kinds of handler that Flask has."""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from flask import Flask, request
from flask import Response as FlaskResponse
from openai import OpenAI

from safety_middleware import guard_client
from safety_middleware_flask import SafetyMiddleware

from . import probe

released: defaultdict[str, threading.Event] = defaultdict(threading.Event)
safety = probe.safety(lambda: request.headers.get("x-user"))
plain = OpenAI(base_url=os.environ["PROBE_OPENAI"], api_key="sk-test", max_retries=0)
guarded = guard_client(plain)


def client() -> OpenAI:
    return plain if request.path.startswith("/bare/") else guarded


def words(client: OpenAI, text: str) -> Iterator[str]:
    with client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": text}], stream=True
    ) as stream:
        for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content


def _text(pieces: Iterator[str]) -> FlaskResponse:
    return FlaskResponse(pieces, mimetype="text/plain")


def echo() -> FlaskResponse:
    return FlaskResponse(request.get_data(), mimetype="application/octet-stream")


def stream() -> FlaskResponse:
    return _text(words(client(), request.get_json()["message"]))


def catches() -> FlaskResponse:
    chosen, text = client(), request.get_json()["message"]

    def pieces() -> Iterator[str]:
        try:
            yield from words(chosen, text)
        except Exception:
            yield f"{probe.SECRET} apology"

    return _text(pieces())


def held() -> FlaskResponse:
    request.get_data()
    event = released[request.headers["x-user"]]

    def pieces() -> Iterator[str]:
        yield probe.PIECES[0]
        event.wait(20)
        yield probe.PIECES[1]

    return _text(pieces())


def generator() -> FlaskResponse:
    return _text(iter(probe.PIECES))


def threaded() -> str:
    return "".join(probe.PIECES)


def fails() -> FlaskResponse:
    raise RuntimeError("the app's own bug")


def fails_late() -> FlaskResponse:
    def pieces() -> Iterator[str]:
        yield probe.PIECES[0]
        raise RuntimeError("the app's own bug")

    return _text(pieces())


def release() -> str:
    released[request.headers["x-user"]].set()
    return ""


def at_work() -> dict[str, Any]:
    return probe.at_work()


def records() -> list[Any]:
    safety.store.flush()
    latest = safety.store.latest(int(request.args["count"]))
    return [[r.identity, r.reason, r.status, r.aborted_calls] for r in latest]


HANDLERS: dict[str, Callable[[], Any]] = {
    "echo": echo,
    "stream": stream,
    "catches": catches,
    "held": held,
    "generator": generator,
    "threaded": threaded,
    "fails": fails,
    "fails_late": fails_late,
}

app = Flask("probe")
for prefix in probe.PREFIXES:
    for name, handler in HANDLERS.items():
        app.add_url_rule(f"/{prefix}/{name}", f"{prefix}-{name}", handler, methods=["POST"])
app.add_url_rule("/release", "release", release, methods=["POST"])
app.add_url_rule("/at-work", "at_work", at_work)
app.add_url_rule("/records", "records", records)
SafetyMiddleware(app, safety=safety)
