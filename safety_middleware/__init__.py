"""The safety layer for public chatbots on the OpenAI API."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .decision import Action, Decision, Reason
    from .errors import (
        ContentBlocked,
        EndpointUnprotected,
        ModerationUnavailable,
        NoCurrentTurn,
        SafetyError,
        SettingsError,
        StorageUnavailable,
    )
    from .openai import guard_client, safety_headers
    from .policy import Policy
    from .refusal import Refusal
    from .safety import Safety
    from .settings import Settings
    from .turn import Turn, current_turn

__all__ = [
    "Action",
    "ContentBlocked",
    "Decision",
    "EndpointUnprotected",
    "ModerationUnavailable",
    "NoCurrentTurn",
    "Policy",
    "Reason",
    "Refusal",
    "Safety",
    "SafetyError",
    "Settings",
    "SettingsError",
    "StorageUnavailable",
    "Turn",
    "current_turn",
    "guard_client",
    "safety_headers",
]

_HOMES = {
    "decision": ("Action", "Decision", "Reason"),
    "errors": (
        "ContentBlocked",
        "EndpointUnprotected",
        "ModerationUnavailable",
        "NoCurrentTurn",
        "SafetyError",
        "SettingsError",
        "StorageUnavailable",
    ),
    "openai": ("guard_client", "safety_headers"),
    "policy": ("Policy",),
    "refusal": ("Refusal",),
    "safety": ("Safety",),
    "settings": ("Settings",),
    "turn": ("Turn", "current_turn"),
}
"""Module -> the public names it is the home of: each is imported when first asked for (PEP 562),
so that whoever wants the wordlist alone does not load the engine."""


def __getattr__(name: str) -> Any:
    """Import a public name from its home."""
    for home, names in _HOMES.items():
        if name in names:
            value = getattr(import_module(f".{home}", __name__), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, imported yet or not."""
    return sorted({*globals(), *__all__})
