"""JSON read strictly: what two parsers could read differently is refused."""

from __future__ import annotations

import json
import math
import re
from typing import NoReturn, TypeAlias

from safety_middleware.decision import Reason
from safety_middleware.errors import BadInput

__all__ = ["MAX_DEPTH", "Json", "NotJsonError", "decode_json_text", "read_json"]

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

MAX_DEPTH = 64
"""Deepest nesting of arrays and objects; chat requests need about eight."""

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class NotJsonError(ValueError):
    """The text is no JSON at all, so that nobody can read it as JSON."""


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
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
        NotJsonError: If the bytes are not in the encoding they begin in.
    """
    head = body[:4]
    plain = b"\0" not in head and not head.startswith((b"\xef", b"\xfe", b"\xff"))
    try:
        return body.decode("utf-8" if plain else json.detect_encoding(body))
    except UnicodeDecodeError:
        raise NotJsonError from None


def _check_json(text: str) -> None:
    """Tell a doubtful JSON text from a plain one that only begins like it."""
    try:
        json.loads(text)
    except json.JSONDecodeError:
        raise NotJsonError from None
    except (ValueError, RecursionError):
        return


def read_json(text: str) -> Json:
    """Read *text*; nesting is for the caller to bound with ``MAX_DEPTH``.

    Raises:
        NotJsonError: If it is no JSON.
        BadInput: If it is, and has duplicate keys, ``NaN`` or infinite numbers, numbers of more
            digits than Python reads, lone surrogates, or is nested too deeply to parse.
    """
    try:
        value: Json = _decode(text)
        if "\\" in text and _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError:
        raise NotJsonError from None
    except BadInput:
        _check_json(text)
        raise
    except (ValueError, RecursionError):
        raise BadInput(Reason.UNREADABLE_BODY) from None
    return value
