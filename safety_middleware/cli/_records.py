"""``safety-middleware records``: the newest records, as a table or as JSON lines."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime

import click

from safety_middleware.decision import Reason
from safety_middleware.loading import load
from safety_middleware.store import Record, Store

from ._output import room, table, told

__all__ = ["records"]

HEADER = (
    "time (UTC)",
    "status",
    "decision",
    "reason",
    "detail",
    "route",
    "tier",
    "waited ms",
    "took ms",
    "identity",
)


@click.command()
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=20,
    show_default=True,
    help="How many at most.",
)
@click.option("--identity", help="Only those of this safety identifier, in full.")
@click.option(
    "--reason",
    type=click.Choice([reason.value for reason in Reason]),
    help="Only those decided for this reason.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, every field.")
def records(*, limit: int, identity: str | None, reason: str | None, as_json: bool) -> None:
    """Show the newest records, one for each turn.

    The database is the one that SAFETY_STORE or safety.toml names, else .safety/safety.db in the
    working directory. It is read only. Exit code 2 if there is none, 1 if it does not answer.
    """
    with told(), Store.open(load().settings.store, create=False) as store:
        found = store.latest(limit, identity=identity, reason=reason)
    if as_json:
        for record in found:
            click.echo(json.dumps(dataclasses.asdict(record)))
    elif found:
        click.echo(table(HEADER, [_row(record) for record in found], room()))
    if not found:
        click.echo("No records." if identity or reason else "No records yet.", err=True)


def _row(record: Record) -> tuple[str, ...]:
    return (
        datetime.fromtimestamp(record.at, UTC).strftime("%Y-%m-%d %H:%M:%S"),
        "-" if record.status is None else str(record.status),
        f"{record.action} (observed)" if record.observed else record.action,
        record.reason,
        record.detail or "-",
        record.route if record.method is None else f"{record.method} {record.route}",
        record.tier,
        f"{record.added_wait_ms:.0f}",
        f"{record.duration_ms:.0f}",
        record.identity or "-",
    )
