"""Messages in the shapes of Chat Completions, Responses, the Vercel AI SDK and LangChain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

__all__ = [
    "HISTORIES",
    "STRUCTURAL",
    "is_conversation",
    "is_message",
    "newness",
    "normal_role",
    "role_of",
    "top_level_system",
]

HISTORIES = frozenset({"chatHistory", "chat_history", "history", "previous_messages"})
"""Keys whose values went before: what they hold after the last answer is new, no answer is."""

_ALIASES = {
    "ai": "assistant",
    "bot": "assistant",
    "function": "tool",
    "human": "user",
    "model": "assistant",
}
_COMMON = {role: role for role in ("user", "assistant", "tool", "system", "developer")}
_SYSTEM = frozenset({"system", "developer"})

_ITEM_ROLES = {
    "ai": "assistant",
    "developer": "developer",
    "function_call": "assistant",
    "function_call_output": "tool",
    "computer_call_output": "tool",
    "custom_tool_call_output": "tool",
    "human": "user",
    "message": "user",
    "reasoning": "assistant",
    "system": "system",
}
"""Type of a Responses item or a LangChain message that has no role -> its role."""

_SPOKEN = frozenset(
    {"content", "parts", "text", "tool_calls", "function_call", "refusal", "output"}
)

STRUCTURAL = frozenset(
    {"text", "input_text", "output_text", "message", "function", "image_url", "input_image"}
)
"""Values of ``type`` that are syntax and not text."""


def normal_role(role: Any) -> str:
    """The role in our words; unknown ones as they are, those that are no text as ``?``."""
    if role is None:
        return "user"
    if type(role) is not str:
        return "?"
    known = _COMMON.get(role)
    if known is not None:
        return known
    name: str = role.strip().casefold()
    return _ALIASES.get(name, name)


def role_of(item: Any) -> str:
    """The role of one item of a conversation."""
    if type(item) is list and _is_pair(item):
        return normal_role(item[0])
    if type(item) is not dict:
        return "user"
    message = cast("dict[str, Any]", item)
    if "role" in message:
        return normal_role(message["role"])
    kind = message.get("type")
    return _ITEM_ROLES.get(kind, "user") if type(kind) is str else "user"


def _is_pair(item: list[Any]) -> bool:
    """Whether *item* is a message written as ``["user", "text"]``."""
    if len(item) != 2 or type(item[0]) is not str:  # noqa: PLR2004  # a pair
        return False
    return normal_role(item[0]) in _COMMON


def is_message(node: dict[str, Any]) -> bool:
    """Whether *node*, standing alone, is a message: has a role, and something said or a system's."""
    if "role" not in node:
        return node.get("type") in _SYSTEM if type(node.get("type")) is str else False
    return not _SPOKEN.isdisjoint(node) or normal_role(node["role"]) in _SYSTEM


def is_conversation(items: list[Any], *, inside: bool) -> bool:
    """Whether a list holds messages; *inside* a message its parts are only where roles say so."""
    for item in items:
        if type(item) is dict:
            message = cast("dict[str, Any]", item)
            if "role" in message:
                return True
            kind = message.get("type")
            if not inside and type(kind) is str and kind in _ITEM_ROLES:
                return True
        elif type(item) is list and _is_pair(item):
            return True
    return False


def newness(roles: Sequence[str], *, past: bool) -> list[bool]:
    """Which messages of a conversation were sent for this turn.

    All from the first one after the last answer that a user replied to: what follows the user's
    last message was written by the client too, so an answer at the end makes nothing history.
    Under a key that says history, an answer at the end is one.
    """
    last = len(roles) - 1
    if past:
        while last >= 0 and roles[last] != "assistant":
            last -= 1
        return [i > last for i in range(len(roles))]
    while last >= 0 and roles[last] != "user":
        last -= 1
    first = last
    while first > 0 and roles[first - 1] != "assistant":
        first -= 1
    return [i > last or (i >= first and role not in _SYSTEM) for i, role in enumerate(roles)]


_REQUEST = frozenset(
    {"conversation", "input", "messages", "model", "previous_response_id", "prompt", "tools"}
)


def top_level_system(body: dict[str, Any]) -> list[str]:
    """Keys of a request to the model's API that speak for the system."""
    if _REQUEST.isdisjoint(body):
        return []
    return [key for key in ("instructions", "system") if body.get(key)]
