"""POST /images/generations and /images/edits, whole and streamed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from ._answers import Answer, Frame, Stream, compact, event, refused
from ._bodies import fields_of

__all__ = ["images"]

#: A PNG of one transparent pixel.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
_OUTPUT_TOKENS = 272
_MAX_IMAGES = 10
_MAX_PARTS = 3


def images(body: Any, endpoint: str) -> Answer | Stream:
    """Answer an image request, JSON or form; the identifier in force is echoed.

    Raises:
        Refused: With 400, for a request without a prompt (an edit: without an image), or with an
            impossible ``n``.
    """
    fields = fields_of(body)
    prompt = fields.get("prompt")
    if not isinstance(prompt, str) or not prompt:
        raise refused("Missing required parameter: 'prompt'.", "prompt")
    if endpoint == "/images/edits" and not ({"image", "image[]"} & fields.keys()):
        raise refused("Missing required parameter: 'image'.", "image")
    count = _number(fields, "n", 1, range(1, _MAX_IMAGES + 1))
    if fields.get("stream") in (True, "true"):
        kind = "image_edit" if endpoint == "/images/edits" else "image_generation"
        parts = _number(fields, "partial_images", 0, range(_MAX_PARTS + 1))
        return Stream(_frames(fields, kind, prompt, parts))
    return Answer(compact(_whole(fields, prompt, count)))


def _number(fields: dict[str, Any], name: str, default: int, allowed: range) -> int:
    # A form has strings only.
    value = str(default if fields.get(name) is None else fields[name])
    if not value.isdecimal() or int(value) not in allowed:
        raise refused(f"Invalid '{name}': {allowed[0]} to {allowed[-1]}.", name)
    return int(value)


def _whole(fields: dict[str, Any], prompt: str, count: int) -> dict[str, Any]:
    identifier = _identifier(fields)
    return {
        "created": int(time.time()),
        "data": [{"b64_json": PIXEL} for _ in range(count)],
        "usage": _usage(prompt, count),
        **({"safety_identifier": identifier} if identifier else {}),
    }


def _frames(fields: dict[str, Any], kind: str, prompt: str, parts: int) -> Iterator[Frame]:
    image = {
        "b64_json": PIXEL,
        "background": "transparent",
        "created_at": int(time.time()),
        "output_format": "png",
        "quality": "low",
        "size": "1024x1024",
    }
    for index in range(parts):
        name = f"{kind}.partial_image"
        yield Frame(event({"type": name, **image, "partial_image_index": index}, name))
    name = f"{kind}.completed"
    usage = {"usage": _usage(prompt, 1), "safety_identifier": _identifier(fields)}
    yield Frame(event({"type": name, **image, **usage}, name))


def _identifier(fields: dict[str, Any]) -> str | None:
    return fields.get("safety_identifier") or fields.get("user") or None


def _usage(prompt: str, count: int) -> dict[str, Any]:
    read, written = len(prompt.split()), _OUTPUT_TOKENS * count
    return {
        "input_tokens": read,
        "input_tokens_details": {"text_tokens": read, "image_tokens": 0},
        "output_tokens": written,
        "total_tokens": read + written,
    }
