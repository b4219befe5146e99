"""What we know of an identity, and the tier that follows: pure rules over a value."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from threading import Lock

from .identity import Identity, Kind
from .policy import Hold, Tier

__all__ = ["Standing", "Standings", "after_turn", "hold_of", "tier_of"]

KNOWN_AFTER = 20
"""Clean turns after which an identity is known."""
WATCH_SECONDS = 7 * 24 * 3600.0
"""How long one blocked turn keeps an identity watched, in seconds."""
MAX_STANDINGS = 200_000

_HOLDS: dict[Tier, Hold] = {"new": "model", "known": "reply", "watched": "handler"}


@dataclass(frozen=True, slots=True)
class Standing:
    """What we know of an identity.

    Attributes:
        clean_turns: Turns in a row that were moderated and found clean.
        last_strike: When a turn of it was last blocked, in Unix seconds; None: never.
    """

    clean_turns: int = 0
    last_strike: float | None = None


def tier_of(standing: Standing, identity: Identity, now: float) -> Tier:
    """The tier at *now* (Unix seconds). An address is many people: it is never ``known``."""
    if standing.last_strike is not None and now - standing.last_strike < WATCH_SECONDS:
        return "watched"
    if standing.clean_turns >= KNOWN_AFTER and identity.kind is not Kind.ADDRESS:
        return "known"
    return "new"


def hold_of(tier: Tier) -> Hold:
    """What waits for the verdict in *tier*, unless the policy fixes it."""
    return _HOLDS[tier]


def after_turn(standing: Standing, *, clean: bool, blocked: bool, now: float) -> Standing:
    """The standing after a turn: a blocked one starts over, an unmoderated one changes nothing."""
    if blocked:
        return Standing(0, now)
    return replace(standing, clean_turns=standing.clean_turns + 1) if clean else standing


class Standings:
    """The standings of this process, the least recently seen forgotten first."""

    def __init__(self, size: int = MAX_STANDINGS) -> None:
        self._table: OrderedDict[str, Standing] = OrderedDict()
        self._lock = Lock()
        self._size = size

    def load(self, identity: Identity) -> Standing:
        """The standing of *identity*, under its newest or an older secret."""
        with self._lock:
            for name in (identity.safety_identifier, *identity.older):
                standing = self._table.get(name)
                if standing is not None:
                    self._table.move_to_end(name)
                    return standing
        return Standing()

    def count(self, identity: Identity, *, clean: bool, blocked: bool, now: float) -> None:
        """Take a turn of *identity* into its standing; turns that end together all count."""
        name = identity.safety_identifier
        with self._lock:
            known = [self._table[n] for n in (name, *identity.older) if n in self._table]
            before = known[0] if known else Standing()
            after = after_turn(before, clean=clean, blocked=blocked, now=now)
            if after == before:
                return
            self._table[name] = after
            self._table.move_to_end(name)
            if len(self._table) > self._size:
                self._table.popitem(last=False)
