"""Checks of single values that an operator set: each gives the value, or names what is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, TypeAlias

from .errors import SettingsError

__all__ = [
    "Check",
    "available",
    "flag",
    "is_a",
    "items_of",
    "mapping",
    "names",
    "one_of",
    "optional",
    "share",
    "whole",
]

Check: TypeAlias = Callable[[str, Any], Any]
"""Takes the setting's name and its value; gives the value as it is kept.

Raises:
    SettingsError: If the value is impossible.
"""


def whole(least: int) -> Callable[[str, Any], int]:
    """A whole number of *least* or more."""

    def check(name: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise SettingsError(
                name,
                f"{value!r} is not a whole number of {least} or more",
                f"Try {name}={max(least, 1)}.",
            )
        return value

    return check


def optional(check: Check) -> Check:
    """None, or what *check* takes."""
    return lambda name, value: None if value is None else check(name, value)


def flag(name: str, value: Any) -> bool:
    """True or false, and nothing that merely looks like it."""
    if not isinstance(value, bool):
        raise SettingsError(
            name, f"{value!r} is neither true nor false", f"Set {name} to true or false."
        )
    return value


def share(name: str, value: Any) -> float:
    """A finite number from 0 to 1."""
    fits = isinstance(value, int | float) and not isinstance(value, bool)
    if not fits or not math.isfinite(value) or not 0 <= value <= 1:
        raise SettingsError(name, f"{value!r} is not a share from 0 to 1", f"Try {name}=0.25.")
    return float(value)


def one_of(*allowed: str) -> Callable[[str, Any], str]:
    """One of the words *allowed*."""

    def check(name: str, value: Any) -> str:
        if value not in allowed:
            raise SettingsError(
                name, f"{value!r} is not known", f"Use one of: {', '.join(allowed)}."
            )
        return str(value)

    return check


def available(check: Check, *now: Any) -> Check:
    """Let *check* judge, then refuse what a later version will do: it must not be idle silently."""

    def checked(name: str, value: Any) -> Any:
        value = check(name, value)
        if value not in now:
            raise SettingsError(
                name,
                f"{value!r} is not available in this version",
                f"Use one of: {', '.join(map(repr, now))}.",
            )
        return value

    return checked


def items_of(value: Any) -> tuple[Any, ...]:
    """A list's items, a set's in an order that is the same in every process; else nothing."""
    if is_a(value, AbstractSet):
        return tuple(sorted(value, key=repr))
    if is_a(value, str, bytes, Mapping) or not is_a(value, Iterable):
        return ()
    return tuple(value)


def names(name: str, value: Any) -> tuple[str, ...]:
    """A list of strings, none of them empty."""
    items = items_of(value)
    if not items or not all(isinstance(item, str) and item for item in items):
        raise SettingsError(
            name, f"{value!r} is not a list of names", f'Write it as {name}=("…",).'
        )
    return items


def mapping(name: str, value: Any) -> Mapping[str, Any]:
    """A mapping whose keys are strings."""
    if not is_a(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise SettingsError(name, f"{value!r} is not a mapping", f'Write it as {name}={{"…": …}}.')
    checked: Mapping[str, Any] = value
    return checked


def is_a(value: Any, *kinds: type) -> bool:
    """``isinstance``, after which type checkers do not take the value's items for unknown."""
    return isinstance(value, kinds)
