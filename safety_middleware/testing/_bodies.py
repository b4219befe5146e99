"""Reading request bodies: JSON and forms, and the words and images in them."""

from __future__ import annotations

import json
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any, cast

__all__ = ["fields_of", "images_in", "parse", "said"]


def parse(content_type: str, raw: bytes) -> Any:
    """A body as ``Seen.body`` shows it; what cannot be read stays bytes.

    Args:
        content_type: The whole header, with its parameters.
        raw: The body.
    """
    if content_type.startswith("multipart/form-data"):
        return _form(content_type, raw)
    if content_type.startswith("application/json"):
        try:
            return json.loads(raw)
        except (ValueError, RecursionError):
            return raw
    return raw


def _form(content_type: str, raw: bytes) -> dict[str, Any]:
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    whole = BytesParser(policy=HTTP).parsebytes(head + raw)
    fields: dict[str, Any] = {}
    for part in cast("list[Message]", whole.get_payload()) if whole.is_multipart() else []:
        name = str(part.get_param("name", "", "content-disposition"))
        data = cast("bytes", part.get_payload(decode=True))
        value = data if part.get_filename() is not None else data.decode(errors="replace")
        if name in fields:
            before = fields[name]
            fields[name] = [*before, value] if isinstance(before, list) else [before, value]
        else:
            fields[name] = value
    return fields


def fields_of(body: Any) -> dict[str, Any]:
    """The fields of a JSON object or a form; of anything else none."""
    return cast("dict[str, Any]", body) if isinstance(body, dict) else {}


def said(value: Any) -> str:
    """The text within a message, a content part, or a list of either, joined by blanks."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return " ".join(filter(None, map(said, cast("list[object]", value))))
    fields = fields_of(value)
    return said(fields.get("content", fields.get("text"))) if fields else ""


def images_in(value: Any) -> list[str]:
    """The URLs of all images in messages, of either API."""
    if isinstance(value, list):
        return [url for part in cast("list[object]", value) for url in images_in(part)]
    fields = fields_of(value)
    if "content" in fields:
        return images_in(fields["content"])
    image = fields.get("image_url")
    url = fields_of(image).get("url", image)
    return [url] if isinstance(url, str) else []
