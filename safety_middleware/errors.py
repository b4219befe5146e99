"""Every exception this library raises.

SafetyError
├── SettingsError             a setting is unknown, impossible or contradicts another
├── EndpointUnprotected       an endpoint marked with ``protect`` was reached without the middleware
├── NoCurrentTurn             ``current_turn()`` was asked for where no turn runs
├── BadInput                  a request that must be refused, met while it is read
├── ContentBlocked            the model call of a refused turn; it was not sent, or was ended
└── Unavailable               a service the guard needs did not answer in time
    ├── ModerationUnavailable
    └── StorageUnavailable

No message ever holds the user's text, a raw user id, a score or a secret.
"""

# ruff: noqa: N818  # the names are public and say what happened

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from .decision import Decision, Reason

__all__ = [
    "BadInput",
    "ContentBlocked",
    "EndpointUnprotected",
    "ModerationUnavailable",
    "NoCurrentTurn",
    "SafetyError",
    "SettingsError",
    "StorageUnavailable",
    "Unavailable",
    "is_block",
]


class SafetyError(Exception):
    """Base class: ``except SafetyError`` catches all of them."""


class SettingsError(SafetyError, ValueError):
    """A setting is unknown, out of range, or contradicts another.

    Attributes:
        setting: Name of the setting, as the operator wrote it.
        remedy: What to do about it, one sentence.
    """

    def __init__(self, setting: str, problem: str, remedy: str) -> None:
        super().__init__(f"{setting}: {problem}. {remedy}")
        self.setting = setting
        self.remedy = remedy


class EndpointUnprotected(SafetyError, RuntimeError):
    """An endpoint marked with ``protect`` ran although no middleware guards it."""


class NoCurrentTurn(SafetyError, LookupError):
    """There is no turn here: no protected request and no ``safety.bind()``."""


class BadInput(SafetyError):
    """The request has to be refused for what it is, not for what it says.

    Attributes:
        reason: The reason of the refusal.
        param: What is wrong with, in words fit for the client: a field name or a place.
    """

    def __init__(self, reason: Reason, param: str | None = None) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.param = param


class ContentBlocked(SafetyError):
    """The turn was refused: its model call was not sent, or was ended.

    Deliberately neither an ``openai.OpenAIError`` nor an HTTP client's error, so that the SDK does
    not retry it and ``except openai.APIError`` does not hide it.

    Attributes:
        decision: The decision, with its reason.
        status_code: The HTTP status of the refusal.
    """

    def __init__(self, decision: Decision) -> None:
        super().__init__(decision.reason.value)
        self.decision = decision

    @property
    def status_code(self) -> int:
        """The HTTP status of the refusal."""
        return self.decision.reason.status


class Unavailable(SafetyError):
    """A service the guard needs did not answer in time."""


class ModerationUnavailable(Unavailable):
    """No verdict: the moderation service failed, was late, or answered nonsense.

    Attributes:
        cause: A short machine-readable word: ``timeout``, ``http_429``, ``malformed`` …
    """

    def __init__(self, cause: str = "unavailable") -> None:
        super().__init__(f"no verdict from moderation: {cause}")
        self.cause = cause


class StorageUnavailable(Unavailable):
    """The store or the rate-limit storage did not answer."""

    def __init__(self, service: str, causes: Sequence[str] = ()) -> None:
        super().__init__(f"{service} is not available" + "".join(f": {c}" for c in causes))
        self.service = service


def is_block(problem: BaseException) -> bool:
    """Whether an app's error is but our own ``ContentBlocked``, alone or in groups of it."""
    if isinstance(problem, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", problem)
        return all(map(is_block, group.exceptions))
    return isinstance(problem, ContentBlocked)
