"""``safety-middleware standing``, ``suspend`` and ``lift``: what is known of an identity, and rulings."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from datetime import UTC, datetime

import click

from safety_middleware.errors import SettingsError
from safety_middleware.identity import Kind
from safety_middleware.loading import load
from safety_middleware.settings import Settings
from safety_middleware.standing import (
    Event,
    Lift,
    Standing,
    Suspend,
    Tiers,
    kind_of,
    tier_of,
    weight_of,
)
from safety_middleware.store import Store

from ._output import plain, room, table, told

__all__ = ["lift", "standing", "suspend"]


@click.command()
@click.argument("identifier")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def standing(*, identifier: str, as_json: bool) -> None:
    """Show what is known of IDENTIFIER, a safety identifier as records have it.

    Turns of the last moments may still be on their way. Exit code 2 if IDENTIFIER is none or there
    is no database, 1 if it does not answer.
    """
    with told():
        kind, settings = kind_of(identifier), load().settings
        with Store.open(settings.store, create=False) as store:
            found = store.standing(identifier)
    now = time.time()
    tier = tier_of(found, kind, now, settings.tiers)
    if as_json:
        known = {f.name: getattr(found, f.name) for f in dataclasses.fields(found)}
        known["strikes"] = [dataclasses.asdict(strike) for strike in found.strikes]
        del known["unread"]
        if found.suspended_until == math.inf:
            known["suspended_until"] = "lifted"  # JSON knows no infinity
        click.echo(json.dumps({"identifier": identifier, "tier": tier, **known}))
        return
    click.echo(_shown(found, tier, settings.tiers, now))
    if found.strikes:
        rows = [(_time(s.at), s.what, f"{s.weight:g}", s.id) for s in found.strikes]
        click.echo("\n" + table(("strike (UTC)", "for", "weight", "turn"), rows, room()))


@click.command()
@click.argument("identifier")
@click.option(
    "--hours",
    type=click.FloatRange(min=0, min_open=True),
    help="How long; without it until it is lifted.",
)
@click.option("--why", default="", help="For whoever asks later; kept with the standing.")
def suspend(*, identifier: str, hours: float | None, why: str) -> None:
    """Suspend IDENTIFIER, a user or a session: apps that run take notice within 30 seconds."""
    now = time.time()
    until = math.inf if hours is None else now + hours * 3600
    found = _ruled(identifier, Suspend(until, now, why))
    click.echo(f"suspended until {_time(found.suspended_until)}")


@click.command()
@click.argument("identifier")
def lift(*, identifier: str) -> None:
    """End the suspension of IDENTIFIER: apps that run take notice within 30 seconds.

    Its strikes weigh nothing from then on; it stays watched until they are old enough.
    """
    _ruled(identifier, Lift(time.time()))
    click.echo("lifted")


def _ruled(identifier: str, ruling: Event) -> Standing:
    with told():
        if kind_of(identifier) is Kind.ADDRESS:
            raise SettingsError(
                "identifier",
                "it is an address, which is many people",
                "Name a user (u1_…) or a session (s1_…).",
            )
        settings: Settings = load().settings
        with Store.open(settings.store, create=False, tiers=settings.tiers) as store:
            return store.change(identifier, ruling)


def _shown(found: Standing, tier: str, tiers: Tiers, now: float) -> str:
    weight = weight_of(found.strikes, now, tiers)
    rows = (
        ("tier", tier),
        ("clean turns in a row", str(found.clean_turns)),
        ("first of them", _time(found.clean_since)),
        ("last seen", _time(found.last_seen)),
        ("weight of strikes", f"{weight:.2f} of {tiers.suspend_at:g}, which suspend"),
        ("watched until", _time(found.watched_until)),
        ("suspended until", _time(found.suspended_until)),
        ("last ruling", _time(found.ruled_at)),
        ("note", found.note or "-"),
    )
    return "\n".join(f"{name:22}{plain(value)}" for name, value in rows)


def _time(at: float | None) -> str:
    if at is None:
        return "-"
    if at == math.inf:
        return "it is lifted"
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")
