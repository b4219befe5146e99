"""The store: what the rest of the library knows of the database."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from safety_middleware.standing import Event, Standing, Tiers

from ._away import Away
from ._record import Record
from ._writer import OnDegraded, Writer

if TYPE_CHECKING:
    from sqlalchemy import URL

    from ._database import Database
    from ._standings import OnSuspend, Standings

__all__ = ["DEFAULT_URL", "Store"]

DEFAULT_URL = "sqlite:///.safety/safety.db"

_log = logging.getLogger("safety_middleware")


class _Here(NamedTuple):
    """What belongs to one process."""

    database: Database
    writer: Writer
    standings: Standings


class Store:
    """Keeps records and standings: writes them behind, and reads them back.

    One store may be used from every thread, and after a fork: each process has its own connections
    and its own writer. Make one with ``Store.open()``.
    """

    def __init__(
        self,
        url: URL,
        *,
        create: bool,
        on_degraded: OnDegraded,
        on_suspend: OnSuspend,
        tiers: Tiers,
    ) -> None:
        self._url = url
        self._create = create
        self._on_degraded = on_degraded
        self._on_suspend = on_suspend
        self._tiers = tiers
        # by process id; what a fork inherited is kept and never touched
        self._processes: dict[int, _Here] = {}

    @classmethod
    def open(
        cls,
        url: str = DEFAULT_URL,
        *,
        base: Path | None = None,
        create: bool = True,
        on_degraded: OnDegraded | None = None,
        on_suspend: OnSuspend | None = None,
        tiers: Tiers | None = None,
    ) -> Self:
        """Open the database at *url*, making and upgrading what is missing.

        A database that can't be reached now is no error: records wait for it, and *on_degraded*
        says so. No connection stays open, so that a server may load the app and then fork.

        Args:
            url: ``sqlite:///path`` or ``postgresql://…``.
            base: What a relative SQLite path is relative to; the working directory if None.
            create: False to open only what is there: no file, table or upgrade is made.
            on_degraded: Called with ``"store"`` and a cause in one word when records have to wait
                or are lost, at most every 30 seconds for each cause, by whatever thread finds out.
                The default logs a warning.
            on_suspend: Called with a safety identifier and its standing when this process suspends
                it, by whatever thread does; must be quick and not raise.
            tiers: The rules of trust; their defaults if None.

        Raises:
            SettingsError: If the URL, its directory, its driver or its schema can't be used.
        """
        from ._place import locate  # noqa: PLC0415 - loads SQLAlchemy, at app start

        store = cls(
            locate(url, base or Path.cwd()),
            create=create,
            on_degraded=on_degraded or _warn,
            on_suspend=on_suspend or _unheard,
            tiers=tiers or Tiers(),
        )
        here = store._here()
        try:
            here.database.prepare()
        except Away as error:
            here.writer.probe(error.cause)
        finally:
            here.database.dispose()
        return store

    def write(self, record: Record) -> None:
        """Have *record* written soon; never blocks, never raises."""
        here = self._processes.get(os.getpid()) or self._here()
        here.writer.put(record)

    @property
    def standings(self) -> Standings:
        """The standings as this process knows them."""
        return (self._processes.get(os.getpid()) or self._here()).standings

    def standing(self, identifier: str) -> Standing:
        """The standing of *identifier* as it is kept now.

        Raises:
            StorageUnavailable: If the database does not answer.
        """
        from ._identities import find  # noqa: PLC0415 - loaded by open() already

        with self._here().database.transaction(immediate=False) as connection:
            return find(connection, (identifier,)).get(identifier, Standing())

    def change(self, identifier: str, event: Event) -> Standing:
        """Take *event* into the standing of *identifier* now; returns the new one.

        Raises:
            SettingsError: If that is no safety identifier.
            StorageUnavailable: If the database does not answer.
        """
        from ._identities import save_events  # noqa: PLC0415 - loaded by open() already

        with self._here().database.transaction() as connection:
            return save_events(connection, {identifier: (event,)}, self._tiers)[identifier]

    def latest(
        self,
        limit: int = 50,
        *,
        identity: str | None = None,
        reason: str | None = None,
        since: float | None = None,
    ) -> list[Record]:
        """The newest records first; those of the last moments may still be on their way.

        Args:
            limit: How many at most.
            identity: Only those of this safety identifier.
            reason: Only those decided for this reason.
            since: Only those from then on, in seconds since the epoch.

        Raises:
            StorageUnavailable: If the database does not answer.
        """
        return self._here().database.latest(limit, identity, reason, since)

    def delete(self, *, identity: str | None = None, before: float | None = None) -> int:
        """Delete the records of *identity*, those older than *before*, or what is both.

        Args:
            identity: A safety identifier.
            before: Seconds since the epoch.

        Returns:
            How many were deleted.

        Raises:
            ValueError: If neither is given.
            StorageUnavailable: If the database does not answer.
        """
        if identity is None and before is None:
            raise ValueError("say whose records, or how old ones, are to be deleted")
        return self._here().database.delete(identity, before)

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until what was written before is in the database; False after *timeout* seconds."""
        here = self._here()
        if here.standings.waiting:
            here.writer.nudge()
        return here.writer.flush(timeout)

    def close(self, timeout: float = 5.0) -> bool:
        """Write what waits and let go of the database; False if *timeout* seconds did not suffice.

        Happens by itself when the interpreter exits. A store that is used again opens again.
        """
        here = self._here()
        if here.standings.waiting:
            here.writer.nudge()
        done = here.writer.close(timeout)
        here.standings.close()
        here.database.dispose()
        return done

    @property
    def dropped(self) -> int:
        """Records this process lost: there was no room, or the database would not take them."""
        return self._here().writer.dropped

    @property
    def waiting(self) -> int:
        """Records of this process that are not in the database yet."""
        return self._here().writer.waiting

    @property
    def degraded(self) -> str | None:
        """Why records have to wait or were lost, in one word; None when all is well."""
        return self._here().writer.degraded

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _here(self) -> _Here:
        pid = os.getpid()
        here = self._processes.get(pid)
        if here is None:
            # of two threads that come first together, one wins
            here = self._processes.setdefault(pid, self._begin())
        return here

    def _begin(self) -> _Here:
        from ._database import Database  # noqa: PLC0415 - loaded by open() already
        from ._standings import PATIENCE, Standings  # noqa: PLC0415

        database = Database(self._url, create=self._create)
        reading = Database(self._url, create=self._create, patience=PATIENCE)

        def save(records: Sequence[Record]) -> int:
            standings.save()  # first: a suspension must not wait for records
            return database.save(records)

        writer = Writer(save, database.dispose, self._on_degraded)
        standings = Standings(
            reading,
            database,
            self._tiers,
            nudge=writer.nudge,
            on_degraded=self._on_degraded,
            on_suspend=self._on_suspend,
        )
        return _Here(database, writer, standings)


def _unheard(identifier: str, standing: Standing) -> None:
    """Nobody asked to be told."""


def _warn(service: str, cause: str) -> None:
    _log.warning("the %s is degraded: %s", service, cause)
