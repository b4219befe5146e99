"""Serving the API: reading requests, finding what answers them, answering as settings say."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast
from weakref import WeakKeyDictionary

from aiohttp import web

from ._answers import Answer, Refused, Stream, compact, refused
from ._bodies import parse
from ._chat import chat
from ._exchange import Exchange, in_stream
from ._faults import Failures
from ._images import images
from ._latency import Latency
from ._log import Log, Seen, endpoint_of
from ._moderation import MODERATION_MODEL, moderations
from ._replies import Reply
from ._responses import responses

__all__ = ["Manner", "Service"]

_MODELS = ("fake-model", MODERATION_MODEL)


@dataclass(eq=False, repr=False)
class Manner:
    """How the fake behaves; all of it may be set while it runs, for requests to come.

    Attributes:
        moderation_latency: Seconds until ``/moderations`` answers.
        first_token_latency: Seconds until the model's first token, or an image.
        token_interval: Seconds between two tokens; a function is asked before each.
        reply: What the model says: a text, its chunks, a function of the request's JSON that
            gives either (and must not block), or any of these by number of the choice.
        headers: Headers of every answer; set ``x-ratelimit-*`` here.
        cases: What ``/safety/cases/{id}`` knows, by id; see ``FakeOpenAI.add_case``.
        on_answer: Called in the server's thread when a request is over, one way or another.
    """

    moderation_latency: Latency
    first_token_latency: Latency
    token_interval: Latency
    reply: Reply
    headers: dict[str, str]
    cases: dict[str, dict[str, Any]]
    on_answer: Callable[[Seen], object] | None


class Service:
    """Answers requests and keeps the log."""

    def __init__(self, manner: Manner, log: Log, failures: Failures) -> None:
        self.stopping = False
        self._manner = manner
        self._log = log
        self._failures = failures
        self._numbers = itertools.count(1)
        self._connections: WeakKeyDictionary[asyncio.Transport, int] = WeakKeyDictionary()
        self._connected = itertools.count(1)

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        try:
            return await self._serve(request)
        except ConnectionError:
            # A client that left is nothing to log, which aiohttp would do.
            raise asyncio.CancelledError from None

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        seen = await self._read(request)
        exchange = Exchange(request, seen, self._log, self._manner.headers)
        try:
            return await self._answer(exchange)
        except (asyncio.CancelledError, ConnectionError):
            seen.aborted = not (exchange.broken or self.stopping)
            raise
        finally:
            if seen.finished is None or seen.aborted:
                exchange.finish()
            if self._manner.on_answer:
                self._manner.on_answer(seen)

    async def _read(self, request: web.BaseRequest) -> Seen:
        started = time.monotonic()
        # Never None: losing the connection cancels the handler before it can run.
        transport = cast("asyncio.Transport", request.transport)
        connection = self._connections.get(transport) or next(self._connected)
        self._connections[transport] = connection
        raw = await request.content.read()
        seen = Seen(
            method=request.method,
            path=request.path,
            endpoint=endpoint_of(request.path),
            query=request.query_string,
            headers=request.headers,
            body=parse(request.headers.get("content-type", ""), raw),
            connection=connection,
            request_id=f"req_{next(self._numbers):032x}",
            started=started,
        )
        self._log.add(seen)
        return seen

    async def _answer(self, exchange: Exchange) -> web.StreamResponse:
        seen, manner = exchange.seen, self._manner
        fault = self._failures.meeting(seen)
        if fault and not in_stream(fault):
            return await exchange.fail(fault, Answer(b"{}"))
        try:
            answer = self._respond(seen)
        except Refused as refusal:
            return await exchange.send(refusal.answer.body, refusal.answer.status)
        if isinstance(answer, Stream):
            pace = manner.first_token_latency, manner.token_interval
            return await exchange.stream(answer, *pace, fault)
        if fault:
            return await exchange.fail(fault, answer)
        if seen.method == "GET":
            return await exchange.send(answer.body)
        if seen.endpoint == "/moderations":
            return await exchange.answer(answer, manner.moderation_latency)
        return await exchange.answer(answer, manner.first_token_latency, manner.token_interval)

    def _respond(self, seen: Seen) -> Answer | Stream:
        if not seen.headers.get("api-key") and not _bearer(seen.headers):
            raise refused("You didn't provide an API key.", status=401)
        number = int(seen.request_id[4:], 16)
        match seen.method, seen.endpoint:
            case "POST", "/moderations":
                return moderations(seen.body, number)
            case "POST", "/chat/completions":
                return chat(seen.body, number, self._manner.reply)
            case "POST", "/responses":
                return responses(seen.body, number, self._manner.reply)
            case "POST", "/images/generations" | "/images/edits":
                return images(seen.body, seen.endpoint)
            case "GET", path:
                return self._resource(path)
            case _:
                raise _unknown(f"Invalid URL ({seen.method} {seen.path})")

    def _resource(self, path: str) -> Answer:
        folder, _, name = path.rpartition("/")
        if path == "/models":
            return Answer(compact({"object": "list", "data": [_model(m) for m in _MODELS]}))
        if folder == "/models":
            return Answer(compact(_model(name)))
        if folder == "/safety/cases" and name in self._manner.cases:
            return Answer(compact(self._manner.cases[name]))
        raise _unknown(f"There is nothing at {path}")


def _unknown(message: str) -> Refused:
    return refused(message, status=404)


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "fake"}


def _bearer(headers: Mapping[str, str]) -> str:
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
