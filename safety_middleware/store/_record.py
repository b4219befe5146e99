"""The record: one audit entry per turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["JsonScalar", "Record"]

JsonScalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What was checked in one turn, what was skipped, what was decided and what was shown.

    It holds no message text and no raw id. Words of closed sets (``action``, ``reason``, ``tier``
    …) are plain strings: a database may hold words of a newer version than the one that reads it.

    Attributes:
        id: The turn's id, ``req_…``; unique.
        at: When the turn was settled, in seconds since the epoch; ``duration_ms`` earlier it began.
        route: The route's template.
        method: The request's method; None outside HTTP.
        identity: The safety identifier of who spoke, or None.
        kind: What the identity was made from: ``user``, ``session`` or ``address``; or None.
        tier: The identity's tier when the turn began.
        hold: What waited for the verdict: ``handler``, ``model`` or ``reply``; None if nothing did.
        action: What was decided, a value of ``Action``.
        reason: Why, a value of ``Reason``.
        detail: A term's id, a category, or a failure's cause; never message text.
        observed: It was decided so and not enforced.
        checked: The checks made, in order: ``limits``, ``caps``, ``wordlist``, ``moderation`` …
        skipped: A check that was not made -> why.
        scores: Category -> score from 0 to 1.
        categories: The categories that counted.
        input_chars: Length of the new text, in Unicode code points.
        images: Number of images in the new input.
        guarded_calls: Model calls made through a guarded client.
        aborted_calls: Those that were ended because the turn was refused.
        added_wait_ms: How long the turn waited for us and for nothing else, in milliseconds.
        duration_ms: How long the turn took, in milliseconds.
        status: The HTTP status that was sent; None if none was.
        shown_chars: Characters of the reply that were let out; None where replies are not counted.
        notes: Name -> number, flag or short word.
    """

    id: str
    at: float
    route: str
    method: str | None = None
    identity: str | None = None
    kind: str | None = None
    tier: str = "new"
    hold: str | None = None
    action: str = "allow"
    reason: str = "ok"
    detail: str | None = None
    observed: bool = False
    checked: tuple[str, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict[str, str])
    scores: Mapping[str, float] = field(default_factory=dict[str, float])
    categories: tuple[str, ...] = ()
    input_chars: int = 0
    images: int = 0
    guarded_calls: int = 0
    aborted_calls: int = 0
    added_wait_ms: float = 0.0
    duration_ms: float = 0.0
    status: int | None = None
    shown_chars: int | None = None
    notes: Mapping[str, JsonScalar] = field(default_factory=dict[str, JsonScalar])
