"""JSON read strictly: what two parsers could read differently is refused."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from safety_middleware.decision import Reason
from safety_middleware.errors import BadInput

__all__ = ["MAX_DEPTH", "NotJson", "decode_json_text", "read_json"]

MAX_DEPTH = 64
"""Deepest nesting of arrays and objects; chat requests need about eight."""

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class NotJson(ValueError):
    """The text is no JSON at all, so that nobody can read it as JSON."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):  # parsers disagree which of the values counts
        raise BadInput(Reason.UNREADABLE_BODY)
    return found


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise BadInput(Reason.UNREADABLE_BODY)
    return number


def _no_constant(_name: str) -> NoReturn:
    raise BadInput(Reason.UNREADABLE_BODY)


_decode = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_finite, parse_constant=_no_constant
).decode


def decode_json_text(body: bytes) -> str:
    """The text of *body* as ``json.loads`` decodes it, but strictly.

    Raises:
        NotJson: If the bytes are not in the encoding they begin in.
    """
    head = body[:4]
    plain = b"\0" not in head and not head.startswith((b"\xef", b"\xfe", b"\xff"))
    try:
        return body.decode("utf-8" if plain else json.detect_encoding(body))
    except UnicodeDecodeError:
        raise NotJson from None


def read_json(text: str) -> Any:
    """Read *text*; nesting is for the caller to bound with ``MAX_DEPTH``.

    Raises:
        NotJson: If it is no JSON.
        BadInput: If it is, and has duplicate keys, ``NaN`` or infinite numbers, numbers of more
            digits than Python reads, lone surrogates, or is nested too deeply to parse.
    """
    try:
        value = _decode(text)
        if "\\u" in text and _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError:
        raise NotJson from None
    except (ValueError, RecursionError):
        raise BadInput(Reason.UNREADABLE_BODY) from None
    return value
