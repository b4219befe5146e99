"""The safety layer for public chatbots on the OpenAI API."""

from __future__ import annotations

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
