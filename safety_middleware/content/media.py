"""Parts of messages that are not text: which of them are images, and which can't be checked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

from .images import image_of_url
from .model import Image

__all__ = ["SOURCES", "Media", "find_media"]

SOURCES = frozenset(
    {
        "audio",
        "audio_url",
        "data",
        "file",
        "file_data",
        "file_id",
        "file_url",
        "image",
        "image_url",
        "input_audio",
        "source",
        "url",
        "video",
        "video_url",
    }
)
"""Keys of such a part whose values are its substance: URLs, base64 or ids of uploaded files."""

_IMAGES = frozenset({"computer_screenshot", "image", "image_url", "input_image", "output_image"})
_OTHERS = frozenset({"audio_url", "input_audio", "input_file", "input_video", "video_url"})
_PLAIN_WORDS = frozenset({"audio", "document", "file", "image", "video"})
_TYPE_KEYS = ("mediaType", "mimeType", "media_type", "mime_type", "contentType", "content_type")


class Media(NamedTuple):
    """What one part shows.

    Attributes:
        images: Its images.
        refused: True if something in it can't be checked.
        used: Its keys that are neither text nor objects of text.
    """

    images: list[Image]
    refused: bool
    used: set[str]


def find_media(node: dict[str, Any], *, new: bool, inside: bool) -> Media | None:
    """The media of an object, or None if it is an ordinary one.

    Args:
        node: Any object of a request.
        new: Whether it was sent for this turn.
        inside: Whether it belongs to a message. Elsewhere ``"type": "file"`` may mean anything.
    """
    kind = node.get("type")
    kind = kind if type(kind) is str else None
    declared = _declared(node)
    api = kind in _IMAGES or kind in _OTHERS
    if kind in _PLAIN_WORDS:
        api = inside
    attached = declared is not None and (inside or declared.startswith("image/"))
    if not (api or attached or "image_url" in node):
        return None
    claims_image = kind in _IMAGES or "image_url" in node
    found = Media([], False, set())
    for key in SOURCES.intersection(node):
        for source, label in _sources(node[key], declared):
            image = _image(source, label, claims_image=claims_image, new=new)
            if image is not None:
                found.images.append(image)
            elif api or attached:
                found = found._replace(refused=True)
            else:
                continue
            found.used.add(key)
    return found


def _declared(node: dict[str, Any]) -> str | None:
    for key in _TYPE_KEYS:
        value = node.get(key)
        if type(value) is str:
            return value.lower()
    return None


def _sources(value: Any, declared: str | None) -> Iterator[tuple[str, str | None]]:
    if type(value) is str:
        if value:
            yield value, declared
    elif type(value) is dict:
        inner = cast("dict[str, Any]", value)
        for key in SOURCES.intersection(inner):
            if type(inner[key]) is str and inner[key]:
                yield inner[key], _declared(inner) or declared


def _image(source: str, label: str | None, *, claims_image: bool, new: bool) -> Image | None:
    if label is not None and not label.startswith("image/"):
        return None
    image = image_of_url(source, new=new)
    if image is not None and image.media_type is None and not (claims_image or label):
        return None
    if image is None and label is not None:
        image = image_of_url(f"data:{label};base64,{source}", new=new)
    if image is not None and image.media_type is not None and not claims_image and label is None:
        return image if image.url[5:11].lower() == "image/" else None
    return image
