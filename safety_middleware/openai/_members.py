"""The top-level members of a JSON object, found in its bytes and replaced there.

The bytes are looked at as Latin-1: one character each, so that places in the text are places in
the bytes, and the bytes of longer UTF-8 sequences are never taken for JSON's own signs. A body with
a picture in it has megabytes that nobody needs parsed: there, strings are skipped by ``str.find``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

__all__ = ["Member", "Members", "find_members"]

PARSED_WHOLE = 16_384
"""Up to this many bytes parsing everything is faster than skipping it."""

_parse = json.JSONDecoder(strict=False).raw_decode
_OPEN = re.compile(r"[ \t\r\n]*+\{[ \t\r\n]*+")
_COLON = re.compile(r"[ \t\r\n]*+:[ \t\r\n]*+")
_AFTER = re.compile(r"[ \t\r\n]*+([,}])[ \t\r\n]*+")
# what needs no look inside an array or object; longer strings are found faster by str.find
_FLAT = re.compile(r'(?:[^"{}\[\]]++|"[^"\\]{0,256}+")*+')


class Member(NamedTuple):
    """One member: its key, and where its value starts and ends in the bytes."""

    key: str
    start: int
    end: int


class Members(NamedTuple):
    """An object's bytes, where its first member stands, and its members, duplicates included."""

    body: bytes
    first: int
    found: Sequence[Member]

    def replaced(self, values: Mapping[str, bytes]) -> bytes:
        """The object with *values*, as JSON: at every occurrence, else added in front."""
        view = memoryview(self.body)  # a megabyte is copied once
        pieces: list[bytes | memoryview] = []
        at = self.first
        missing = dict(values)
        for key, start, end in self.found:
            if key in values:
                pieces += (view[at:start], values[key])
                missing.pop(key, None)
                at = end
        pieces.append(view[at:])
        added = b",".join(b'"%b":%b' % (key.encode(), value) for key, value in missing.items())
        comma = b"," if added and self.found else b""
        return b"".join([view[: self.first], added, comma, *pieces])


def find_members(body: bytes) -> Members:
    """The members of the JSON object that *body* is.

    Where *body* is JSON the answer is right; where it is not, whoever parses it will say so.

    Raises:
        RecursionError: If a small *body* is nested too deep to parse.
        ValueError: If *body* is no JSON object.
    """
    text = body.decode("latin-1")
    opened = _OPEN.match(text)
    if opened is None:
        raise ValueError("not a JSON object")
    at = opened.end()
    found: list[Member] = []
    value_end = _parsed_end if len(text) <= PARSED_WHOLE else _skipped_end
    more = not text.startswith("}", at)
    while more:
        key, end = _parse(text, at)
        colon = _COLON.match(text, end)
        if colon is None or not isinstance(key, str):
            raise ValueError("not a JSON object")
        end = value_end(text, colon.end())
        found.append(Member(key, colon.end(), end))
        after = _AFTER.match(text, end)
        if after is None:
            raise ValueError("not a JSON object")
        at, more = after.end(), after[1] == ","
    if text[at if found else at + 1 :].strip(" \t\r\n"):
        raise ValueError("not a JSON object")
    return Members(body, opened.end(), found)


def _parsed_end(text: str, at: int) -> int:
    return _parse(text, at)[1]


def _skipped_end(text: str, at: int) -> int:
    if text.startswith('"', at):
        return _string_end(text, at)
    if text.startswith(("{", "["), at):
        return _nested_end(text, at)
    return _parse(text, at)[1]


def _string_end(text: str, at: int) -> int:
    end = text.find('"', at + 1)
    if end < 0:
        raise ValueError("a string does not end")
    if text[end - 1] != "\\":
        return end + 1
    return _parse(text, at)[1]


def _nested_end(text: str, at: int) -> int:
    depth = 0
    while True:
        flat = _FLAT.match(text, at)
        at = flat.end() if flat else at
        mark = text[at : at + 1]
        if not mark:
            raise ValueError("an array or object does not end")
        if mark == '"':
            at = _string_end(text, at)
            continue
        depth += 1 if mark in "{[" else -1
        at += 1
        if depth == 0:
            return at
