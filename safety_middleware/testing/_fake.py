"""FakeOpenAI: the server with its settings, its log and its failures."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar
from weakref import WeakKeyDictionary

from aiohttp import web

from ._answers import Answer, Refused, Stream, compact, error_body, refused
from ._chat import chat
from ._exchange import Exchange, in_stream
from ._faults import Failure, Failures, Fault, Kind
from ._latency import Latency
from ._log import Log, Seen
from ._moderation import moderations
from ._replies import Reply, echo
from ._server import HOST, ServerThread

__all__ = ["FakeOpenAI"]

T = TypeVar("T")

_PREFIX = re.compile(r"^(?:/openai/deployments/[^/]+|/openai/v1|/openai|/v1)(?=/)")
_HEADERS = {
    "openai-organization": "org-fake",
    "openai-version": "2020-10-01",
    "x-ratelimit-limit-requests": "10000",
    "x-ratelimit-limit-tokens": "2000000",
    "x-ratelimit-remaining-requests": "9999",
    "x-ratelimit-remaining-tokens": "1999900",
    "x-ratelimit-reset-requests": "6ms",
    "x-ratelimit-reset-tokens": "3ms",
}


class FakeOpenAI:
    """A stand-in for the OpenAI API on the loopback interface, for tests, demos and benchmarks.

    ::

        with FakeOpenAI(moderation_latency=0.5) as fake:
            client = OpenAI(base_url=fake.base_url, api_key="any")

    It may be used from any thread. All attributes may be set while it runs, for requests to come.

    Attributes:
        moderation_latency: Seconds until ``/moderations`` answers.
        first_token_latency: Seconds until the model's first token.
        token_interval: Seconds between two tokens; a function is asked before each.
        reply: What the model says: a text, its chunks, a function of the request's JSON that
            gives either, or any of these by number of the choice. By default ``reply_tokens``
            words that begin with what the user said.
        headers: Headers of every answer; set ``x-ratelimit-*`` here.
    """

    def __init__(
        self,
        *,
        moderation_latency: Latency = 0.0,
        first_token_latency: Latency = 0.0,
        token_interval: Latency = 0.0,
        reply: Reply | None = None,
        reply_tokens: int = 40,
        headers: Mapping[str, str] | None = None,
        port: int = 0,
        keep_alive: float = 75.0,
        keep: int | None = None,
    ) -> None:
        """Take the settings; nothing listens before ``start()``.

        Args:
            moderation_latency: See above.
            first_token_latency: See above.
            token_interval: See above.
            reply: See above.
            reply_tokens: Length of the default reply.
            headers: Headers to add to every answer or to replace there.
            port: Port to listen on; 0 takes a free one.
            keep_alive: Seconds after which an idle connection is closed.
            keep: How many of the newest requests stay in the log; ``None`` keeps all.
        """
        self.moderation_latency = moderation_latency
        self.first_token_latency = first_token_latency
        self.token_interval = token_interval
        self.reply: Reply = echo(reply_tokens) if reply is None else reply
        self.headers: dict[str, str] = {**_HEADERS, **(headers or {})}
        self._port = port
        self._keep_alive = keep_alive
        self._log = Log(keep)
        self._failures = Failures()
        self._numbers = itertools.count(1)
        self._connections: WeakKeyDictionary[asyncio.Transport, int] = WeakKeyDictionary()
        self._connected = itertools.count(1)
        self._thread: ServerThread | None = None

    # Life

    def start(self) -> Self:
        """Listen; returns once requests can be sent.

        Raises:
            OSError: If the port is taken.
            RuntimeError: If it runs already.
        """
        if self._thread:
            raise RuntimeError("this fake runs already")
        thread = ServerThread(self._serve, self._port, self._keep_alive)
        thread.start()
        self._thread = thread
        return self

    def stop(self) -> None:
        """End all connections and free the port; the log stays readable. Twice is fine."""
        thread, self._thread = self._thread, None
        if thread:
            thread.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The port it listens on.

        Raises:
            RuntimeError: If it does not run.
        """
        if not self._thread:
            raise RuntimeError("this fake does not run")
        return self._thread.port

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT``, for Azure's ``azure_endpoint``."""
        return f"http://{HOST}:{self.port}"

    @property
    def base_url(self) -> str:
        """``http://127.0.0.1:PORT/v1``, for ``base_url`` and ``OPENAI_BASE_URL``."""
        return f"{self.url}/v1"

    # What arrived

    @property
    def requests(self) -> list[Seen]:
        """All requests in order of arrival."""
        return self._log.entries()

    def calls(self, endpoint: str) -> list[Seen]:
        """The requests to one endpoint, such as ``/moderations``, in order of arrival."""
        return [seen for seen in self._log.entries() if seen.endpoint == endpoint]

    def clear(self) -> None:
        """Forget the requests so far."""
        self._log.clear()

    def wait_for(self, predicate: Callable[[], T], timeout: float = 5.0) -> T:
        """Block until ``predicate()`` is true; it is asked again whenever a request changes.

        Returns:
            What the predicate gave.

        Raises:
            TimeoutError: After ``timeout`` seconds.
        """
        return self._log.wait(predicate, timeout)

    async def await_for(self, predicate: Callable[[], T], timeout: float = 5.0) -> T:  # noqa: ASYNC109 (the twin of wait_for)
        """Like ``wait_for``, without blocking the event loop."""
        return await self._log.await_(predicate, timeout)

    # Failures

    def fail(
        self,
        endpoint: str = "*",
        kind: Kind = "status",
        *,
        status: int = 500,
        message: str = "The fake was told to fail.",
        code: str | None = None,
        param: str | None = None,
        type: str | None = None,  # noqa: A002 (the word of the API's envelope)
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
        after_tokens: int | None = None,
        delay: Latency = 0.0,
        times: int | None = None,
        when: Callable[[Seen], bool] | None = None,
    ) -> Failure:
        """Let requests fail, from now on until healed.

        Kinds: ``status`` (an error envelope), ``hang``, ``reset`` (TCP RST), ``truncated`` (the
        connection closes within the body), ``unfinished`` (a stream ends well-formed but without
        its last events), ``malformed`` (no JSON), ``wrong_shape`` (JSON of another shape),
        ``empty`` (no results), ``short`` (one result too few), ``html`` (200 with a web page),
        and within streams ``error_event``, ``flat_error_event`` and ``failed_event``, the shapes
        in which the API reports errors after the status line.

        Args:
            endpoint: Which requests: ``/moderations`` …, or ``*`` for all.
            kind: What goes wrong.
            status: HTTP status of the kind ``status``.
            message: Message of the envelope or the event.
            code: Code in it.
            param: Param in it.
            type: Type in it.
            retry_after: Seconds for the ``retry-after`` header.
            headers: More headers of an error.
            after_tokens: How many tokens of a stream come through first. ``hang`` and ``reset``
                happen before the first byte if it is left out.
            delay: Seconds before the failure.
            times: How many requests fail; ``None`` for all.
            when: Only requests of which this is true.
        """
        extra = dict(headers or {})
        if retry_after is not None:
            extra["retry-after"] = f"{retry_after:g}"
        fault = Fault(
            kind,
            status=status,
            message=message,
            code=code,
            param=param,
            type=type,
            headers=tuple(extra.items()),
            after_tokens=after_tokens,
            delay=delay,
        )
        return self._failures.add(Failure(self._failures, endpoint, fault, times, when))

    def heal(self, endpoint: str | None = None) -> None:
        """End all failures, or those of one endpoint."""
        self._failures.clear(endpoint)

    # Serving

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        seen = await self._read(request)
        exchange = Exchange(request, seen, self._log, self.headers)
        try:
            return await self._answer(exchange)
        except (asyncio.CancelledError, ConnectionError):
            stopping = self._thread is None or self._thread.stopping
            seen.aborted = not (exchange.broken or stopping)
            raise
        finally:
            if seen.finished is None or seen.aborted:
                exchange.finish()

    async def _read(self, request: web.BaseRequest) -> Seen:
        started = time.monotonic()
        number = 0
        if transport := request.transport:  # gone if the client left already
            number = self._connections.get(transport) or next(self._connected)
            self._connections[transport] = number
        raw = await request.content.read()
        seen = Seen(
            method=request.method,
            path=request.path,
            endpoint=_PREFIX.sub("", request.path),
            query=request.query_string,
            headers=request.headers,
            body=_parse(request.content_type, raw),
            connection=number,
            request_id=f"req_{next(self._numbers):032x}",
            started=started,
        )
        self._log.add(seen)
        return seen

    async def _answer(self, exchange: Exchange) -> web.StreamResponse:
        seen = exchange.seen
        fault = self._failures.meeting(seen)
        if fault and not in_stream(fault):
            return await exchange.fail(fault, Answer(b"{}"))
        try:
            answer = self._respond(seen)
        except Refused as refusal:
            return await exchange.send(refusal.answer.body, refusal.answer.status)
        if isinstance(answer, Stream):
            return await exchange.stream(
                answer, self.first_token_latency, self.token_interval, fault
            )
        if fault:
            return await exchange.fail(fault, answer)
        if seen.endpoint == "/moderations":
            return await exchange.answer(answer, self.moderation_latency)
        return await exchange.answer(answer, self.first_token_latency, self.token_interval)

    def _respond(self, seen: Seen) -> Answer | Stream:
        if not seen.headers.get("api-key") and not _bearer(seen.headers):
            raise refused("You didn't provide an API key.", status=401)
        number = int(seen.request_id[4:], 16)
        match seen.method, seen.endpoint:
            case "POST", "/moderations":
                return moderations(seen.body, number)
            case "POST", "/chat/completions":
                return chat(seen.body, number, self.reply)
            case _:
                message = f"Invalid URL ({seen.method} {seen.path})"
                return Answer(compact(error_body(404, message)), 404)


def _bearer(headers: Mapping[str, str]) -> str:
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _parse(content_type: str, raw: bytes) -> Any:
    if content_type == "application/json":
        try:
            return json.loads(raw)
        except ValueError:
            return raw
    return raw
