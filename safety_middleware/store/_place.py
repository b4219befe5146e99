"""Which database a ``store`` URL names, and how it is opened."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from safety_middleware.errors import SettingsError

from ._directory import create_once, own_directory

__all__ = ["connect", "locate", "prepare_sqlite", "see_file"]

SQLITE = "sqlite"
POSTGRES = "postgresql+psycopg"
_DRIVERS = {
    "sqlite": SQLITE,
    "sqlite+pysqlite": SQLITE,
    "postgres": POSTGRES,
    "postgresql": POSTGRES,
    POSTGRES: POSTGRES,
}
_FORMS = "Use sqlite:///path/to/safety.db or postgresql://user@host/database"
BUSY = 10.0
"""How long writing waits for another process's lock or a server, in seconds."""


def locate(url: str, base: Path) -> URL:
    """The database that *url* names; a relative path is taken from *base*.

    Raises:
        SettingsError: If it names none that we can use.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # the error would repeat the URL, with its password
        raise SettingsError("store", "this is not a database URL", _FORMS) from None
    driver = _DRIVERS.get(parsed.drivername)
    if driver is None:
        raise SettingsError("store", f"there is no support for {parsed.drivername}", _FORMS)
    if driver == POSTGRES:
        return parsed.set(drivername=POSTGRES)
    name = parsed.database or ":memory:"
    if parsed.query or parsed.host or name.startswith((":", "file:")):
        problem = "SQLite needs the path of a file, and nothing else"
        raise SettingsError("store", problem, _FORMS)
    return URL.create(SQLITE, database=str(base.absolute() / name))


def see_file(path: Path, *, create: bool) -> None:
    """See that the database file is there; made empty with mode 0600, if *create* is set.

    Raises:
        SettingsError: If it is not there and can't or must not be made.
    """
    if create:
        own_directory(path.parent)
        create_once(path, b"")  # SQLite gives the files beside it the same mode
    elif not path.is_file():
        raise SettingsError(
            "store", f"there is no database at {path}", "Start the app once, or correct the URL"
        )


def connect(url: URL, patience: float = BUSY) -> Engine:
    """An engine for *url*; nothing is opened yet. Its transactions can be made ``immediate``.

    Args:
        url: As ``locate`` gave it.
        patience: Seconds to wait for a lock or a server; libpq waits 2 at least for a connection.

    Raises:
        SettingsError: If the database's driver is not installed.
    """
    options: dict[str, Any] = {"hide_parameters": True, "pool_timeout": patience}
    if url.drivername == SQLITE:
        engine = create_engine(url, connect_args={"timeout": patience}, **options)
        event.listen(engine, "connect", prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    waits = {"connect_timeout": f"{max(2, patience / 2):.0f}", "application_name": "safety"}
    waits["tcp_user_timeout"] = f"{patience * 1000:.0f}"
    if patience < BUSY:
        waits["options"] = f"-c statement_timeout={patience * 1000:.0f}"
    arguments: dict[str, Any] = {k: v for k, v in waits.items() if k not in url.query}
    arguments["prepare_threshold"] = None  # prepared statements do not survive a pooler
    try:
        return create_engine(url, connect_args=arguments, pool_pre_ping=True, **options)
    except ModuleNotFoundError:
        raise SettingsError(
            "store",
            "PostgreSQL needs the psycopg driver",
            "Install it with: pip install 'safety-middleware[postgres]'",
        ) from None


def prepare_sqlite(connection: sqlite3.Connection, _: object = None) -> None:
    """Bring a new connection into the mode in which several processes can share the file."""
    # sqlite3 by itself opens no transaction before DDL and none before SELECT
    connection.isolation_level = None
    deadline = time.monotonic() + BUSY
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
            break
        except sqlite3.OperationalError as error:
            # where several workers ask for it at once, SQLite refuses one without waiting
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    connection.execute("PRAGMA synchronous=NORMAL").close()


def _begin_sqlite(connection: Connection) -> None:
    # a transaction that reads before it writes can't wait for the lock in between
    immediate = connection.get_execution_options().get("immediate")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
