"""Tiers and standing: what we know of an identity, and what follows from it. Pure rules."""

from .rules import (
    Clean,
    Event,
    Guest,
    Lift,
    Standing,
    Strike,
    Suspend,
    after,
    kind_of,
    merged,
    tier_of,
    weight_of,
)
from .tiers import DAY, WORDLIST, Tiers

__all__ = [
    "DAY",
    "WORDLIST",
    "Clean",
    "Event",
    "Guest",
    "Lift",
    "Standing",
    "Strike",
    "Suspend",
    "Tiers",
    "after",
    "kind_of",
    "merged",
    "tier_of",
    "weight_of",
]
