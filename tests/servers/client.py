"""A client that sees the very bytes, and when they came."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

TIMEOUT = 30.0


@dataclass
class Answer:
    """All bytes of one answer.

    Attributes:
        raw: As they came, to the end of the connection.
        first: When the first came, by ``time.monotonic()``.
        sent: When the request was sent.
    """

    raw: bytes
    first: float
    sent: float
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    whole: bool = False

    def __post_init__(self) -> None:
        """Parse what came; without one byte there is nothing to parse."""
        if not self.raw:
            return
        parsed = http.client.HTTPResponse(_Wire(self.raw))  # type: ignore[arg-type]
        parsed.begin()
        self.status = parsed.status
        self.headers = {name.lower(): value for name, value in parsed.getheaders()}
        try:
            self.body = parsed.read()
            self.whole = True
        except http.client.IncompleteRead as cut:
            self.body = cut.partial

    @property
    def code(self) -> str:
        """The code of a refusal, else nothing."""
        if not self.headers.get("content-type", "").startswith("application/json"):
            return ""
        return str(json.loads(self.body)["error"]["code"])


class _Wire:
    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def makefile(self, *_: Any, **__: Any) -> io.BytesIO:
        return io.BytesIO(self._raw)


def request(path: str, message: str, user: str, *, keep: bool = False) -> bytes:
    """The bytes of one turn."""
    connection = "keep-alive" if keep else "close"
    body = json.dumps({"message": message}).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: probe\r\nConnection: {connection}\r\nX-User: {user}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def ask(port: int, path: str, message: str, user: str) -> Answer:
    """Send one turn and read its answer to the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    sent = time.monotonic()
    try:
        async with asyncio.timeout(TIMEOUT):
            writer.write(request(path, message, user))
            raw = await reader.read(65_536)
            first = time.monotonic()
            while more := await reader.read(65_536):
                raw += more
    except ConnectionResetError:
        raw, first = b"", time.monotonic()
    finally:
        writer.close()
    return Answer(raw, first, sent)


async def ask_all(
    port: int, turns: Iterable[tuple[str, str, str]], at_once: int = 1000
) -> list[Answer]:
    """Send many turns (path, message, user), *at_once* at a time."""
    free = asyncio.Semaphore(at_once)

    async def one(path: str, message: str, user: str) -> Answer:
        async with free:
            return await ask(port, path, message, user)

    return await asyncio.gather(*(one(*turn) for turn in turns))


class Turn:
    """Turns on a connection of their own, read step by step."""

    def __init__(self, port: int) -> None:
        self._wire = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
        self._sent = time.monotonic()
        self._raw = b""
        self._first = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def send(self, path: str, message: str, user: str, *, keep: bool = False) -> None:
        """Send one turn."""
        self.send_raw(request(path, message, user, keep=keep))

    def send_raw(self, raw: bytes) -> None:
        """Send the very bytes of a request."""
        self._sent, self._raw, self._first = time.monotonic(), b"", 0.0
        self._wire.sendall(raw)

    def until(self, marker: bytes) -> bytes:
        """Read until *marker* has come."""
        while marker not in self._raw:
            assert self._read(), "the connection ended"
        return self._raw

    def answer(self) -> Answer:
        """Read one whole answer, which says itself where it ends."""
        self.until(b"\r\n\r\n")
        while not (answer := self._answer()).whole:
            assert self._read(), "the connection ended"
        return answer

    def rest(self) -> Answer:
        """Read to the end of the connection."""
        while self._read():
            pass
        return self._answer()

    def leave(self) -> None:
        """Close the connection, whatever is still to come."""
        self._wire.close()

    def _answer(self) -> Answer:
        return Answer(self._raw, self._first, self._sent)

    def _read(self) -> bool:
        piece = self._wire.recv(65_536)
        self._first = self._first or time.monotonic()
        self._raw += piece
        return bool(piece)
