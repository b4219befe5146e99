"""What an endpoint hands to the server: a whole answer, or the frames of a stream."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

__all__ = [
    "Answer",
    "Frame",
    "Refused",
    "Stream",
    "compact",
    "error_body",
    "event",
    "refused",
]

_TYPES = {401: "invalid_request_error", 403: "permission_error", 429: "requests"}
_CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded"}
_SERVER_ERRORS = 500


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer.

    Attributes:
        body: The JSON text.
        status: HTTP status.
        tokens: How many tokens the model had to produce for it.
    """

    body: bytes
    status: int = 200
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Frame:
    """One write to a stream: an event or several, and how many tokens they bring."""

    data: bytes
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Stream:
    """A streamed answer.

    Attributes:
        frames: The frames in order.
        early: How many frames leave at once, before the model's first token is due.
        failed: Makes the dialect's own event of a failed answer from a code and a message.
    """

    frames: Iterator[Frame]
    early: int = 0
    failed: Callable[[str, str], bytes] | None = None


class Refused(Exception):  # noqa: N818 (an answer, not a failure of the fake)
    """The request gets an error envelope instead of an answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def compact(value: Any) -> bytes:
    """JSON without blanks, in UTF-8; lone surrogates stay escaped."""
    return json.dumps(value, separators=(",", ":")).encode()


def event(value: Any, name: str | None = None) -> bytes:
    """One server-sent event."""
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + compact(value) + b"\n\n"


def error_body(
    status: int,
    message: str,
    *,
    code: str | None = None,
    param: str | None = None,
    kind: str | None = None,
) -> dict[str, Any]:
    """OpenAI's error envelope; ``code`` and ``type`` default to what goes with the status."""
    default = "server_error" if status >= _SERVER_ERRORS else "invalid_request_error"
    return {
        "error": {
            "message": message,
            "type": kind or _TYPES.get(status, default),
            "param": param,
            "code": code or _CODES.get(status),
        }
    }


def refused(message: str, param: str | None = None, status: int = 400) -> Refused:
    """The refusal of a request that is itself at fault."""
    return Refused(Answer(compact(error_body(status, message, param=param)), status))
