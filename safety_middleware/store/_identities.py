"""The statements about identities: finding standings, and saving what happened to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import Connection, RowMapping, case, func, select
from sqlalchemy.dialects import postgresql, sqlite

from safety_middleware.standing import Clean, Event, Standing, Strike, Tiers, after, kind_of

from ._tables import IDENTITIES, storable

__all__ = ["find", "save_clean", "save_events"]

_COLUMNS = IDENTITIES.c
_FIELDS = tuple(f.name for f in fields(Standing) if f.name in _COLUMNS)


def find(
    connection: Connection, names: Iterable[str], *, lock: bool = False
) -> dict[str, Standing]:
    """Safety identifier -> standing, of those *names* that are known.

    Args:
        connection: A transaction's; an immediate one if *lock* is set.
        names: Safety identifiers.
        lock: Let no other process change them before this transaction ends.
    """
    query = select(IDENTITIES).where(_COLUMNS.safety_identifier.in_(tuple(names)))
    if lock:
        query = query.order_by(_COLUMNS.safety_identifier).with_for_update()
    rows = connection.execute(query).mappings()
    return {row["safety_identifier"]: _standing_of(row) for row in rows}


def save_events(
    connection: Connection, events: Mapping[str, Sequence[Event]], tiers: Tiers
) -> dict[str, Standing]:
    """Take *events* into the standings that are kept now, whoever changed them meanwhile.

    Saving the same strikes, rulings and logins again changes nothing.

    Returns:
        Safety identifier -> the standing that is kept now.
    """
    names = sorted(events)
    _upsert(connection, [_row_of(name, Standing()) for name in names], None)
    found = find(connection, names, lock=True)
    for name in names:
        for event in events[name]:
            found[name] = after(found[name], event, kind_of(name), tiers)
    _upsert(connection, [_row_of(name, found[name]) for name in names], _FIELDS)
    return found


def save_clean(connection: Connection, turns: Mapping[str, Clean]) -> None:
    """Add clean turns, in one statement for all."""
    rows = [
        _row_of(
            name, Standing(clean.count, clean.since, first_seen=clean.since, last_seen=clean.at)
        )
        for name, clean in sorted(turns.items())
    ]
    _upsert(connection, rows, ("clean_turns", "clean_since", "first_seen", "last_seen"), add=True)


def _upsert(
    connection: Connection,
    rows: list[dict[str, Any]],
    columns: Sequence[str] | None,
    *,
    add: bool = False,
) -> None:
    """Insert *rows*; of those that are there set *columns*, or *add* to them, or leave them."""
    postgres = connection.dialect.name == "postgresql"
    statement: Any = (postgresql.insert if postgres else sqlite.insert)(IDENTITIES)
    if columns is None:
        statement = statement.on_conflict_do_nothing()
    else:
        new = statement.excluded
        values: dict[str, Any] = {name: new[name] for name in columns}
        if add:
            seen = func.coalesce(_COLUMNS.last_seen, new.last_seen)
            values = {
                "clean_turns": _COLUMNS.clean_turns + new.clean_turns,
                "clean_since": func.coalesce(_COLUMNS.clean_since, new.clean_since),
                "first_seen": func.coalesce(_COLUMNS.first_seen, new.first_seen),
                "last_seen": case((seen < new.last_seen, new.last_seen), else_=seen),
            }
        statement = statement.on_conflict_do_update(
            index_elements=[_COLUMNS.safety_identifier], set_=values
        )
    connection.execute(statement, rows)


def _row_of(name: str, standing: Standing) -> dict[str, Any]:
    row = {field: getattr(standing, field) for field in _FIELDS}
    row["strikes"] = [asdict(strike) for strike in standing.strikes]
    row["note"] = storable(standing.note)
    return {"safety_identifier": name, "kind": _kind(name), **row}


def _kind(name: str) -> str:
    return kind_of(name).name.lower()


def _standing_of(row: RowMapping) -> Standing:
    values = {field: row[field] for field in _FIELDS}
    values["strikes"] = tuple(
        Strike(str(s["id"]), float(s["at"]), float(s["weight"]), str(s["what"]))
        for s in row["strikes"]
    )
    return Standing(**values)
