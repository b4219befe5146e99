"""Cutting a question into what one request may hold, and joining what was said of the parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from safety_middleware.verdict import Verdict

from .settings import Question

__all__ = ["Parts", "cut", "is_blank", "merge", "mixed"]

#: The ``input`` of a request with an image.
Parts: TypeAlias = list[dict[str, object]]

# OpenAI states no limit; these stay below 32,768 tokens whatever is written, as a token is at
# least one character of ASCII, or one of the up to four bytes of any other character
ASCII_CHARS = 20_000
OTHER_CHARS = 8_000
# a threat or a slur in its sentence fits: nothing is lost by being cut in two
OVERLAP = 300


def is_blank(question: Question) -> bool:
    """Whether there is nothing to judge."""
    return not question.images and not question.text.strip()


def cut(text: str) -> list[str]:
    """Cut *text* into overlapping parts that a request can carry; blank parts are left out.

    Surrogates, which UTF-8 can't carry, become the character they stand for as a pair, else U+FFFD.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    size = ASCII_CHARS if text.isascii() else OTHER_CHARS
    if len(text) <= size:
        return [text] if text.strip() else []
    step = size - OVERLAP
    parts = [text[start : start + size] for start in range(0, len(text) - OVERLAP, step)]
    return [part for part in parts if part.strip()]


def mixed(text: str | None, image: str) -> Parts:
    """The input for one *image* and the *text* it came with.

    A request takes one image only: the endpoint answers 400 ``too_many_images`` to two.
    """
    parts: Parts = [{"type": "image_url", "image_url": {"url": image}}]
    return [{"type": "text", "text": text}, *parts] if text else parts


def merge(verdicts: Sequence[Verdict]) -> Verdict:
    """What was said of the parts, said of the whole: any flag, the highest scores."""
    if len(verdicts) == 1:
        return verdicts[0]
    scores: dict[str, float] = {}
    for verdict in verdicts:
        for category, score in verdict.scores.items():
            scores[category] = max(score, scores.get(category, 0.0))
    flags = frozenset[str]().union(*(verdict.flags for verdict in verdicts))
    return Verdict(flags, scores, verdicts[0].model)
