"""What becomes of model calls made outside a turn."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from typing import TypeAlias

from safety_middleware.errors import NoCurrentTurn, SettingsError

__all__ = ["Unbound", "checked", "set_unbound", "unbound_identifier"]

Unbound: TypeAlias = str
"""``"warn"`` (once per place in the app), ``"raise"``, or a safety identifier to send: 1 to 64
printable ASCII characters without spaces."""

MAX_IDENTIFIER_CHARS = 64
"""Some servers between here and the API take no more."""

_log = logging.getLogger("safety_middleware")
_default: list[Unbound] = ["warn"]
_warned: set[tuple[str, int]] = set()
_NOT_THE_APP = frozenset({"httpx", "httpx2", "openai", "safety_middleware"})


def set_unbound(unbound: Unbound) -> None:
    """Set what model calls outside a turn do in this process, where their client doesn't say.

    Raises:
        SettingsError: If it is neither ``"warn"``, ``"raise"`` nor a possible identifier.
    """
    _default[0] = checked(unbound)


def checked(unbound: Unbound) -> Unbound:
    """*unbound* as it came.

    Raises:
        SettingsError: If it is neither ``"warn"``, ``"raise"`` nor a possible identifier.
    """
    fits = 0 < len(unbound) <= MAX_IDENTIFIER_CHARS and unbound.isascii() and unbound.isprintable()
    if not fits or " " in unbound:
        raise SettingsError(
            "unbound_calls",
            f"{unbound!r} is no safety identifier",
            'Use "warn", "raise" or up to 64 printable ASCII characters without spaces.',
        )
    return unbound


def unbound_identifier(unbound: Unbound | None) -> str | None:
    """The identifier for a model call outside a turn; None for none.

    Raises:
        NoCurrentTurn: If such calls are to raise.
    """
    unbound = unbound or _default[0]
    if unbound == "raise":
        raise NoCurrentTurn(
            "a model call outside a turn: open one with safety.bind(user), or set unbound_calls"
        )
    if unbound != "warn":
        return unbound
    place = _place()
    if place not in _warned:
        _warned.add(place)
        _log.warning(
            "a model call outside a turn, at %s:%d: it carries no safety identifier and no cap; "
            "open a turn with safety.bind(user), or set unbound_calls",
            *place,
        )
    return None


def _place() -> tuple[str, int]:
    """File and line of the app's own code that is making the call."""
    stack = traceback.walk_stack(None)
    theirs = ((frame, line) for frame, line in stack if not _is_ours(frame.f_globals))
    return next(((frame.f_code.co_filename, line) for frame, line in theirs), ("<unknown>", 0))


def _is_ours(names: Mapping[str, object]) -> bool:
    return str(names.get("__name__", "")).partition(".")[0] in _NOT_THE_APP
