"""Reading a moderation answer: strictly, so that nonsense is never taken for "not flagged"."""

from __future__ import annotations

import json
from typing import Any, cast

from safety_middleware.errors import ModerationUnavailable
from safety_middleware.policy import CATEGORIES
from safety_middleware.verdict import Verdict

__all__ = ["read"]

# the SDK's ``types/moderation.py``: these may be null or missing, the others may not
NULLABLE = frozenset({"illicit", "illicit/violent"})
REQUIRED = frozenset(CATEGORIES) - NULLABLE


def read(body: bytes, expected: int) -> list[Verdict]:
    """Read the body of an answer to *expected* questions.

    A category counts as flagged by its own boolean, whatever ``flagged`` says; ``flagged``
    without any such category can't be acted on, so it is no verdict.

    Raises:
        ModerationUnavailable: ``empty`` without body or results, ``short`` with fewer results than
            *expected*, ``malformed`` for anything else that is not a full answer.
    """
    if not body.strip():
        raise ModerationUnavailable("empty")
    try:
        answer = json.loads(body.decode())
    except (ValueError, RecursionError):
        raise ModerationUnavailable("malformed") from None
    match answer:
        case {"results": list(), "model": str(model)}:
            results = cast("list[Any]", answer["results"])
        case _:
            raise ModerationUnavailable("malformed")
    if len(results) < expected:
        raise ModerationUnavailable("short" if results else "empty")
    if len(results) > expected:
        raise ModerationUnavailable("malformed")
    return [_verdict(result, model) for result in results]


def _verdict(result: Any, model: str) -> Verdict:
    match result:
        case {
            "flagged": bool(flagged),
            "categories": dict(),
            "category_scores": dict(),
        }:
            judged = _judged(result["categories"])
            scores = _scores(result["category_scores"])
        case _:
            raise ModerationUnavailable("malformed")
    flags = frozenset(name for name, flag in judged.items() if flag)
    # without a score a threshold on the category would be passed over in silence
    if not judged.keys() >= REQUIRED or not scores.keys() >= judged.keys():
        raise ModerationUnavailable("malformed")
    if flagged and not flags:
        raise ModerationUnavailable("malformed")
    return Verdict(flags, scores, model)


def _judged(categories: dict[str, Any]) -> dict[str, bool]:
    judged = {name: flag for name, flag in categories.items() if flag is not None}
    if not all(isinstance(flag, bool) for flag in judged.values()):
        raise ModerationUnavailable("malformed")
    return judged


def _scores(scores: dict[str, Any]) -> dict[str, float]:
    known: dict[str, float] = {}
    for name, score in scores.items():
        if score is None:
            continue
        # the comparison is false for NaN as well
        if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
            raise ModerationUnavailable("malformed")
        known[name] = float(score)
    return known
