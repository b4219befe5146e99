"""One request on the wire: sending whole answers and streams, and every way to break them."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, cast

from aiohttp import web

from ._answers import Answer, Frame, Stream, compact, event
from ._faults import IN_STREAM, Fault
from ._latency import Latency, draw
from ._log import Log, Seen

__all__ = ["Exchange", "in_stream"]

_JSON = "application/json"
_SSE = "text/event-stream; charset=utf-8"
_HTML = b"<!DOCTYPE html><html><body><h1>Bad gateway</h1></body></html>"
_LONG = 3600.0
_DROP = 32
_DROP_INTERVAL = 0.05
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
            if wait := head + step * answer.tokens:
                await asyncio.sleep(wait)
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
        frames = enumerate(_marking_last(stream.frames))
        while True:
            number, (frame, last) = next(frames)
            if number == stream.early:
                await _until(due)
            elif frame.tokens and self.seen.tokens_sent:
                due += draw(interval, self.seen)
                await _until(due)
            response = response or await self._open()
            if fault and number >= stream.early and self.seen.tokens_sent >= after:
                return await self._break(response, fault, stream)
            self.seen.tokens_sent += frame.tokens
            if last:
                return await self._end(response, frame.data)
            await response.write(frame.data)
            if frame.tokens:
                self._log.touch()

    async def fail(self, fault: Fault, whole: Answer) -> web.StreamResponse:
        """Answer with a fault where a whole answer was due."""
        await asyncio.sleep(draw(fault.delay, self.seen))
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
            case "trickle":
                return await self._trickle(whole.body)
            case "html":
                return await self.send(_HTML, kind="text/html; charset=utf-8")
            case _:
                return await self.send(compact(fault.error()), fault.status, **dict(fault.headers))

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

    async def _open(self, kind: str = _SSE, length: int | None = None) -> web.StreamResponse:
        response = web.StreamResponse(headers=self._head(kind))
        if length is None:
            response.enable_chunked_encoding()
        else:
            response.content_length = length
        await response.prepare(self._request)
        self.seen.status = 200
        return response

    async def _break(
        self, response: web.StreamResponse, fault: Fault, stream: Stream
    ) -> web.StreamResponse:
        await asyncio.sleep(draw(fault.delay, self.seen))
        if fault.kind in ("hang", "truncated"):
            await response.write(b": the headers and half an event")
        await self._cut(fault)
        last = b""
        match fault.kind:
            case "malformed":
                last = b'data: {"id":\n\n'
            case "wrong_shape":
                last = event({"unexpected": [{"shape": 1}]})
            case "error_event":
                last = event({"type": "error", **fault.error()})
            case "flat_error_event":
                last = event(_flat(fault), "error")
            case "failed_event" if stream.failed:
                last = stream.failed(fault.code or "server_error", fault.message)
            case _:  # ends without a word
                pass
        return await self._end(response, last)

    async def _end(self, response: web.StreamResponse, last: bytes) -> web.StreamResponse:
        # Together with the terminating chunk: clients that stop at the last event would otherwise
        # have to close the connection.
        self.finish()
        await response.write_eof(last)
        return response

    async def _truncate(self, body: bytes) -> NoReturn:
        response = await self._open(_JSON, len(body))
        await response.write(body[: len(body) // 2])
        await self._close()

    async def _trickle(self, body: bytes) -> web.StreamResponse:
        response = await self._open(_JSON, len(body))
        last = (len(body) - 1) // _DROP * _DROP
        for start in range(0, last, _DROP):
            await response.write(body[start : start + _DROP])
            await asyncio.sleep(_DROP_INTERVAL)
        return await self._end(response, body[last:])

    async def _cut(self, fault: Fault) -> None:
        if fault.kind == "hang":
            await self._hang()
        if fault.kind == "reset":
            await self._reset()
        if fault.kind == "truncated":
            await self._close()

    async def _hang(self) -> NoReturn:
        while True:  # noqa: ASYNC110 (there is nothing to wait for but the end of the connection)
            await asyncio.sleep(_LONG)

    async def _close(self) -> NoReturn:
        self.broken = True
        self._transport().close()
        await self._hang()

    async def _reset(self) -> NoReturn:
        self.broken = True
        sock: socket.socket = self._transport().get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
        self._transport().abort()
        await self._hang()

    def _transport(self) -> asyncio.Transport:
        # Never None: losing the connection cancels the handler before it can run on.
        return cast("asyncio.Transport", self._request.transport)


async def _until(due: float) -> None:
    # Sleeps even when late: others get their turn, and a client's leaving is noticed.
    await asyncio.sleep(max(due - time.monotonic(), 0.0))


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


def _marking_last(frames: Iterator[Frame]) -> Iterator[tuple[Frame, bool]]:
    ahead = next(frames)
    for frame in frames:
        yield ahead, False
        ahead = frame
    yield ahead, True
