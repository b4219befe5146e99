"""The rules of trust: what an event does to a standing, and the tier that follows from it.

Times are Unix seconds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from safety_middleware.errors import SettingsError
from safety_middleware.identity import Kind
from safety_middleware.policy import Tier

from .tiers import DAY, Tiers

__all__ = [
    "Clean",
    "Event",
    "Guest",
    "Lift",
    "Standing",
    "Strike",
    "Suspend",
    "after",
    "kind_of",
    "merged",
    "tier_of",
    "weight_of",
]

MAX_STRIKES = 50
"""Strikes kept of one identity, the newest; a few suffice to suspend it."""
_IDENTIFIER = re.compile(r"([usa])1_[A-Za-z0-9_-]{49}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Strike:
    """A turn that was blocked.

    Attributes:
        id: The turn's id; it counts once, however often it is told.
        at: When the turn was settled.
        weight: What it weighs until it decays.
        what: A category of moderation, or ``wordlist``.
    """

    id: str
    at: float
    weight: float
    what: str


@dataclass(frozen=True, slots=True)
class Standing:
    """What we know of an identity.

    Attributes:
        clean_turns: Turns in a row that were moderated and found clean.
        clean_since: When the first of them was.
        strikes: The blocked turns that can still matter, oldest first.
        watched_until: Until then it is watched; None: it never was.
        suspended_until: Until then it is suspended; ``inf``: until that is lifted.
        ruled_at: When it was last suspended, or a suspension lifted.
        note: Why it was suspended, or whether that was lifted.
        first_seen: When its first turn was counted.
        last_seen: When its latest turn was counted.
        unread: The database did not answer: there may be more to know.
    """

    clean_turns: int = 0
    clean_since: float | None = None
    strikes: tuple[Strike, ...] = ()
    watched_until: float | None = None
    suspended_until: float | None = None
    ruled_at: float | None = None
    note: str | None = None
    first_seen: float | None = None
    last_seen: float | None = None
    unread: bool = field(default=False, compare=False)

    def suspended(self, now: float) -> bool:
        """True while it is suspended."""
        return self.suspended_until is not None and now < self.suspended_until


@dataclass(frozen=True, slots=True)
class Clean:
    """That many turns were found clean, the last of them at *at*, the first at *since*."""

    count: int
    since: float
    at: float


@dataclass(frozen=True, slots=True)
class Suspend:
    """An operator suspends: until *until*, or until it is lifted where that is ``inf``."""

    until: float
    at: float
    why: str


@dataclass(frozen=True, slots=True)
class Lift:
    """An operator ends a suspension; strikes before it weigh nothing from then on."""

    at: float


@dataclass(frozen=True, slots=True)
class Guest:
    """Someone logged in at *at* who was a guest before, with that standing."""

    standing: Standing
    at: float


Event: TypeAlias = Clean | Strike | Suspend | Lift | Guest


def kind_of(identifier: str) -> Kind:
    """What an identity was made from, by its safety identifier.

    Raises:
        SettingsError: If *identifier* is none.
    """
    found = _IDENTIFIER.fullmatch(identifier)
    if found is None:
        raise SettingsError(
            "identifier",
            "this is no safety identifier",
            "Take it from a record, such as u1_ and 49 more characters.",
        )
    return Kind(found.group(1))


def tier_of(standing: Standing, kind: Kind, now: float, tiers: Tiers) -> Tier:
    """The tier at *now*. An address is many people: it is never known, and never suspended."""
    address = kind is Kind.ADDRESS
    if standing.suspended(now) and not address:
        return "suspended"
    if standing.watched_until is not None and now < standing.watched_until:
        return "watched"
    if address or standing.clean_turns < tiers.known_turns:
        return "new"
    since = standing.clean_since
    if kind is not Kind.USER or standing.clean_turns < tiers.trusted_turns or since is None:
        return "known"
    quiet = now - tiers.trusted_quiet_days * DAY
    long = now - since >= tiers.trusted_days * DAY
    return "trusted" if long and all(s.at <= quiet for s in standing.strikes) else "known"


def weight_of(strikes: Iterable[Strike], now: float, tiers: Tiers) -> float:
    """What *strikes* weigh together at *now*; they decay from day to day, not within one."""
    total = 0.0
    for strike in strikes:
        days = max(0.0, now - strike.at) / DAY
        if days < tiers.window_days:
            # by whole days, else five strikes of one hour would weigh a little less than five
            total += strike.weight * 0.5 ** (int(days) / tiers.half_life_days)
    return total


def after(standing: Standing, event: Event, kind: Kind, tiers: Tiers) -> Standing:
    """The standing after *event*. Strikes count once, and rulings in the order they were made."""
    if isinstance(event, Clean):
        return _cleaned(standing, event, kind)
    if isinstance(event, Strike):
        return _struck(standing, event, kind, tiers)
    if isinstance(event, Guest):
        return _logged_in(standing, event, kind, tiers)
    if kind is Kind.ADDRESS or (standing.ruled_at or -math.inf) > event.at:
        return standing
    if isinstance(event, Suspend):
        return replace(standing, suspended_until=event.until, ruled_at=event.at, note=event.why)
    forgiven = tuple(replace(strike, weight=0.0) for strike in standing.strikes)
    return replace(
        standing, strikes=forgiven, suspended_until=None, ruled_at=event.at, note="lifted"
    )


def merged(standings: Iterable[Standing]) -> Standing:
    """One standing of those that an identity has under its newest and older secrets."""
    known = [each for each in standings if each != Standing()]
    if len(known) < 2:  # noqa: PLR2004  # nothing to merge
        return known[0] if known else Standing()
    ruling = max(known, key=lambda each: each.ruled_at or -math.inf)
    strikes = {s.id: s for each in reversed(known) for s in each.strikes}
    lifted = ruling.ruled_at if ruling.suspended_until is None else None
    kept = tuple(
        replace(s, weight=0.0) if lifted is not None and s.at <= lifted else s
        for s in sorted(strikes.values(), key=lambda s: s.at)
    )
    last = max((s.at for s in kept), default=-math.inf)
    # what was clean before a strike no longer counts, under whichever secret that came
    clean = [each for each in known if (each.last_seen or 0.0) > last]
    return Standing(
        sum(each.clean_turns for each in clean),
        _least(each.clean_since for each in clean),
        kept[-MAX_STRIKES:],
        _most(each.watched_until for each in known),
        ruling.suspended_until,
        ruling.ruled_at,
        ruling.note,
        _least(each.first_seen for each in known),
        _most(each.last_seen for each in known),
    )


def _cleaned(standing: Standing, clean: Clean, kind: Kind) -> Standing:
    last = standing.strikes[-1].at if standing.strikes else -math.inf
    if kind is Kind.ADDRESS or clean.at <= last:
        return standing
    since = standing.clean_since
    return replace(
        _seen(standing, clean.since, clean.at),
        clean_turns=standing.clean_turns + clean.count,
        clean_since=clean.since if since is None else since,
    )


def _struck(standing: Standing, strike: Strike, kind: Kind, tiers: Tiers) -> Standing:
    if any(known.id == strike.id for known in standing.strikes):
        return standing
    ruled = standing.ruled_at
    if standing.suspended_until is None and ruled is not None and strike.at <= ruled:
        strike = replace(strike, weight=0.0)  # it was forgiven before it was told
    strikes = sorted((*standing.strikes, strike), key=lambda each: each.at)
    now = strikes[-1].at
    kept = tuple(s for s in strikes if now - s.at < tiers.kept_days * DAY)[-MAX_STRIKES:]
    struck = replace(
        _seen(standing, strike.at, strike.at),
        clean_turns=0,
        clean_since=None,
        strikes=kept,
        watched_until=_most((standing.watched_until, strike.at + tiers.watched_days * DAY)),
    )
    weighs = strike.weight and tiers.suspend_at and weight_of(kept, now, tiers)
    if kind is Kind.ADDRESS or not weighs or weighs < tiers.suspend_at:
        return struck
    until = math.inf if tiers.suspend_hours is None else now + tiers.suspend_hours * 3600
    if standing.suspended_until is not None and standing.suspended_until >= until:
        return struck
    return replace(
        struck, suspended_until=until, ruled_at=_most((ruled, now)), note=f"strikes: {strike.what}"
    )


def _logged_in(standing: Standing, guest: Guest, kind: Kind, tiers: Tiers) -> Standing:
    came, oldest = guest.standing, guest.at - tiers.kept_days * DAY
    if len(standing.strikes) == MAX_STRIKES:
        oldest = max(oldest, standing.strikes[0].at)
    for strike in came.strikes:
        if strike.at > oldest:
            standing = _struck(standing, strike, kind, tiers)
    if came.suspended(guest.at) and (came.ruled_at or 0) > (standing.ruled_at or -math.inf):
        standing = replace(
            standing,
            suspended_until=came.suspended_until,
            ruled_at=came.ruled_at,
            note=came.note,
        )
    return standing


def _seen(standing: Standing, first: float, last: float) -> Standing:
    return replace(
        standing,
        first_seen=first if standing.first_seen is None else standing.first_seen,
        last_seen=_most((standing.last_seen, last)),
    )


def _least(times: Iterable[float | None]) -> float | None:
    return min((each for each in times if each is not None), default=None)


def _most(times: Iterable[float | None]) -> float | None:
    return max((each for each in times if each is not None), default=None)
