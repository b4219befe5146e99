"""Messages in the shapes of Chat Completions, Responses, the Vercel AI SDK and LangChain."""

from __future__ import annotations

from collections.abc import Sequence

from .json_body import Json

__all__ = [
    "HISTORIES",
    "ROLES",
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
ROLES = frozenset({"assistant", "developer", "system", "tool", "user"})
"""The roles we know."""

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


def normal_role(role: Json) -> str:
    """The role in our words; unknown ones as they are, those that are no text as ``?``."""
    if role is None:
        return "user"
    if not isinstance(role, str):
        return "?"
    if role in ROLES:
        return role
    name = role.strip().casefold()
    return _ALIASES.get(name, name)


def role_of(item: Json) -> str:
    """The role of one item of a conversation; whoever has none is a user."""
    if isinstance(item, dict):
        if "role" in item:
            return normal_role(item["role"])
        kind = item.get("type")
        return _ITEM_ROLES.get(kind, "user") if isinstance(kind, str) else "user"
    if isinstance(item, list) and _is_pair(item):
        return normal_role(item[0])
    return "user"


def _is_pair(item: list[Json]) -> bool:
    """Whether *item* is a message written as ``["user", "text"]``."""
    if len(item) != 2 or not isinstance(item[0], str):  # noqa: PLR2004  # a pair
        return False
    return normal_role(item[0]) in ROLES


def is_message(node: dict[str, Json]) -> bool:
    """Whether *node*, standing alone, is a message: says something, or speaks for the system."""
    if "role" in node:
        return not _SPOKEN.isdisjoint(node) or normal_role(node["role"]) in _SYSTEM
    return node.get("type") in ("system", "developer")


def is_conversation(items: list[Json], *, inside: bool) -> bool:
    """Whether a list holds messages; *inside* a message its parts are only where roles say so."""
    for item in items:
        if isinstance(item, dict):
            if "role" in item:
                return True
            kind = item.get("type")
            if not inside and isinstance(kind, str) and kind in _ITEM_ROLES:
                return True
        elif isinstance(item, list) and _is_pair(item):
            return True
    return False


def newness(roles: Sequence[str], *, past: bool) -> list[bool]:
    """Which messages of a conversation were sent for this turn.

    All from the first one after the last answer that a user replied to: what follows the user's
    last message was written by the client too, so an answer at the end makes nothing history.
    Under a key that says history, an answer at the end is one.
    """
    if "assistant" not in roles and _SYSTEM.isdisjoint(roles):
        return [True] * len(roles)
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


_SYSTEM_KEYS = {
    "instructions": frozenset({"conversation", "input", "model", "previous_response_id", "tools"}),
    "system": frozenset({"messages", "model"}),
}
"""Key that speaks for the system -> the keys beside it that show a request to the model's API."""


def top_level_system(body: dict[str, Json]) -> list[str]:
    """Keys of *body* that speak for the system, if it is a request to the model's API."""
    return [
        key
        for key, beside in _SYSTEM_KEYS.items()
        if key in body and body[key] and not beside.isdisjoint(body)
    ]
