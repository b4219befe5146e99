"""``Content-Type`` read by a grammar so strict that no other parser reads it differently."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from safety_middleware.decision import Reason
from safety_middleware.errors import BadInput

__all__ = ["MediaType", "read_media_type", "read_parameters"]

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"  # noqa: S105 - RFC 9110, section 5.6.2
_TYPE = re.compile(rf"\s*+({_TOKEN}/{_TOKEN})[ \t]*+")
_PARAMETER = re.compile(rf';[ \t]*+(?:({_TOKEN})=(?:({_TOKEN})|"([^"\\\x00-\x1f\x7f]*+)"))?[ \t]*+')
_LONGEST = 256


class MediaType(NamedTuple):
    """A media type.

    Attributes:
        essence: Type and subtype in lower case; empty when none was declared.
        boundary: What separates the parts of a multipart body, or None.
    """

    essence: str
    boundary: str | None = None

    @property
    def is_json(self) -> bool:
        """True for every type that promises JSON."""
        return self.essence in {"application/json", "text/json"} or self.essence.endswith("+json")

    @property
    def is_text(self) -> bool:
        """True for text without an encoding of its own, and where nothing was promised."""
        essence = self.essence
        if essence in {"", "application/octet-stream"}:
            return True
        return (
            essence.startswith("text/") and essence != "text/xml" and not essence.endswith("+xml")
        )


def read_parameters(value: str, start: int = 0) -> dict[str, str]:
    """The parameters of a header from *start* on, names in lower case.

    Raises:
        ValueError: If they break the grammar, repeat a name, or continue or encode one in the
            manner of RFC 2231 (``name*=``), which form parsers read in different ways.
    """
    found: dict[str, str] = {}
    while start < len(value):
        match = _PARAMETER.match(value, start)
        if match is None:
            raise ValueError("malformed parameter")
        start = match.end()
        if (name := match[1]) is None:
            continue
        name = name.lower()
        if name in found or "*" in name:
            raise ValueError("ambiguous parameter")
        found[name] = match[2] if match[2] is not None else match[3]
    return found


@lru_cache(maxsize=256)
def read_media_type(value: str | None) -> MediaType:
    """Read the value of a ``Content-Type`` header; None is no type.

    Raises:
        BadInput: Unsupported media type, if it breaks the grammar or names a charset other than
            UTF-8, which is the only one that every app decodes in the same way.
    """
    if value is None or not value.strip():
        return MediaType("")
    match = _TYPE.match(value) if len(value) <= _LONGEST else None
    if match is None:
        raise BadInput(Reason.UNSUPPORTED_MEDIA_TYPE, "content-type")
    try:
        parameters = read_parameters(value, match.end())
    except ValueError:
        raise BadInput(Reason.UNSUPPORTED_MEDIA_TYPE, "content-type") from None
    if parameters.get("charset", "utf-8").lower() not in {"utf-8", "utf8"}:
        raise BadInput(Reason.UNSUPPORTED_MEDIA_TYPE, "content-type")
    return MediaType(match[1].lower(), parameters.get("boundary"))
