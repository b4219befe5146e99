"""What arrived at the fake: one live entry per request, and waiting for entries to change."""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition
from typing import Any, TypeVar, cast

from ._bodies import fields_of, said

__all__ = ["Log", "Seen", "endpoint_of"]

T = TypeVar("T")

# What stands before the endpoint: OpenAI's version, or Azure's resource and deployment.
_PREFIX = re.compile(r"^(?:/openai/deployments/[^/]+|/openai/v1|/openai|/v1)(?=/)")


def endpoint_of(path: str) -> str:
    """A path without what servers put in front: ``/moderations`` of ``/v1/moderations``."""
    return _PREFIX.sub("", path)


@dataclass(slots=True, eq=False)
class Seen:
    """One request and how it went; the server keeps it up to date while it answers.

    Bodies and headers stay out of ``repr``, so that a failing test prints neither keys nor texts.

    Attributes:
        method: HTTP method.
        path: Path as sent, without the query: ``/v1/moderations``.
        endpoint: The same without ``/v1`` or Azure's ``/openai/deployments/<name>``.
        query: Query string as sent, without ``?``.
        headers: Request headers; names in any case.
        body: The JSON value; of a multipart form its fields (files as bytes, repeated names as
            lists); else the raw bytes.
        connection: Number of the TCP connection, from 1.
        request_id: The ``x-request-id`` of the answer.
        started: When the request's head was read (``time.monotonic()``).
        finished: When the answer was complete or given up (``time.monotonic()``), or ``None``.
        status: Status of the answer, or ``None`` if none was begun.
        aborted: The client closed the connection before the answer was complete.
        tokens_sent: Tokens of the model's answer produced so far, over all choices.
    """

    method: str
    path: str
    endpoint: str
    query: str
    headers: Mapping[str, str] = field(repr=False)
    body: Any = field(repr=False)
    connection: int
    request_id: str
    started: float
    finished: float | None = None
    status: int | None = None
    aborted: bool = False
    tokens_sent: int = 0

    @property
    def text(self) -> str:
        """The words the request is about: what to moderate, the last message, or the prompt."""
        fields = fields_of(self.body)
        messages = fields.get("messages")
        if isinstance(messages, list):
            return said(cast("list[object]", messages)[-1:])
        text = fields.get("input", fields.get("prompt"))
        if isinstance(text, list) and self.endpoint == "/responses":
            return said(cast("list[object]", text)[-1:])
        return said(text)


class Log:
    """The requests in order of arrival, safe to read while the server writes."""

    def __init__(self, keep: int | None) -> None:
        self._entries: deque[Seen] = deque(maxlen=keep)
        self._changed = Condition()
        self._waiting = 0
        self._wakers: list[Callable[[], object]] = []

    def add(self, seen: Seen) -> None:
        """Append an entry."""
        with self._changed:
            self._entries.append(seen)
        self.touch()

    def entries(self) -> list[Seen]:
        """The entries, oldest first."""
        with self._changed:
            return list(self._entries)

    def clear(self) -> None:
        """Forget all entries."""
        with self._changed:
            self._entries.clear()

    def touch(self) -> None:
        """Have those who wait look again; called after every change of an entry."""
        if self._waiting:  # raised before a waiter's first look, so no change is missed
            with self._changed:
                self._changed.notify_all()
                for wake in self._wakers:
                    wake()

    def wait(self, predicate: Callable[[], T], timeout: float) -> T:
        """Block until ``predicate()`` is true and return what it gave.

        Raises:
            TimeoutError: After ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        with self._changed, self._waiter():
            while not (value := predicate()):
                if not self._changed.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"nothing of the kind arrived within {timeout} s")
            return value

    async def await_(self, predicate: Callable[[], T], timeout: float) -> T:  # noqa: ASYNC109 (the twin of wait)
        """Like ``wait``, without blocking the event loop."""
        loop = asyncio.get_running_loop()
        look = asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(look.set)

        try:
            with self._waiter(wake):
                async with asyncio.timeout(timeout):
                    while not (value := predicate()):
                        await look.wait()
                        look.clear()
                    return value
        except TimeoutError:
            raise TimeoutError(f"nothing of the kind arrived within {timeout} s") from None

    @contextmanager
    def _waiter(self, wake: Callable[[], object] | None = None) -> Generator[None]:
        with self._changed:
            self._waiting += 1
            if wake:
                self._wakers.append(wake)
        try:
            yield
        finally:
            with self._changed:
                self._waiting -= 1
                if wake:
                    self._wakers.remove(wake)
