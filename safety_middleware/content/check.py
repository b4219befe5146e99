"""What a policy says of content before anyone has read it for its meaning."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from safety_middleware.decision import Action, Decision, Reason
from safety_middleware.policy import Policy

from .messages import normal_role
from .model import Content

__all__ = ["check"]


def check(content: Content, policy: Policy) -> Decision | None:
    """Refuse content that breaks the policy's roles, media, caps or choices; None if it keeps them."""
    if content.roles:
        allowed = _roles(policy.client_roles)
        for role, where in content.roles:
            if role not in allowed:
                return _refuse(Reason.FORBIDDEN_ROLE, where)
    return _media(content, policy) or _length(content, policy) or _choices(content, policy)


def _refuse(reason: Reason, param: str) -> Decision:
    return Decision(Action.REFUSE, reason, param=param)


@lru_cache(maxsize=64)
def _roles(names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(map(normal_role, names))


def _media(content: Content, policy: Policy) -> Decision | None:
    if content.unsupported:
        return _refuse(Reason.UNSUPPORTED_MEDIA_TYPE, content.unsupported[0])
    if not content.images:
        return None
    if sum(image.new for image in content.images) > policy.max_images:
        return _refuse(Reason.TOO_MANY_IMAGES, "image")
    if not policy.max_images:  # none means none, not even in the history
        return _refuse(Reason.TOO_MANY_IMAGES, "image")
    if any(image.size > policy.max_image_bytes for image in content.images if image.size):
        return _refuse(Reason.BODY_TOO_LARGE, "image")
    return None


def _length(content: Content, policy: Policy) -> Decision | None:
    if content.new_chars > policy.max_input_chars:
        return _refuse(Reason.INPUT_TOO_LONG, _longest(content, new=True))
    if content.context_chars > policy.max_context_chars:
        return _refuse(Reason.INPUT_TOO_LONG, _longest(content, new=False))
    if content.raw_chars > policy.max_input_chars + policy.max_context_chars:
        return _refuse(Reason.INPUT_TOO_LONG, "body")
    return None


def _longest(content: Content, *, new: bool) -> str:
    parts = [part for part in content.parts if part.new is new]
    return max(parts, key=lambda part: len(part.text)).where


def _choices(content: Content, policy: Policy) -> Decision | None:
    for name, allowed in policy.choices.items():
        for value in content.values.get(name, ()):
            if not _is_one_of(value, allowed):
                return _refuse(Reason.NOT_A_CHOICE, name)
    return None


def _is_one_of(value: Any, allowed: Iterable[Any]) -> bool:
    """Whether *value* is allowed; true is not 1, and a form's ``"1"`` is."""
    for choice in allowed:
        if value == choice and isinstance(value, bool) is isinstance(choice, bool):
            return True
        if isinstance(value, str) and not isinstance(choice, bool) and value == str(choice):
            return True
    return False
