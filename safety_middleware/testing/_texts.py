"""Finding the words and the images in a request body."""

from __future__ import annotations

from typing import Any, cast

__all__ = ["images_in", "said"]


def said(value: Any) -> str:
    """The text within a message, a content part, or a list of either, joined by blanks."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return " ".join(filter(None, map(said, cast("list[Any]", value))))
    if isinstance(value, dict):
        part = cast("dict[str, Any]", value)
        return said(part.get("content", part.get("text")))
    return ""


def images_in(value: Any) -> list[str]:
    """The URLs of all images in messages, of either API."""
    match value:
        case list():
            return [url for part in cast("list[Any]", value) for url in images_in(part)]
        case {"content": content}:
            return images_in(content)
        case {"image_url": {"url": str(url)}} | {"image_url": str(url)}:
            return [url]
        case _:
            return []
