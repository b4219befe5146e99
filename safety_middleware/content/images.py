"""Images in data URLs: recognised, measured and typed without decoding them."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode

from .model import Image

__all__ = ["IMAGE_TYPES", "image_of_bytes", "image_of_url", "is_data_url", "is_web_url"]

IMAGE_TYPES = frozenset({"image/gif", "image/jpeg", "image/png", "image/webp"})
"""What OpenAI's models and its moderation read (platform.openai.com/docs/guides/images-vision)."""

UNKNOWN = "application/octet-stream"

_LONGEST_WEB_URL = 8_192
_HEAD = re.compile(
    r"data:([a-z0-9.+-]{1,63}+/[a-z0-9.+-]{1,63}+)(?:;[a-z0-9=._-]{1,63}+){0,3}?;base64,", re.I
)
_WEB = re.compile(r"https?://[!-~]++", re.IGNORECASE)
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def _type_of(head: bytes) -> str:
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return UNKNOWN


def _media_type(declared: str, head: bytes) -> str:
    """The type by the first bytes: a wrong label is common, a type that hides text is not let by."""
    declared = declared.lower()
    return _type_of(head) if declared in IMAGE_TYPES else declared


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


def image_of_url(url: str, *, new: bool) -> Image | None:
    """The image at *url*, if it is a base64 data URL or an http(s) URL; else None."""
    if is_web_url(url):
        return Image(url, new)
    if not is_data_url(url):
        return None
    comma = url.index(",") + 1
    declared = url[5:].split(";", 1)[0]
    head = b64decode(url[comma : comma + 24] + "===")
    size = (len(url) - comma) * 3 // 4 - url.count("=", max(comma, len(url) - 2))
    return Image(url, new, _media_type(declared, head), size)


def image_of_bytes(declared: str, content: bytes) -> Image:
    """The uploaded image *content*, as a data URL."""
    media_type = _media_type(declared, content[:16])
    url = f"data:{media_type};base64,{b64encode(content).decode()}"
    return Image(url, True, media_type, len(content))
