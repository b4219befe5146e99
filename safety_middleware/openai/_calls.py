"""One blocking model call in flight: it is ended from another thread when its turn is refused.

A blocked read can't be interrupted, but its connection can be shut down: ``shutdown(2)`` makes the
read return at once. Which socket a call uses is learnt from the HTTP client's public trace
extension when it connects, and from the connection itself when it writes, since a pooled
connection that is used again announces nothing.
"""

from __future__ import annotations

import socket
import weakref
from collections.abc import Callable, Hashable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from functools import cache
from threading import Lock
from typing import Any, Literal, cast

from safety_middleware.turn import Turn

from ._blocked import refuse

__all__ = ["Call", "base_stream", "unheld"]

_CONNECTED = ("connect_tcp.complete", "connect_unix_socket.complete", "start_tls.complete")

_calling: ContextVar[Call | None] = ContextVar("safety_middleware_call", default=None)


class Call:
    """A blocking model call between sending and the end of its answer."""

    __slots__ = ("_ended", "_forget", "_lock", "_over", "_plain", "_socket", "_tell", "turn")

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self._lock = Lock()
        self._socket: socket.socket | None = None
        self._plain = False  # HTTP/1: the connection is this call's alone
        self._ended = False
        self._over = False
        self._tell: Callable[[str, dict[str, Any]], object] | None = None
        self._forget = turn.on_refused(self._end)

    def run(self, send: Callable[..., Any], request: Any, stream: bool, options: Any) -> Any:
        """Send *request*; the response, which stays this call's until it is closed.

        Raises:
            ContentBlocked: If the turn is refused meanwhile.
        """
        self._tell = request.extensions.get("trace")
        request.extensions["trace"] = self._traced
        token = _calling.set(self)
        try:
            response = send(request, stream=stream, **options)
        except BaseException as error:
            self.over()
            if isinstance(error, Exception):
                refuse(self.turn)
            raise
        finally:
            _calling.reset(token)
        if response.is_closed:
            self.over()
        else:
            self.connected(watch(response))
            response.stream = _body_class(base_stream(response.stream, "Sync"))(
                response.stream, self
            )
        if self.turn.refusal is not None:
            response.close()
            refuse(self.turn)
        return response

    def over(self) -> None:
        """Let go: the answer is complete or given up."""
        with self._lock:
            self._over = True
            self._socket = None
        self._forget()

    def _end(self) -> None:
        with self._lock:
            if self._over:
                return
            self._ended = True
            self.turn.aborted_calls += 1
            self._shut()

    def _shut(self) -> None:
        if self._ended and self._socket is not None:
            # not SSLSocket.shutdown, which first drops the encryption under the other thread
            with suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def connected(self, stream: Any) -> None:
        """Take note of the connection the call goes over."""
        if stream is None or not self._plain:
            return
        found = stream.get_extra_info("socket")
        with self._lock:
            if isinstance(found, socket.socket) and not self._over:
                self._socket = found
                self._shut()

    def _traced(self, event: str, info: dict[str, Any]) -> None:
        if event.endswith(".send_request_headers.started"):
            refuse(self.turn)
            self._plain = event.startswith("http11.")
        elif event.endswith((".start_tls.started", ".response_closed.started")):
            # from here on the socket is another object's, or another request's
            with self._lock:
                self._plain = False
                self._socket = None
        elif event.endswith(_CONNECTED):
            _watch_stream(info["return_value"])
        if self._tell is not None:
            self._tell(event, info)


def unheld(send: Callable[..., Any], request: Any, stream: bool, options: Any) -> Any:
    """Send a *request* that is no part of the call that may be going on around it."""
    token = _calling.set(None)
    try:
        response = send(request, stream=stream, **options)
    finally:
        _calling.reset(token)
    watch(response)
    return response


def watch(response: Any) -> Any:
    """The connection *response* comes over, which from now on tells which call uses it; or None."""
    stream = response.extensions.get("network_stream")
    if stream is not None:
        _watch_stream(stream)
    return stream


def _watch_stream(stream: Any) -> None:
    if "write" in getattr(stream, "__dict__", {"write": None}):
        return
    kind = cast("Any", type(stream))
    found = weakref.ref(stream)  # a connection that holds itself would be closed late

    def told(buffer: bytes, timeout: float | None = None) -> None:
        here = found()
        call = _calling.get()
        if call is not None:
            call.connected(here)
        kind.write(here, buffer, timeout)

    stream.write = told


def base_stream(stream: Any, world: Literal["Sync", "Async"]) -> Hashable:
    """The class all response streams have in the HTTP client that made *stream*."""
    return next(cls for cls in type(stream).__mro__ if cls.__name__ == f"{world}ByteStream")


@cache
def _body_class(base: Any) -> Any:
    class Body(base):  # type: ignore[misc]  # known only when the client is
        """The answer's bytes, none of them after the turn was refused."""

        def __init__(self, inner: Any, call: Call) -> None:
            self._inner = inner
            self._call = call

        def __iter__(self) -> Iterator[bytes]:
            turn = self._call.turn
            try:
                for chunk in self._inner:
                    refuse(turn)
                    yield chunk
            except Exception:
                self.close()
                refuse(turn)
                raise
            refuse(turn)  # cut off, an answer without a length looks complete

        def close(self) -> None:
            try:
                self._inner.close()
            finally:
                self._call.over()

    return Body
