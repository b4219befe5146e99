"""Sets the safety identifier and the output cap in what a model call is about to send."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, cast

from safety_middleware.errors import SafetyError

from ._endpoints import SAFETY_HEADER, Endpoint
from ._members import Members, find_members

__all__ = ["Marks", "with_header"]

_FIELD = "safety_identifier"
_NAMED = Endpoint("body")
MAX_NUMBER_CHARS = 40
"""No output cap anybody means has more digits."""


@dataclass(frozen=True, slots=True)
class Marks:
    """What a model call must carry.

    Attributes:
        identifier: The safety identifier; None sets none and leaves the app's.
        cap: Most output tokens; None for no cap.
    """

    identifier: str | None
    cap: int | None

    def apply(self, endpoint: Endpoint, arguments: dict[str, Any]) -> None:
        """Change the *arguments* of an HTTP client's ``build_request``.

        Raises:
            SafetyError: If the body can't be read, so that nothing can be set in it.
        """
        if endpoint.identifier == "header" and self.identifier is not None:
            arguments["headers"] = with_header(arguments.get("headers"), self.identifier)
        if not endpoint.in_body:
            return
        content, data, sent = (arguments.get(name) for name in ("content", "data", "json"))
        if content is None and data is not None and not isinstance(data, Mapping):
            content, data = data, None  # the HTTP clients' older name for content
            arguments["data"] = None
        if content is not None:
            arguments["content"] = self.in_json(endpoint, _as_bytes(content))
        elif data is not None or arguments.get("files") is not None:
            arguments["data"] = self._in_mapping(endpoint, cast("Mapping[str, Any]", data or {}))
        elif isinstance(sent, Mapping):
            arguments["json"] = self._in_mapping(endpoint, cast("Mapping[str, Any]", sent))
        elif sent is not None:
            raise _unreadable()

    def in_json(self, endpoint: Endpoint, body: bytes) -> bytes:
        """The JSON object *body* with everything set; all other bytes stay as they are.

        Raises:
            SafetyError: If *body* is no JSON object.
        """
        try:
            members = find_members(body)
            values = self._values(endpoint, partial(_numbers, members))
            texts = {key: _json(value) for key, value in values.items()}
            if endpoint.identifier == "session":
                texts |= {
                    key: self.in_json(_NAMED, body[start:end])
                    for key, start, end in members.found
                    if key == "session" and body[start : start + 1] == b"{"
                }
        except (ValueError, RecursionError):
            raise _unreadable() from None
        return members.replaced(texts)

    def _in_mapping(self, endpoint: Endpoint, body: Mapping[str, Any]) -> dict[str, Any]:
        values = self._values(endpoint, lambda name: [body[name]] if name in body else [])
        session = body.get("session")
        if endpoint.identifier == "session" and isinstance(session, Mapping):
            values["session"] = self._in_mapping(_NAMED, cast("Mapping[str, Any]", session))
        return {**body, **values}

    def _values(self, endpoint: Endpoint, sent: Callable[[str], list[Any]]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        if endpoint.identifier == "body" and self.identifier is not None:
            values[_FIELD] = self.identifier
        if self.cap is None or not endpoint.caps:
            return values
        caps: dict[str, float] = {}
        for name in endpoint.caps:
            asked = [value for value in sent(name) if value is not None]
            if asked:
                caps[name] = _lowest(asked, self.cap)
        return values | (caps or {endpoint.caps[0]: self.cap})


def with_header(headers: Any, identifier: str) -> list[tuple[Any, Any]]:
    """*headers*, in any form an HTTP client takes, with the identifier's header set.

    The SDK gives pairs; ``Headers`` objects and mappings have ``items``.
    """
    several = getattr(headers, "multi_items", None) or getattr(headers, "items", None)
    pairs: Iterable[tuple[Any, Any]] = several() if several else headers or ()
    kept = [pair for pair in pairs if _name(pair[0]) != SAFETY_HEADER.lower()]
    return [*kept, (SAFETY_HEADER, identifier)]


def _name(header: str | bytes) -> str:
    return (header.decode("latin-1") if isinstance(header, bytes) else header).lower()


def _numbers(members: Members, name: str) -> list[object]:
    """The values of the members called *name*; True for what is no cap whatever it says."""
    texts = [members.body[start:end] for key, start, end in members.found if key == name]
    return [
        json.loads(text) if len(text) <= MAX_NUMBER_CHARS and text[:1] not in b'"{[' else True
        for text in texts
    ]


@lru_cache(1_024, typed=True)  # the same few caps and identities come again and again
def _json(value: str | float) -> bytes:
    return json.dumps(value).encode()


def _lowest(asked: list[Any], cap: int) -> float:
    numbers = [
        value
        for value in asked
        if isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
    ]
    return min([*numbers, cap])


def _as_bytes(content: Any) -> bytes:
    if isinstance(content, str):
        return content.encode()
    if isinstance(content, bytes | bytearray):
        return bytes(content)
    if isinstance(content, Iterable):
        return b"".join(cast("Iterable[bytes]", content))
    raise _unreadable()


def _unreadable() -> SafetyError:
    return SafetyError(
        "the body of a model call is no JSON object: no safety identifier can be set"
    )
