"""The standings as one process knows them: a small cache, and what happened that is not saved yet."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Lock
from typing import Protocol, TypeAlias

from safety_middleware.identity import Identity, Kind
from safety_middleware.standing import Clean, Event, Guest, Standing, Tiers, after, kind_of, merged
from safety_middleware.verdict import wait

from . import _identities
from ._away import Away
from ._database import Database
from ._writer import OnDegraded

__all__ = ["LIFETIME", "OnSuspend", "Standings"]

OnSuspend: TypeAlias = Callable[[str, Standing], None]


class Nudge(Protocol):
    """Has what waits saved, *now* or with the next batch."""

    def __call__(self, *, now: bool) -> None:
        """Never blocks, never raises."""
        ...


LIFETIME = 30.0
"""Seconds after which a standing is read again: so long can other processes' news take."""
PATIENCE = 1.0
"""Seconds a read may wait for a lock or a server; libpq takes 2 to connect."""
REST = 5.0
"""Seconds for which a database that did not answer is not asked again."""
SIZE = 50_000
"""Standings kept, about 0.5 kB each, and identities with turns that may wait to be saved."""
BATCH = 500
READERS = 4
"""Threads that read for event loops, started when the first is needed."""


class _Entry:
    __slots__ = ("standing", "until")

    def __init__(self, standing: Standing, until: float) -> None:
        self.standing = standing
        self.until = until


class Standings:
    """Knows who stands how. Loading waits for the database at most briefly, telling never.

    What this process is told counts in it at once, saved or not, and is never forgotten before it
    is saved; other processes learn it when they next read. While the database is away, what is known
    stays in force, and who is not known is new.

    Args:
        reading: The database, with little patience.
        writing: The database as the writer uses it.
        tiers: The rules.
        nudge: Asks the writer to call ``save``, now or soon.
        on_degraded: Told ``("store", cause)`` when a standing can't be read.
        on_suspend: Told who was suspended by this process, and the standing.
        size: Standings kept.
    """

    def __init__(
        self,
        reading: Database,
        writing: Database,
        tiers: Tiers,
        *,
        nudge: Nudge,
        on_degraded: OnDegraded,
        on_suspend: OnSuspend,
        size: int = SIZE,
    ) -> None:
        self._reading, self._writing = reading, writing
        self._tiers = tiers
        self._nudge = nudge
        self._on_degraded, self._on_suspend = on_degraded, on_suspend
        self._size = size
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._unsaved: dict[str, list[Event]] = {}
        self._saving: dict[str, list[Event]] = {}
        self._saves = 0
        self._asleep = 0.0
        self._lock = Lock()
        self._readers: ThreadPoolExecutor | None = None

    @property
    def waiting(self) -> int:
        """Identities of which something is not saved yet."""
        return len(self._unsaved) + len(self._saving)

    def cached(self, identity: Identity) -> Standing | None:
        """The standing of *identity*, if it was read lately; never waits."""
        entry = self._entries.get(identity.safety_identifier)
        if entry is None or entry.until < time.monotonic():
            return None
        guest = identity.guest
        if guest is None:
            return entry.standing
        came = self._entries.get(guest.safety_identifier)
        if came is None or came.until < time.monotonic():
            return None
        return self._carried(identity, entry.standing, came.standing)

    def load(self, identity: Identity) -> Standing:
        """The standing of *identity*, read if need be."""
        known = self.cached(identity)
        return self._read(identity) if known is None else known

    def aload(self, identity: Identity) -> Standing | Awaitable[Standing]:
        """The same for an event loop: at once, or to be awaited where it has to be read."""
        known = self.cached(identity)
        if known is not None:
            return known
        if time.monotonic() < self._asleep:
            return self._remembered(identity)
        with self._lock:
            if self._readers is None:
                self._readers = ThreadPoolExecutor(READERS, "safety-standing")
            readers = self._readers
        return wait(readers.submit(self._read, identity))

    def tell(self, name: str, event: Event) -> None:
        """Take *event* into the standing called *name*, at once, and have it saved soon."""
        kind = kind_of(name)
        if kind is Kind.ADDRESS and isinstance(event, Clean):
            return  # an address is never known, however clean
        with self._lock:
            if isinstance(event, Clean) and not self._room(name):
                return
            entry = self._entries.get(name)
            if entry is None:  # to be read before it is relied on
                entry = self._put(name, self._with_unsaved(name, Standing()), 0.0)
            before = entry.standing
            entry.standing = after(before, event, kind, self._tiers)
            first = not self._unsaved
            _add(self._unsaved.setdefault(name, []), event)
            standing = entry.standing
        urgent = not isinstance(event, Clean)
        if urgent:
            self._noticed(name, before, standing)
        if urgent or first:
            self._nudge(now=urgent)

    def save(self) -> None:
        """Save what was told; called by the writer's thread only.

        Raises:
            StorageUnavailable: If the database does not answer; what is not saved is kept.
        """
        with self._lock:
            self._saving, self._unsaved = self._unsaved, {}
            names = list(self._saving)
        try:
            urgent = [n for n in names if any(not isinstance(e, Clean) for e in self._saving[n])]
            for some in _batches(urgent):
                self._save_events(some)
            for some in _batches([name for name in names if name in self._saving]):
                self._save_clean(some)
        finally:
            with self._lock:
                for name, newer in self._unsaved.items():
                    self._saving.setdefault(name, []).extend(newer)
                self._unsaved, self._saving = self._saving, {}

    def close(self) -> None:
        """Let go of the database and the threads; loading again opens again."""
        with self._lock:
            readers, self._readers = self._readers, None
        if readers is not None:
            readers.shutdown()
        self._reading.dispose()

    def _save_events(self, names: Sequence[str]) -> None:
        events = {name: self._saving[name] for name in names}
        with self._writing.transaction() as connection:
            kept = _identities.save_events(connection, events, self._tiers)
        for name, standing in kept.items():
            with self._lock:
                self._saves += 1
                del self._saving[name]
                entry = self._entries.get(name)
                before = standing if entry is None else entry.standing
                if entry is not None:
                    entry.until = 0.0  # others may have told more: read it again
            self._noticed(name, before, standing)

    def _save_clean(self, names: Sequence[str]) -> None:
        turns = {n: e for n in names for e in self._saving[n] if isinstance(e, Clean)}
        with self._writing.transaction() as connection:
            _identities.save_clean(connection, turns)
        with self._lock:
            for name in names:
                del self._saving[name]

    def _read(self, identity: Identity) -> Standing:
        people = [identity] if identity.guest is None else [identity, identity.guest]
        names = [name for who in people for name in (who.safety_identifier, *who.older)]
        read: dict[Kind, Standing] = {}
        while time.monotonic() >= self._asleep:
            saves = self._saves
            try:
                with self._reading.transaction(immediate=False) as connection:
                    found = _identities.find(connection, names)
            except Exception as error:  # whatever it is: who speaks must not wait for its end
                self._rest(error)
                break
            with self._lock:
                if saves != self._saves:
                    continue  # it may have been read before what was saved meanwhile
                until = time.monotonic() + LIFETIME
                for who in people:
                    rows = [found[n] for n in (who.safety_identifier, *who.older) if n in found]
                    read[who.kind] = self._with_unsaved(who, merged(rows))
                    self._put(who.safety_identifier, read[who.kind], until)
            came = None if identity.guest is None else read[identity.guest.kind]
            return (
                read[identity.kind]
                if came is None
                else self._carried(identity, read[identity.kind], came)
            )
        return self._remembered(identity)

    def _remembered(self, identity: Identity) -> Standing:
        """What is known without the database, however old it is."""
        entry = self._entries.get(identity.safety_identifier)
        standing = Standing() if entry is None else entry.standing
        guest = None if identity.guest is None else identity.guest.safety_identifier
        came = None if guest is None else self._entries.get(guest)
        if came is not None:
            standing = self._carried(identity, standing, came.standing)
        return replace(standing, unread=True)

    def _rest(self, error: Exception) -> None:
        self._asleep = time.monotonic() + REST
        cause = error.cause if isinstance(error, Away) else type(error).__name__
        self._on_degraded("store", cause)

    def _carried(self, identity: Identity, standing: Standing, came: Standing) -> Standing:
        """*standing* of a user with what they did as a guest, which is told once."""
        if not came.strikes and came.ruled_at is None:
            return standing
        login = Guest(came, time.time())
        carried = after(standing, login, identity.kind, self._tiers)
        if carried != standing:
            self.tell(identity.safety_identifier, login)
        return carried

    def _with_unsaved(self, who: Identity | str, standing: Standing) -> Standing:
        names = (who,) if isinstance(who, str) else (who.safety_identifier, *who.older)
        for name in names:
            for event in (*self._saving.get(name, ()), *self._unsaved.get(name, ())):
                standing = after(standing, event, kind_of(name), self._tiers)
        return standing

    def _put(self, name: str, standing: Standing, until: float) -> _Entry:
        entry = self._entries[name] = _Entry(standing, until)
        self._entries.move_to_end(name)
        while len(self._entries) > self._size:
            self._entries.popitem(last=False)  # what is not saved stays in ``_unsaved``
        return entry

    def _room(self, name: str) -> bool:
        return name in self._unsaved or self.waiting < self._size

    def _noticed(self, name: str, before: Standing, standing: Standing) -> None:
        now = time.time()
        if standing.suspended(now) and not before.suspended(now):
            self._on_suspend(name, standing)


def _add(events: list[Event], event: Event) -> None:
    last = events[-1] if events else None
    if isinstance(last, Clean) and isinstance(event, Clean):
        events[-1] = Clean(last.count + event.count, min(last.since, event.since), event.at)
    else:
        events.append(event)


def _batches(names: list[str]) -> list[list[str]]:
    return [names[start : start + BATCH] for start in range(0, len(names), BATCH)]
