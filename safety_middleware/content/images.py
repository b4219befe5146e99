"""Images in data URLs: recognised, measured and typed without decoding them."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode

from .model import Image

__all__ = ["image_of_bytes", "image_of_data", "is_data_url", "is_web_url"]

_LONGEST_WEB_URL = 8_192
_HEAD = re.compile(
    r"data:([a-z0-9.+-]{1,63}+/[a-z0-9.+-]{1,63}+)(?:;[a-z0-9=._-]{1,63}+){0,3}?;base64,",
    re.IGNORECASE,
)
_WEB = re.compile(r"https?://[!-~]++", re.IGNORECASE)
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def _type_of(head: bytes) -> str | None:
    # What OpenAI's models and its moderation read: platform.openai.com/docs/guides/images-vision
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return None


def is_data_url(text: str) -> bool:
    """Whether *text* as a whole is a data URL in strict base64; anything else is text."""
    match = _HEAD.match(text)
    if match is None:
        return False
    payload = text[match.end() :]
    if len(payload) % 4 == 1 or not payload.isascii():
        return False
    padding = payload.encode().translate(None, _ALPHABET)
    return padding in {b"", b"=", b"=="} and payload.endswith(padding.decode())


def is_web_url(text: str) -> bool:
    """Whether *text* as a whole is an http(s) URL, without blanks."""
    return len(text) <= _LONGEST_WEB_URL and _WEB.fullmatch(text) is not None


def image_of_data(url: str, *, new: bool) -> Image | None:
    """The image in a data URL in strict base64, or None if its type is not supported.

    The first bytes tell the type: labels are often wrong, and bytes of no image can be text.
    """
    comma = url.index(",") + 1
    media_type = _type_of(b64decode(url[comma : comma + 24] + "==="))
    if media_type is None or url[5:11].lower() != "image/":
        return None
    size = (len(url) - comma) * 3 // 4 - url.count("=", max(comma, len(url) - 2))
    return Image(url, new, media_type, size)


def image_of_bytes(content: bytes) -> Image | None:
    """The uploaded image *content* as a data URL, or None if its type is not supported."""
    media_type = _type_of(content[:16])
    if media_type is None:
        return None
    url = f"data:{media_type};base64,{b64encode(content).decode()}"
    return Image(url, True, media_type, len(content))
