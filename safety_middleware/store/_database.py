"""The database as one process uses it: its engine, and every statement there is."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from sqlalchemy import URL, Connection, Engine, delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    ProgrammingError,
    SQLAlchemyError,
)

from safety_middleware.errors import SafetyError, SettingsError

from . import _place, migrations
from ._away import Away
from ._forks import FORKS
from ._record import Record
from ._tables import RECORDS, record_of, row_of

__all__ = ["Database"]

_LATER = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOMEM,
}
"""What SQLite says of trouble that can pass; the rest is a wrong path, mode or file."""


class Database:
    """One process's connections to the database at *url*.

    Every method raises ``Away`` when the database can't be used now.

    Args:
        url: As ``locate`` gave it.
        create: Bring an older schema, or none, to the present one.
        patience: Seconds that anything may wait for a lock, a server, or another thread.
    """

    def __init__(self, url: URL, *, create: bool, patience: float = _place.BUSY) -> None:
        self._create = create
        self._patience = patience
        self._engine = _place.connect(url, patience)
        self._path = Path(url.database or "") if url.drivername == _place.SQLITE else None
        self._file: tuple[int, int] | None = None
        self._lock = Lock()
        self._ready = False
        if self._path is not None:
            FORKS.watch(self)

    def prepare(self) -> None:
        """See that the schema is there: once, and again when the file was removed or replaced.

        Raises:
            SettingsError: If it is another, or the database is not one we can use.
        """
        if not self._lock.acquire(timeout=self._patience):
            raise Away("busy")
        try:
            if not self._ready or self._file != self._identify():
                self._see()
        finally:
            self._lock.release()

    def _see(self) -> None:
        self._ready = False
        if self._path is not None:
            self.dispose()  # what is open may be a file that has no name any more
            _place.see_file(self._path, create=self._create)
            self._file = self._identify()
        with self._using() as engine:
            try:
                self._migrate(engine)
            except SQLAlchemyError as error:
                raise _unusable(error) from None
        self._ready = True

    def save(self, records: Sequence[Record]) -> int:
        """Insert *records*, those that are there already excepted; returns how many can't be."""
        rows = [row_of(record) for record in records]
        try:
            with self.transaction() as connection:
                _insert(connection, rows)
        except (DataError, IntegrityError, OverflowError):
            return sum(not self._save_alone(row) for row in rows)
        return 0

    def latest(
        self, limit: int, identity: str | None, reason: str | None, since: float | None
    ) -> list[Record]:
        """The newest records first, at most *limit*."""
        query = select(RECORDS).order_by(RECORDS.c.at.desc(), RECORDS.c.id.desc()).limit(limit)
        if identity is not None:
            query = query.where(RECORDS.c.identity == identity)
        if reason is not None:
            query = query.where(RECORDS.c.reason == reason)
        if since is not None:
            query = query.where(RECORDS.c.at >= since)
        with self.transaction(immediate=False) as connection:
            return [record_of(row) for row in connection.execute(query).mappings()]

    def delete(self, identity: str | None, before: float | None) -> int:
        """Delete the records of *identity*, older than *before*, or both; returns how many."""
        statement = delete(RECORDS)
        if identity is not None:
            statement = statement.where(RECORDS.c.identity == identity)
        if before is not None:
            statement = statement.where(RECORDS.c.at < before)
        with self.transaction() as connection:
            return connection.execute(statement).rowcount

    def dispose(self) -> None:
        """Close what is open; what comes later opens it again."""
        self._engine.dispose()

    def _identify(self) -> tuple[int, int] | None:
        if self._path is None:
            return None
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _save_alone(self, row: dict[str, Any]) -> bool:
        try:
            with self.transaction() as connection:
                _insert(connection, [row])
        except (DataError, IntegrityError, OverflowError):
            return False
        return True

    @contextmanager
    def transaction(self, *, immediate: bool = True) -> Generator[Connection]:
        """A transaction; *immediate* if it writes."""
        self.prepare()
        with self._using() as engine:
            try:
                with engine.execution_options(immediate=immediate).begin() as connection:
                    yield connection
            except (DataError, IntegrityError):
                raise
            except SQLAlchemyError as error:
                raise Away(_word(error)) from None

    @contextmanager
    def _using(self) -> Generator[Engine]:
        if self._path is None:
            yield self._engine
            return
        with FORKS.apart():
            yield self._engine

    def _migrate(self, engine: Engine) -> None:
        with engine.begin() as connection:
            if migrations.verify(connection):
                return
        if not self._create:
            raise SettingsError(
                "store",
                "the database has an older schema, or none",
                "Start the app once with this version: it upgrades the database",
            )
        with engine.execution_options(immediate=True).begin() as connection:
            migrations.upgrade(connection)


def _insert(connection: Connection, rows: list[dict[str, Any]]) -> None:
    if not rows:  # only asked whether the database is there
        return
    # a batch whose commit was not acknowledged is sent again
    if connection.dialect.name == "postgresql":
        connection.execute(postgresql.insert(RECORDS).on_conflict_do_nothing(), rows)
    else:
        connection.execute(sqlite.insert(RECORDS).on_conflict_do_nothing(), rows)


def _unusable(error: SQLAlchemyError) -> SafetyError:
    code = getattr(getattr(error, "orig", None), "sqlite_errorcode", None)
    if isinstance(error, ProgrammingError) or (code is not None and code & 0xFF not in _LATER):
        return SettingsError(
            "store",
            f"the database can't be used ({_word(error)})",
            "Check that it is a database of ours, and that the app may write it and its directory",
        )
    return Away(_word(error))


def _word(error: SQLAlchemyError) -> str:
    origin = error.orig if isinstance(error, DBAPIError) else error
    for name in ("sqlite_errorname", "sqlstate"):
        word = getattr(origin, name, None)
        if word:
            return str(word)
    return type(origin).__name__
