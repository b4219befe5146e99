"""FakeOpenAI: the server with its settings, its log and its failures."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Literal, Self, TypeVar

from ._faults import Failure, Failures, Fault, Kind
from ._latency import Latency
from ._log import Log, Seen, endpoint_of
from ._replies import Reply, echo
from ._server import HOST, ServerThread
from ._service import Manner, Service

__all__ = ["FakeOpenAI"]

T = TypeVar("T")

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


class FakeOpenAI(Manner):
    """A stand-in for the OpenAI API on the loopback interface, for tests, demos and benchmarks.

    ::

        with FakeOpenAI(moderation_latency=0.5) as fake:
            client = OpenAI(base_url=fake.base_url, api_key="any")

    It serves moderations, chat completions, responses, images, models and safety cases, also
    under Azure's paths; it takes any key. It may be used from any thread.
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
            moderation_latency: See ``Manner``.
            first_token_latency: See ``Manner``.
            token_interval: See ``Manner``.
            reply: See ``Manner``; by default words that begin with what the user said.
            reply_tokens: How many words the default reply has.
            headers: Headers to add to every answer or to replace there.
            port: Port to listen on; 0 takes a free one.
            keep_alive: Seconds after which an idle connection is closed.
            keep: How many of the newest requests stay in the log; ``None`` keeps all.
        """
        super().__init__(
            moderation_latency=moderation_latency,
            first_token_latency=first_token_latency,
            token_interval=token_interval,
            reply=echo(reply_tokens) if reply is None else reply,
            headers={**_HEADERS, **(headers or {})},
            cases={},
            on_answer=None,
        )
        self._port = port
        self._keep_alive = keep_alive
        self._log = Log(keep)
        self._failures = Failures()
        self._service = Service(self, self._log, self._failures)
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
        self._service.stopping = False
        thread = ServerThread(self._service.serve, self._port, self._keep_alive)
        thread.start()
        self._thread = thread
        return self

    def stop(self) -> None:
        """End all connections and free the port; the log stays readable. Twice is fine."""
        thread, self._thread = self._thread, None
        if thread:
            self._service.stopping = True
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
        endpoint = endpoint_of(endpoint)
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
        its last events), ``trickle`` (32 bytes every 50 ms; a stream: like ``unfinished``),
        ``malformed`` (no JSON), ``wrong_shape`` (JSON of another shape), ``empty`` (no results),
        ``short`` (one result too few), ``html`` (200 with a web page), and within streams
        ``error_event``, ``flat_error_event`` and ``failed_event``, the shapes in which the API
        reports errors after the status line.

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
            delay: Seconds before the failure, beside the latencies of a stream.
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
        return self._failures.add(
            Failure(self._failures, endpoint_of(endpoint), fault, times, when)
        )

    def heal(self, endpoint: str | None = None) -> None:
        """End all failures, or those of one endpoint."""
        self._failures.clear(endpoint and endpoint_of(endpoint))

    # What operators see

    def add_case(
        self,
        case: str,
        safety_identifier: str,
        notice: Literal["warning", "deactivation"] = "warning",
        reason: str | None = None,
    ) -> None:
        """Let ``/safety/cases/{case}`` report a notice about a safety identifier."""
        self.cases[case] = {
            "id": case,
            "object": "safety.case",
            "created_at": int(time.time()),
            "entity_identifier": safety_identifier,
            "notice": {"type": notice},
            "reason": reason,
        }
