"""From a decision to the HTTP answer: status, headers and body, in the envelope of OpenAI's API."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from .decision import Decision, Reason

__all__ = ["CARE", "Refusal", "RefusalRenderer", "refusal_of"]

MESSAGES: Mapping[Reason, str] = {
    Reason.UNREADABLE_BODY: "This request can't be read.",
    Reason.FORBIDDEN_ROLE: "A message has a role that can't be sent here.",
    Reason.CONTENT_BLOCKED: "This message can't be answered here.",
    Reason.REPLY_BLOCKED: "The answer can't be shown here.",
    Reason.LOGIN_REQUIRED: "Log in to send messages here.",
    Reason.SUSPENDED: "This account can't send messages at the moment.",
    Reason.HELD_FOR_REVIEW: "The answer is being reviewed.",
    Reason.BODY_TOO_LARGE: "This request is too large.",
    Reason.INPUT_TOO_LONG: "This message is too long.",
    Reason.TOO_MANY_IMAGES: "This message has too many images.",
    Reason.UNSUPPORTED_MEDIA_TYPE: "This kind of content can't be sent here.",
    Reason.NOT_A_CHOICE: "This is not one of the choices.",
    Reason.RATE_LIMITED: "Too many messages. Try again later.",
    Reason.MODERATION_UNAVAILABLE: "Messages can't be checked at the moment. Try again later.",
}

CARE: Mapping[str, Any] = {
    "message": "It sounds as if you are going through something hard. You don't have to face it "
    "alone: these people listen, at any hour, free of charge.",
    "resources": [
        {"name": "988 Suicide & Crisis Lifeline", "contact": "988", "region": "US, Canada"},
        {"name": "Samaritans", "contact": "116 123", "region": "UK, Ireland"},
        {
            "name": "Emotional support helplines",
            "contact": "116 123",
            "region": "many EU countries",
        },
        {"name": "Find a Helpline", "contact": "https://findahelpline.com", "region": "elsewhere"},
    ],
}
"""What ``care`` answers unless the operator sets texts of their own."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The HTTP answer to a refused turn.

    Attributes:
        status: HTTP status.
        headers: Names and values; ``Content-Length`` and ``Content-Type`` are among them.
        body: The bytes of the answer.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


RefusalRenderer: TypeAlias = Callable[[Decision, str], Refusal]
"""An operator's own: ``(decision, request_id) -> Refusal``."""


def refusal_of(
    decision: Decision,
    request_id: str,
    *,
    accept: str | None = None,
    headers: tuple[tuple[str, str], ...] = (),
    care: Mapping[str, Any] = CARE,
) -> Refusal:
    """The answer to a turn that *decision* refuses.

    Args:
        decision: A decision that does not allow.
        request_id: The turn's id, for support and for the record.
        accept: The request's ``Accept`` header; RFC 9457 problem details are given where it asks.
        headers: More headers, such as those of the rate limits.
        care: ``message`` and ``resources`` of the answer to someone in distress.
    """
    reason = decision.reason
    problem = accept is not None and "application/problem+json" in accept.lower()
    if reason is Reason.CARE:
        payload: dict[str, Any] = {"care": dict(care), "request_id": request_id}
        problem = False
    elif problem:
        payload = {"type": "about:blank", "title": MESSAGES[reason], "status": reason.status}
        payload |= {"code": reason.value, "param": decision.param, "request_id": request_id}
    else:
        error = {"message": MESSAGES[reason], "type": "safety_error", "code": reason.value}
        payload = {"error": {**error, "param": decision.param, "request_id": request_id}}
    if decision.retry_at is not None:
        payload.get("error", payload)["retry_at"] = math.ceil(decision.retry_at)
    if decision.retry_after is not None:
        headers += (("Retry-After", str(max(1, math.ceil(decision.retry_after)))),)
    body = json.dumps(payload).encode()
    kind = "application/problem+json" if problem else "application/json"
    fixed = (
        ("Content-Type", kind),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
    )
    return Refusal(reason.status, (*fixed, ("X-Request-Id", request_id), *headers), body)
