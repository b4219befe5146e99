"""What was decided about a turn, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

__all__ = ["ALLOWED", "Action", "Decision", "Reason"]


class Reason(StrEnum):
    """Why a turn was decided as it was; its value is the refusal's ``code``.

    ``status`` is the HTTP status of the refusal.
    """

    status: int

    def __new__(cls, value: str, status: int) -> Self:
        """Make a member of its value and its status."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.status = status
        return member

    OK = "ok", 200
    CARE = "care", 200
    HELD_FOR_REVIEW = "held_for_review", 202
    UNREADABLE_BODY = "unreadable_body", 400
    FORBIDDEN_ROLE = "forbidden_role", 400
    CONTENT_BLOCKED = "content_blocked", 400
    REPLY_BLOCKED = "reply_blocked", 400
    LOGIN_REQUIRED = "login_required", 401
    SUSPENDED = "suspended", 403
    BODY_TOO_LARGE = "body_too_large", 413
    INPUT_TOO_LONG = "input_too_long", 413
    TOO_MANY_IMAGES = "too_many_images", 413
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type", 415
    NOT_A_CHOICE = "not_a_choice", 422
    RATE_LIMITED = "rate_limited", 429
    MODERATION_UNAVAILABLE = "moderation_unavailable", 503


class Action(StrEnum):
    """What happens to the turn."""

    ALLOW = "allow"
    REFUSE = "refuse"
    HOLD = "hold"
    CUT = "cut"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with one turn.

    Attributes:
        action: Allow, refuse, hold for review, or cut the reply.
        reason: Why; ``Reason.OK`` when nothing was found.
        param: The part of the request the client should look at, or None. Never a matched word.
        detail: For the record only: a term id, a category, a failure's cause. Never message text.
        retry_after: Seconds until trying again can succeed, or None.
        retry_at: Of a suspension: when it ends, in Unix seconds; None: when it is lifted.
    """

    action: Action = Action.ALLOW
    reason: Reason = Reason.OK
    param: str | None = None
    detail: str | None = None
    retry_after: float | None = None
    retry_at: float | None = None

    @property
    def allowed(self) -> bool:
        """True when the turn may go on."""
        return self.action is Action.ALLOW


ALLOWED = Decision()
"""The plain allow: most turns end with it, so it is made once."""
