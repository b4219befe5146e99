"""The tables as they are now; how they came to be is in ``migrations``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, cast

from sqlalchemy import JSON, Boolean, Column, Double, Integer, MetaData, RowMapping, Table, Text

from ._record import Record

__all__ = ["IDENTITIES", "METADATA", "RECORDS", "record_of", "row_of", "storable"]

METADATA = MetaData()

# names begin with safety_: with PostgreSQL they stand among the operator's own tables
RECORDS = Table(
    "safety_records",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("at", Double, nullable=False),
    Column("route", Text, nullable=False),
    Column("method", Text),
    Column("identity", Text),
    Column("kind", Text),
    Column("tier", Text, nullable=False),
    Column("hold", Text),
    Column("action", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("detail", Text),
    Column("observed", Boolean, nullable=False),
    Column("checked", JSON, nullable=False),
    Column("skipped", JSON, nullable=False),
    Column("scores", JSON, nullable=False),
    Column("categories", JSON, nullable=False),
    Column("input_chars", Integer, nullable=False),
    Column("images", Integer, nullable=False),
    Column("guarded_calls", Integer, nullable=False),
    Column("aborted_calls", Integer, nullable=False),
    Column("added_wait_ms", Double, nullable=False),
    Column("duration_ms", Double, nullable=False),
    Column("status", Integer),
    Column("shown_chars", Integer),
    Column("notes", JSON, nullable=False),
)

IDENTITIES = Table(
    "safety_identities",
    METADATA,
    Column("safety_identifier", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("first_seen", Double),
    Column("last_seen", Double),
    Column("clean_turns", Integer, nullable=False),
    Column("clean_since", Double),
    Column("strikes", JSON, nullable=False),
    Column("watched_until", Double),
    Column("suspended_until", Double),
    Column("ruled_at", Double),
    Column("note", Text),
)

_NAMES = tuple(field.name for field in fields(Record))


def row_of(record: Record) -> dict[str, Any]:
    """The row that keeps *record*; values no database would take are replaced."""
    return {name: storable(getattr(record, name)) for name in _NAMES}


def record_of(row: RowMapping) -> Record:
    """The record kept in *row*."""
    values = {name: row[name] for name in _NAMES}
    values["checked"] = tuple(values["checked"])
    values["categories"] = tuple(values["categories"])
    return Record(**values)


def storable(value: object) -> Any:
    """*value*, or what stands for it where no database would take it."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        # lone surrogates can't be encoded, and PostgreSQL takes no NUL
        return value.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        stored = {storable(str(key)): (item, storable(item)) for key, item in items}
        # a number that is none is left out: a score is a number wherever it is read
        return {key: new for key, (old, new) in stored.items() if old is None or new is not None}
    if isinstance(value, Iterable):
        return [storable(item) for item in cast("Iterable[object]", value)]
    return type(value).__name__
