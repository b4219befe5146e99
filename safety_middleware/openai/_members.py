"""The top-level members of a JSON object, found in its bytes and replaced there.

A body with a picture in it has megabytes that nobody needs parsed: strings are skipped by
``bytes.find``, everything else by possessive patterns, so that neither backtracks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

__all__ = ["Member", "Members", "find_members", "replace_members"]

_WS = rb"[ \t\r\n]*+"
_OPEN = re.compile(_WS + rb"\{" + _WS)
_KEY = re.compile(rb'("(?:[^"\\]++|\\.)*+")' + _WS + rb":" + _WS, re.DOTALL)
_AFTER = re.compile(_WS + rb"([,}])" + _WS)
_SCALAR = re.compile(rb'[^ \t\r\n,:"{}\[\]]++')
# what needs no look inside an array or object; longer strings are found faster by bytes.find
_FLAT = re.compile(rb'(?:[^"{}\[\]]++|"[^"\\]{0,256}+")*+')
_REST_OF_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+"', re.DOTALL)
_QUOTE, _BACKSLASH = b'"\\'


class Member(NamedTuple):
    """One member: its key, and where its value starts and ends in the bytes."""

    key: str
    start: int
    end: int


class Members(NamedTuple):
    """The members of an object, duplicates included, and where the first one stands."""

    first: int
    found: Sequence[Member]


def find_members(body: bytes) -> Members:
    """The members of the JSON object that *body* is.

    Values are skipped, not checked: where *body* is JSON the answer is right, where it is not,
    whoever parses it will say so.

    Raises:
        ValueError: If *body* is no JSON object.
    """
    opened = _OPEN.match(body)
    if opened is None:
        raise ValueError("not a JSON object")
    at = first = opened.end()
    found: list[Member] = []
    more = body[at : at + 1] != b"}"
    while more:
        key = _KEY.match(body, at)
        if key is None:
            raise ValueError("not a JSON object")
        end = _value_end(body, key.end())
        found.append(Member(_key(key[1]), key.end(), end))
        after = _AFTER.match(body, end)
        if after is None:
            raise ValueError("not a JSON object")
        at, more = after.end(), after[1] == b","
    tail = at if found else _AFTER.match(body, at).end()  # type: ignore[union-attr]  # it is "}"
    if tail != len(body):
        raise ValueError("not a JSON object")
    return Members(first, found)


def replace_members(body: bytes, members: Members, values: Mapping[str, bytes]) -> bytes:
    """*body* with the *values* (JSON text) set: in place at every occurrence, else added first."""
    pieces: list[bytes] = [body[: members.first]]
    present = {member.key for member in members.found}
    added = [
        json.dumps(key).encode() + b":" + new for key, new in values.items() if key not in present
    ]
    pieces.append(b",".join(added))
    if added and members.found:
        pieces.append(b",")
    at = members.first
    for key, start, end in members.found:
        if key in values:
            pieces += (body[at:start], values[key])
            at = end
    pieces.append(body[at:])
    return b"".join(pieces)


def _key(quoted: bytes) -> str:
    if _BACKSLASH in quoted:
        return str(json.loads(quoted))
    return quoted[1:-1].decode("utf-8", "replace")


def _value_end(body: bytes, at: int) -> int:
    lead = body[at : at + 1]
    if lead == b'"':
        return _string_end(body, at)
    if lead and lead in b"{[":
        return _nested_end(body, at)
    scalar = _SCALAR.match(body, at)
    if scalar is None:
        raise ValueError("not a JSON object")
    return scalar.end()


def _string_end(body: bytes, at: int) -> int:
    end = body.find(b'"', at + 1)
    if end < 0:
        raise ValueError("a string does not end")
    slash = end
    while body[slash - 1] == _BACKSLASH:  # the opening quote stops it
        slash -= 1
    if (end - slash) % 2 == 0:
        return end + 1
    rest = _REST_OF_STRING.match(body, end + 1)
    if rest is None:
        raise ValueError("a string does not end")
    return rest.end()


def _nested_end(body: bytes, at: int) -> int:
    depth = 0
    while True:
        flat = _FLAT.match(body, at)
        at = flat.end() if flat else at
        mark = body[at : at + 1]
        if not mark:
            raise ValueError("an array or object does not end")
        if mark == b'"':
            at = _string_end(body, at)
            continue
        depth += 1 if mark in b"{[" else -1
        at += 1
        if depth == 0:
            return at
