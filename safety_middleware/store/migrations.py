"""The steps that bring a database to the present schema.

Not Alembic: its worth is generating steps and branching histories. What we need of one that runs in
other people's apps at start is less, and other: a few statements that SQLite and PostgreSQL both
read, applied in one transaction while other workers wait, with no files beside the package.
"""

from __future__ import annotations

import time

from sqlalchemy import Connection, inspect

from safety_middleware.errors import SettingsError

__all__ = ["LATEST", "STEPS", "upgrade", "verify"]

STEPS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE safety_records (
            id TEXT NOT NULL PRIMARY KEY,
            at DOUBLE PRECISION NOT NULL,
            route TEXT NOT NULL,
            method TEXT,
            identity TEXT,
            kind TEXT,
            tier TEXT NOT NULL,
            hold TEXT,
            action TEXT NOT NULL,
            reason TEXT NOT NULL,
            detail TEXT,
            observed BOOLEAN NOT NULL,
            checked JSON NOT NULL,
            skipped JSON NOT NULL,
            scores JSON NOT NULL,
            categories JSON NOT NULL,
            input_chars INTEGER NOT NULL,
            images INTEGER NOT NULL,
            guarded_calls INTEGER NOT NULL,
            aborted_calls INTEGER NOT NULL,
            added_wait_ms DOUBLE PRECISION NOT NULL,
            duration_ms DOUBLE PRECISION NOT NULL,
            status INTEGER,
            shown_chars INTEGER,
            notes JSON NOT NULL
        )""",
        "CREATE INDEX safety_records_at ON safety_records (at)",
        "CREATE INDEX safety_records_identity ON safety_records (identity, at)",
        "CREATE INDEX safety_records_reason ON safety_records (reason, at)",
    ),
    (
        """CREATE TABLE safety_identities (
            safety_identifier TEXT NOT NULL PRIMARY KEY,
            kind TEXT NOT NULL,
            first_seen DOUBLE PRECISION,
            last_seen DOUBLE PRECISION,
            clean_turns INTEGER NOT NULL,
            clean_since DOUBLE PRECISION,
            strikes JSON NOT NULL,
            watched_until DOUBLE PRECISION,
            suspended_until DOUBLE PRECISION,
            ruled_at DOUBLE PRECISION,
            note TEXT
        )""",
    ),
)
"""Step N, counted from 1, leads to version N. A step that has been released never changes."""

LATEST = len(STEPS)
_LOCK = 0x5AFE_71D0
"""Our key among PostgreSQL's advisory locks."""


def verify(connection: Connection) -> bool:
    """True when the database has the present schema, False when it has an older one or none.

    Raises:
        SettingsError: If its schema is newer than this version of the library knows.
    """
    return _version(connection) == LATEST


def upgrade(connection: Connection) -> None:
    """Apply the missing steps, inside the transaction of *connection*.

    With SQLite that transaction has to be an immediate one.

    Raises:
        SettingsError: If the schema is newer than this version of the library knows.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
    done = _version(connection)
    if done is None:
        connection.exec_driver_sql(
            "CREATE TABLE safety_schema "
            "(version INTEGER NOT NULL PRIMARY KEY, applied DOUBLE PRECISION NOT NULL)"
        )
        done = 0
    for number, statements in enumerate(STEPS[done:], done + 1):
        for statement in statements:
            connection.exec_driver_sql(statement)
        connection.exec_driver_sql(
            f"INSERT INTO safety_schema VALUES ({number}, {time.time()})"  # noqa: S608 - numbers
        )


def _version(connection: Connection) -> int | None:
    if not inspect(connection).has_table("safety_schema"):
        return None
    found = connection.exec_driver_sql("SELECT max(version) FROM safety_schema").scalar_one()
    version = int(found or 0)
    if version > LATEST:
        raise SettingsError(
            "store",
            f"the database has schema {version}; this version of the library knows {LATEST}",
            "Upgrade safety-middleware, or let store name another database",
        )
    return version
