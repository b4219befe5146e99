"""``wsgi.input`` of one request: read ahead to be checked, and then read by the app all the same."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any

from werkzeug.wsgi import get_content_length

from safety_middleware import Reason
from safety_middleware.errors import BadInput

__all__ = ["Input"]

PIECE = 65_536
"""Bytes asked for at once while reading ahead."""


class Input:
    """The server's stream with what was read ahead of the app in front of it.

    Args:
        environ: The request's environ, with the server's own ``wsgi.input``.
        limit: Most bytes of a body that are read ahead or kept.
    """

    def __init__(self, environ: dict[str, Any], limit: int) -> None:
        self._source = environ["wsgi.input"]
        self._declared = get_content_length(environ)
        self._terminated = "wsgi.input_terminated" in environ
        self._limit = limit
        self._taken: bytearray | None = bytearray()
        self._ahead = BytesIO()
        self._ended = False
        self._problem: Exception | None = None
        self.disconnected = False

    def read_body(self) -> bytes:
        """The whole body, what the app has read of it already included.

        Raises:
            BadInput: If it is longer than the limit, or does not come to its end.
        """
        taken = bytes(self._taken or b"")
        self._taken = None
        if self._declared is not None and self._declared > self._limit:
            raise BadInput(Reason.BODY_TOO_LARGE)
        body = taken + self._read_ahead(len(taken))
        if len(body) > self._limit:
            raise BadInput(Reason.BODY_TOO_LARGE)
        if self._problem is not None or len(body) < (self._declared or 0):
            self.disconnected = True
            raise BadInput(Reason.UNREADABLE_BODY) from self._problem
        return body

    def _read_ahead(self, taken: int) -> bytes:
        # as Werkzeug does: to the end where the server marks it, else as far as was declared
        end = self._limit + 1
        if not self._terminated:
            end = min(end, self._declared or 0)
        pieces: list[bytes] = []
        total = taken
        try:
            while total < end:
                piece = self._source.read(min(PIECE, end - total))
                if not piece:
                    self._ended = True
                    break
                pieces.append(piece)
                total += len(piece)
        except Exception as problem:  # the app meets it where it would have
            self._problem = problem
        ahead = b"".join(pieces)
        self._ahead = BytesIO(ahead)
        return ahead

    # What a WSGI app may call.

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to *size* bytes; all there are without it."""
        if size is None or size < 0:
            return self._told(self._ahead.read() + self._rest("read"))
        data = self._ahead.read(size)
        if len(data) < size:
            data += self._rest("read", size - len(data), had=data)
        return self._told(data)

    def readline(self, size: int | None = -1, /) -> bytes:
        """The next line, up to *size* bytes of it."""
        line = self._ahead.readline(-1 if size is None else size)
        whole = size is not None and 0 <= size <= len(line)
        if not whole and not line.endswith(b"\n"):
            left = () if size is None or size < 0 else (size - len(line),)
            line += self._rest("readline", *left, had=line)
        return self._told(line)

    def readlines(self, hint: int | None = None, /) -> list[bytes]:
        """The lines up to *hint* bytes, or all of them."""
        lines: list[bytes] = []
        total = 0
        for line in self:
            lines.append(line)
            total += len(line)
            if hint is not None and 0 < hint <= total:
                break
        return lines

    def readinto(self, buffer: Any, /) -> int:
        """Fill *buffer* as far as there are bytes."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def __iter__(self) -> Iterator[bytes]:
        """Go through the lines."""
        return iter(self.readline, b"")

    def __getattr__(self, name: str) -> Any:
        """Whatever else the server's stream can do."""
        return getattr(self._source, name)

    def _rest(self, method: str, *size: int, had: bytes = b"") -> bytes:
        if self._problem is not None:
            if had:
                return b""
            raise self._problem
        return b"" if self._ended else getattr(self._source, method)(*size)

    def _told(self, data: bytes) -> bytes:
        if self._taken is not None and len(self._taken) <= self._limit:
            self._taken += data
        return data
