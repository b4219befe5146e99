"""The wordlist: the check that works when every service is down, in microseconds."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .stream import Stream
from .term import CATEGORIES, Match, Mode, Term
from .wordlist import LANGUAGES, Wordlist

if TYPE_CHECKING:
    from .explanation import Explanation, Finding, Reading
    from .watch import WatchedWordlist

__all__ = [
    "CATEGORIES",
    "LANGUAGES",
    "Explanation",
    "Finding",
    "Match",
    "Mode",
    "Reading",
    "Stream",
    "Term",
    "WatchedWordlist",
    "Wordlist",
]

_HOMES = {
    "Explanation": "explanation",
    "Finding": "explanation",
    "Reading": "explanation",
    "WatchedWordlist": "watch",
}


def __getattr__(name: str) -> Any:
    """Import what few need when it is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
