"""Parts of messages that are not text: which of them are images, and which can't be checked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .images import image_of_data, is_data_url, is_web_url
from .json_body import Json
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
_KINDS = _IMAGES | _OTHERS | _PLAIN_WORDS
_HINTS = frozenset({"image_url", *_TYPE_KEYS})


class Media(NamedTuple):
    """What one part shows.

    Attributes:
        images: Its images.
        refused: True if something in it can't be checked.
        used: Its keys that are neither text nor objects of text.
    """

    images: list[Image]
    refused: bool
    used: frozenset[str]


def find_media(node: dict[str, Json], *, new: bool, inside: bool) -> Media | None:
    """The media of an object, or None if it is an ordinary one.

    Args:
        node: Any object of a request.
        new: Whether it was sent for this turn.
        inside: Whether it belongs to a message. Elsewhere ``"type": "file"`` may mean anything,
            and what is no image is text.
    """
    kind = node.get("type")
    if not isinstance(kind, str) or kind not in _KINDS or (kind in _PLAIN_WORDS and not inside):
        if _HINTS.isdisjoint(node):
            return None
        kind = None
    label = _label(node)
    is_image = kind in _IMAGES or "image_url" in node
    is_media = kind is not None or (inside and label is not None)
    images: list[Image] = []
    used: set[str] = set()
    refused = False
    for key, source, declared in _sources(node, label):
        image = _image(source, declared, is_image=is_image, new=new)
        if image is not None:
            images.append(image)
        elif is_media:
            refused = True
        else:
            continue
        used.add(key)
    return Media(images, refused, frozenset(used))


def _label(node: dict[str, Json]) -> str | None:
    """The media type that *node* declares, in lower case."""
    for key in _TYPE_KEYS:
        value = node.get(key)
        if isinstance(value, str):
            return value.lower()
    return None


def _sources(node: dict[str, Json], label: str | None) -> Iterator[tuple[str, str, str | None]]:
    for key, value in node.items():
        if key not in SOURCES:
            continue
        if isinstance(value, dict):
            for name, inner in value.items():
                if name in SOURCES and isinstance(inner, str) and inner:
                    yield key, inner, _label(value) or label
        elif isinstance(value, str) and value:
            yield key, value, label


def _image(source: str, label: str | None, *, is_image: bool, new: bool) -> Image | None:
    if label is not None and not label.startswith("image/"):
        return None
    if is_web_url(source):
        return Image(source, new) if is_image or label else None
    if (is_image or label) and not is_data_url(
        source
    ):  # some send base64 alone; its first bytes tell the type
        source = f"data:image/png;base64,{source}"
    return image_of_data(source, new=new) if is_data_url(source) else None
