"""``multipart/form-data`` read so strictly that no other parser can find other fields in it."""

from __future__ import annotations

import re

from safety_middleware.decision import Reason
from safety_middleware.errors import BadInput

from .media_type import read_media_type, read_parameters
from .model import FormField

__all__ = ["MOST_FIELDS", "read_multipart"]

MOST_FIELDS = 1_000
"""Most fields of a form, the limit of Starlette and Werkzeug as well."""

_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]++):[ \t]*+([^\x00-\x08\x0a-\x1f\x7f]*+)")
_NO_ENCODING = frozenset({"7bit", "8bit", "binary"})
_LONGEST_HEADERS = 4_096


def read_multipart(body: bytes, boundary: str | None) -> list[FormField]:
    """The fields of *body* in order; only the last line may lack its line break.

    Raises:
        BadInput: If anything is not as RFC 7578 has it, or could be read in two ways: a preamble,
            a boundary inside a part, line breaks other than CR LF, folded, repeated or encoded
            headers, text that is not UTF-8; or if there are too many fields. One empty line in
            front is no preamble.
    """
    if boundary is None or _BOUNDARY.fullmatch(boundary) is None:
        raise BadInput(Reason.UNREADABLE_BODY)
    mark = b"--" + boundary.encode()
    body = body.removeprefix(b"\r\n")  # Werkzeug's client begins with one; every parser skips it
    pieces = (b"\r\n" + body).split(b"\r\n" + mark, MOST_FIELDS + 1)
    first, *parts, last = pieces if len(pieces) > 1 else (b"?", b"")
    if first or last not in {b"--", b"--\r\n"} or body.count(mark) != len(pieces) - 1:
        raise BadInput(Reason.UNREADABLE_BODY)
    return [_field(part) for part in parts]


def _field(part: bytes) -> FormField:
    head, blank, content = part.partition(b"\r\n\r\n")
    if not blank or not head.startswith(b"\r\n") or len(head) > _LONGEST_HEADERS:
        raise BadInput(Reason.UNREADABLE_BODY)
    try:
        headers = _headers(head[2:].decode())
        names = _names(headers.get("content-disposition", ""))
        filename = names.get("filename")
        value = content if filename is not None else content.decode()
    except ValueError:
        raise BadInput(Reason.UNREADABLE_BODY) from None
    if headers.get("content-transfer-encoding", "binary").lower() not in _NO_ENCODING:
        raise BadInput(Reason.UNREADABLE_BODY)
    declared = headers.get("content-type")
    read_media_type(declared)  # for its charset
    return FormField(names["name"], value, filename, declared)


def _names(disposition: str) -> dict[str, str]:
    kind, _, rest = disposition.partition(";")
    names = read_parameters(";" + rest)
    known = names.keys() <= {"name", "filename"}
    if kind.strip().lower() != "form-data" or "name" not in names or not known:
        raise ValueError("not a form field")
    return names


def _headers(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in text.split("\r\n"):
        match = _HEADER.fullmatch(line)
        if match is None or (name := match[1].lower()) in found:
            raise ValueError("malformed or repeated header")
        found[name] = match[2].rstrip(" \t")
    return found
