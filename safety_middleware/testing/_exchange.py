"""One request on the wire: sending whole answers and streams, and every way to break them."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any, NoReturn, cast

from aiohttp import web

from ._answers import Answer, Stream, compact, event
from ._faults import IN_STREAM, Fault
from ._latency import Latency, draw
from ._log import Log, Seen

__all__ = ["Exchange", "in_stream"]

_JSON = "application/json"
_SSE = "text/event-stream; charset=utf-8"
_HTML = b"<!DOCTYPE html><html><body><h1>Bad gateway</h1></body></html>"
# RST instead of FIN: linger on, for no time.
_LINGER = struct.pack("ii", 1, 0)


class Exchange:
    """A request and the means to answer it."""

    def __init__(
        self, request: web.BaseRequest, seen: Seen, log: Log, headers: Mapping[str, str]
    ) -> None:
        self.seen = seen
        self.broken = False
        self._request = request
        self._log = log
        self._headers = headers

    async def answer(
        self, answer: Answer, first: Latency, interval: Latency = 0.0
    ) -> web.StreamResponse:
        """Send a whole answer, after as long as producing its tokens takes."""
        head = draw(first, self.seen)
        step = draw(interval, self.seen) if answer.tokens else 0.0
        begun = time.monotonic()
        try:
            await self.pause(head + step * answer.tokens)
        except asyncio.CancelledError:
            spent = time.monotonic() - begun - head
            self.seen.tokens_sent = (
                min(answer.tokens, int(spent / step) + 1) if step and spent > 0 else 0
            )
            raise
        self.seen.tokens_sent = answer.tokens
        return await self.send(answer.body, answer.status)

    async def send(
        self, body: bytes, status: int = 200, kind: str = _JSON, **extra: str
    ) -> web.StreamResponse:
        """Send these bytes as the whole answer."""
        headers = self._head(kind) | extra
        response = web.Response(status=status, body=body, headers=headers)
        await response.prepare(self._request)
        self.seen.status = status
        self.finish()
        await response.write_eof()
        return response

    async def stream(
        self, stream: Stream, first: Latency, interval: Latency, fault: Fault | None = None
    ) -> web.StreamResponse:
        """Send the frames in the model's time, up to the fault if there is one."""
        due = time.monotonic() + draw(first, self.seen)
        after = (fault and fault.after_tokens) or 0
        response: web.StreamResponse | None = None
        for number, frame in enumerate(stream.frames):
            if number == stream.early:
                await self.pause(due - time.monotonic())
            elif frame.tokens and self.seen.tokens_sent:
                due += draw(interval, self.seen)
                await self.pause(due - time.monotonic())
            response = response or await self._open()
            if fault and number >= stream.early and self.seen.tokens_sent >= after:
                return await self._break(response, fault, stream)
            self.seen.tokens_sent += frame.tokens
            await response.write(frame.data)
            if frame.tokens:
                self._log.touch()
        response = response or await self._open()
        self.finish()
        await response.write_eof()
        return response

    async def fail(self, fault: Fault, whole: Answer) -> web.StreamResponse:
        """Answer with a fault where a whole answer was due."""
        await self.pause(draw(fault.delay, self.seen))
        if fault.kind in ("truncated", "unfinished"):
            await self._truncate(whole.body)
        await self._cut(fault)
        match fault.kind:
            case "malformed":
                return await self.send(whole.body[:-1] + b",")
            case "wrong_shape":
                return await self.send(b'{"unexpected":[{"shape":1}]}')
            case "empty" | "short":
                return await self.send(_shortened(whole.body, fault.kind == "empty"))
            case "html":
                return await self.send(_HTML, kind="text/html; charset=utf-8")
            case _:
                return await self.send(compact(fault.error()), fault.status, **dict(fault.headers))

    async def pause(self, seconds: float) -> None:
        """Wait; at least let others run, so that a client's leaving is noticed."""
        await asyncio.sleep(max(seconds, 0.0))

    def finish(self) -> None:
        """Note that the answer is complete; before its last byte, so that its reader sees it."""
        self.seen.finished = time.monotonic()
        self._log.touch()

    def _head(self, kind: str) -> dict[str, str]:
        spent = time.monotonic() - self.seen.started
        return {
            **self._headers,
            "content-type": kind,
            "x-request-id": self.seen.request_id,
            "openai-processing-ms": str(int(spent * 1000)),
        }

    async def _open(self) -> web.StreamResponse:
        response = web.StreamResponse(headers=self._head(_SSE))
        response.enable_chunked_encoding()
        await response.prepare(self._request)
        self.seen.status = 200
        return response

    async def _break(
        self, response: web.StreamResponse, fault: Fault, stream: Stream
    ) -> web.StreamResponse:
        await self._cut(fault)
        match fault.kind:
            case "truncated":
                await self._close()
            case "malformed":
                await response.write(b'data: {"id":\n\n')
            case "wrong_shape":
                await response.write(event({"unexpected": [{"shape": 1}]}))
            case "error_event":
                await response.write(event({"type": "error", **fault.error()}))
            case "flat_error_event":
                await response.write(event(_flat(fault), "error"))
            case "failed_event" if stream.failed:
                await response.write(stream.failed(fault.code or "server_error", fault.message))
            case _:
                pass
        self.finish()
        await response.write_eof()
        return response

    async def _truncate(self, body: bytes) -> NoReturn:
        response = web.StreamResponse(headers=self._head(_JSON))
        response.content_length = len(body)
        await response.prepare(self._request)
        self.seen.status = 200
        await response.write(body[: len(body) // 2])
        await self._close()

    async def _cut(self, fault: Fault) -> None:
        if fault.kind == "hang":
            await self._hang()
        if fault.kind == "reset":
            await self._reset()

    async def _hang(self) -> NoReturn:
        await asyncio.Event().wait()
        raise AssertionError

    async def _close(self) -> NoReturn:
        self.broken = True
        if self._request.transport:
            self._request.transport.close()
        await self._hang()

    async def _reset(self) -> NoReturn:
        self.broken = True
        if transport := self._request.transport:
            sock: socket.socket = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
            transport.abort()
        await self._hang()


def in_stream(fault: Fault) -> bool:
    """Whether the fault is to happen within a stream, not in its place."""
    return fault.kind in IN_STREAM or (
        fault.kind in ("hang", "reset") and fault.after_tokens is not None
    )


def _shortened(body: bytes, empty: bool) -> bytes:
    whole: dict[str, Any] = json.loads(body)
    for name in ("results", "choices", "output", "data"):
        if isinstance(whole.get(name), list):
            items = cast("list[object]", whole[name])
            whole[name] = [] if empty else items[:-1]
    return compact(whole)


def _flat(fault: Fault) -> dict[str, Any]:
    return {
        "type": "error",
        "code": fault.code,
        "message": fault.message,
        "param": fault.param,
        "sequence_number": 0,
    }
