"""POST /moderations: the rule by which the fake flags texts and images, and the answers."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import unquote_to_bytes

from ._answers import Answer, compact, refused
from ._bodies import fields_of

__all__ = ["CATEGORIES", "MODERATION_MODEL", "WORDS", "moderations", "result"]

#: The categories of omni-moderation.
CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
MODERATION_MODEL = "omni-moderation-latest"
#: Plain words for demos, whole and in capitals, with what they score.
WORDS: Mapping[str, tuple[str, float]] = {
    "UNSAFE": ("violence", 0.97),
    "SELFHARM": ("self-harm", 0.95),
}
MARKER_SCORE = 0.97
FLAGGED_FROM = 0.5
_QUIET_SCORE = 0.0001
_OF_IMAGES = frozenset(
    c for c in CATEGORIES if c.startswith(("self-harm", "violence")) or c == "sexual"
)
_MARKER = re.compile(r"\[\[([a-z/-]+)(?::([01]|[01]?\.[0-9]+))?\]\]")
_WORD = re.compile(rf"\b({'|'.join(WORDS)})\b")


def _text_scores(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    marked = (
        [(m[1], float(m[2] or MARKER_SCORE)) for m in _MARKER.finditer(text)]
        if "[[" in text
        else []
    )
    for category, score in marked + [WORDS[m[1]] for m in _WORD.finditer(text)]:
        if category in CATEGORIES:
            found[category] = max(min(score, 1.0), found.get(category, 0.0))
    return found


def _image_scores(url: str) -> dict[str, float]:
    text = url
    if url.startswith("data:"):
        head, _, data = url.partition(",")
        try:
            raw = base64.b64decode(data) if head.endswith(";base64") else unquote_to_bytes(data)
        except ValueError:
            raise refused("Invalid base64 image data.", "input") from None
        text = raw.decode("latin-1")
    return {c: s for c, s in _text_scores(text).items() if c in _OF_IMAGES}


def result(texts: list[str], images: list[str]) -> dict[str, Any]:
    """The moderation result of what belongs together: one message."""
    scores: dict[str, float] = dict.fromkeys(CATEGORIES, _QUIET_SCORE)
    for found in [*map(_text_scores, texts), *map(_image_scores, images)]:
        for category, score in found.items():
            scores[category] = max(scores[category], score)
    flags = {category: score >= FLAGGED_FROM for category, score in scores.items()}
    of_text = ["text"] if texts else []
    of_image = ["image"] if images else []
    return {
        "flagged": any(flags.values()),
        "categories": flags,
        "category_scores": scores,
        "category_applied_input_types": {
            c: of_text + of_image if c in _OF_IMAGES else of_text for c in CATEGORIES
        },
    }


_QUIET = json.dumps(result([""], []), separators=(",", ":"))


def _text_result(text: str) -> str:
    if "[[" in text or _WORD.search(text):
        return compact(result([text], [])).decode()
    return _QUIET


def _message_result(parts: list[Any]) -> str:
    texts: list[str] = []
    images: list[str] = []
    for part in parts:
        match part:
            case {"type": "text", "text": str(text)}:
                texts.append(text)
            case {"type": "image_url", "image_url": {"url": str(url)}}:
                images.append(url)
            case _:
                raise refused("Invalid input: expected text and image_url parts.", "input")
    return compact(result(texts, images)).decode()


def moderations(body: Any, number: int) -> Answer:
    """Answer a moderation request.

    A text is flagged by markers such as ``[[violence]]`` or ``[[hate:0.93]]`` (any of the 13
    categories; without a score 0.97; flagged from 0.5) and by the words in ``WORDS``. An image
    is flagged by a marker in its URL or in the bytes of its data URL, if the category is one that
    omni-moderation scores for images. A list of strings gets one result per string, a list of
    parts one result.

    Raises:
        Refused: With 400, for input of another form; a list of lists among them.
    """
    fields = fields_of(body)
    match fields.get("input"):
        case str(text):
            results = [_text_result(text)]
        case [str(), *_] as texts if all(isinstance(t, str) for t in cast("list[Any]", texts)):
            results = [_text_result(t) for t in cast("list[str]", texts)]
        case [dict(), *_] as parts:
            results = [_message_result(cast("list[Any]", parts))]
        case None:
            raise refused("You must provide a parameter: 'input'.", "input")
        case _:
            raise refused("Invalid input: a string, strings, or the parts of one message.", "input")
    model = json.dumps(fields.get("model") or MODERATION_MODEL)
    text = f'{{"id":"modr-{number:024x}","model":{model},"results":[{",".join(results)}]}}'
    return Answer(text.encode())
