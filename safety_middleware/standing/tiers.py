"""The numbers of trust: when an identity is known, trusted, watched or suspended."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Self, get_args

from safety_middleware._checks import mapping, one_of, share, whole
from safety_middleware.errors import SettingsError
from safety_middleware.policy import CATEGORIES, Hold, Tier

__all__ = ["DAY", "WORDLIST", "Tiers"]

DAY = 24 * 3600.0
WORDLIST = "wordlist"
"""What a strike of the wordlist is called beside the categories of moderation."""
_HOLDS: Mapping[Tier, Hold] = {
    "new": "model",
    "known": "reply",
    "trusted": "reply",
    "watched": "handler",
}
_SAMPLES: Mapping[Tier, float] = {"new": 1.0, "known": 1.0, "trusted": 0.25}
_WEIGHTS: Mapping[str, float] = {"*": 0.5, "sexual/minors": 2.5, WORDLIST: 0.25}


@dataclass(frozen=True, kw_only=True)
class Tiers:
    """Who is in which tier, and what that means.

    Attributes:
        known_turns: Clean turns in a row after which a user or a guest is known.
        trusted_turns: Clean turns in a row after which a logged-in user can be trusted.
        trusted_days: Days since the first of them that it takes.
        trusted_quiet_days: Days without a strike that it takes.
        watched_days: Days for which a strike makes an identity watched.
        weights: Category, ``wordlist``, or a beginning with ``*`` -> weight of a strike, 0 to 100.
            What is named here changes the defaults; the others stay.
        half_life_days: Days after which a strike weighs half.
        window_days: Days after which it weighs nothing.
        suspend_at: Weight of all strikes together that suspends; 0 never does.
        suspend_hours: How long, in hours; None (in a file or variable: 0) is until lifted.
        holds: Tier -> what waits for the verdict. What is named here changes the defaults.
        samples: Tier -> share of turns moderated, 0 to 1; of ``new``, ``known`` and ``trusted``:
            who is watched is always moderated.

    Raises:
        SettingsError: If a value is impossible; it names ``tiers.<field>`` and the remedy.
    """

    known_turns: int = 20
    trusted_turns: int = 200
    trusted_days: float = 14.0
    trusted_quiet_days: float = 30.0
    watched_days: float = 7.0
    weights: Mapping[str, float] = field(default_factory=lambda: _WEIGHTS)
    half_life_days: float = 7.0
    window_days: float = 30.0
    suspend_at: float = 5.0
    suspend_hours: float | None = 24.0
    holds: Mapping[Tier, Hold] = field(default_factory=lambda: _HOLDS)
    samples: Mapping[Tier, float] = field(default_factory=lambda: _SAMPLES)

    def __post_init__(self) -> None:
        """Check every field and freeze what could change.

        Raises:
            SettingsError: If a value is impossible.
        """
        for name, check in _CHECKS.items():
            object.__setattr__(self, name, check(f"tiers.{name}", getattr(self, name)))
        if self.trusted_turns < self.known_turns:
            raise SettingsError(
                "tiers.trusted_turns",
                "is less than known_turns",
                f"Try trusted_turns={10 * self.known_turns}.",
            )

    @classmethod
    def of(cls, value: Any) -> Self:
        """*value* itself, or the tiers that a table of a settings file names.

        Raises:
            SettingsError: If it is neither, or names what is not known.
        """
        if isinstance(value, cls):
            return value
        table = mapping("tiers", value)
        known = [f.name for f in dataclasses.fields(cls)]
        for name in table:
            if name not in known:
                raise SettingsError(
                    f"tiers.{name}", "no such setting", f"Known are: {', '.join(known)}."
                )
        return cls(**table)

    def weight(self, what: str) -> float:
        """What a strike for *what* weighs: its own name, then the longest ``*``."""
        if what in self.weights:
            return self.weights[what]
        stars = [p for p in self.weights if p.endswith("*") and what.startswith(p[:-1])]
        return self.weights[max(stars, key=len)]

    @property
    def kept_days(self) -> float:
        """Days after which a strike means nothing any more."""
        return max(self.window_days, self.trusted_quiet_days, self.watched_days)


def _number(least: float, most: float, *, above: bool = False) -> Callable[[str, Any], float]:
    """A finite number from *least* (or *above* it) to *most*."""

    def check(name: str, value: Any) -> float:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        if not fits or not math.isfinite(value) or not least <= value <= most:
            fits = False
        if not fits or (above and value == least):
            bound = "above" if above else "from"
            raise SettingsError(
                name, f"{value!r} is not a number {bound} {least:g} to {most:g}", f"Try {name}=7."
            )
        return float(value)

    return check


def _hours(name: str, value: Any) -> float | None:
    hours = None if value is None else _number(0, MAX_DAYS * 24)(name, value)
    return hours or None


def _weights(name: str, value: Any) -> Mapping[str, float]:
    given: dict[str, float] = {}
    known = (*CATEGORIES, WORDLIST)
    for pattern, weight in mapping(name, value).items():
        stem = pattern.removesuffix("*")
        if pattern not in known and not (
            pattern.endswith("*") and any(each.startswith(stem) for each in known)
        ):
            raise SettingsError(
                f"{name}.{pattern}", "no such category", f"The names are: {', '.join(known)}, *."
            )
        given[pattern] = _number(0, 100)(f"{name}.{pattern}", weight)
    return MappingProxyType({**_WEIGHTS, **given})


def _of_tiers(defaults: Mapping[Tier, Any], check: Callable[[str, Any], Any]) -> Any:
    """A mapping of the tiers in *defaults*, which keep what is not named."""

    def checked(name: str, value: Any) -> Mapping[str, Any]:
        given = {
            one_of(*(t for t in get_args(Tier) if t in defaults))(name, tier): check(
                f"{name}.{tier}", each
            )
            for tier, each in mapping(name, value).items()
        }
        return MappingProxyType({**defaults, **given})

    return checked


MAX_DAYS = 3650
_DAYS = _number(0, MAX_DAYS)
_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "known_turns": whole(1),
    "trusted_turns": whole(1),
    "trusted_days": _DAYS,
    "trusted_quiet_days": _DAYS,
    "watched_days": _DAYS,
    "weights": _weights,
    "half_life_days": _number(0, MAX_DAYS, above=True),
    "window_days": _DAYS,
    "suspend_at": _number(0, 10_000),
    "suspend_hours": _hours,
    "holds": _of_tiers(_HOLDS, one_of("handler", "model", "reply")),
    "samples": _of_tiers(_SAMPLES, share),
}
