"""Keep SQLite connections and ``fork()`` apart.

SQLite counts a process's locks in its own memory, and a fork copies the count without the locks: a
child that then opens the same file, with a connection of its own, believes it holds locks it does
not have. So no connection is open while a process forks.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Generator
from contextlib import contextmanager
from threading import Condition
from typing import Protocol

__all__ = ["FORKS", "Forks"]

PATIENCE = 5.0
"""How long a fork waits for statements under way, in seconds; then it goes ahead."""


class _Database(Protocol):
    def dispose(self) -> None: ...


class Forks:
    """Lets statements run, or a fork, but not both."""

    def __init__(self) -> None:
        self._databases: weakref.WeakSet[_Database] = weakref.WeakSet()
        self._condition = Condition()
        self._busy = 0
        self._forking = False

    def watch(self, database: _Database) -> None:
        """Have the connections of *database* closed before each fork."""
        self._databases.add(database)

    @contextmanager
    def apart(self) -> Generator[None]:
        """Inside the block, a fork waits; while one is under way, the block waits."""
        condition = self._condition
        with condition:
            condition.wait_for(lambda: not self._forking, PATIENCE)
            self._busy += 1
        try:
            yield
        finally:
            with condition:
                self._busy -= 1
                condition.notify_all()

    def before(self) -> None:
        """Wait for the statements under way, then close what is open."""
        with self._condition:
            self._forking = True
            self._condition.wait_for(lambda: not self._busy, PATIENCE)
        for database in list(self._databases):
            database.dispose()

    def after_in_parent(self) -> None:
        """Let statements run again."""
        with self._condition:
            self._forking = False
            self._condition.notify_all()

    def after_in_child(self) -> None:
        """Start anew: the parent's locks and databases mean nothing here."""
        self._databases = weakref.WeakSet()
        self._condition = Condition()
        self._busy = 0
        self._forking = False


FORKS = Forks()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=FORKS.before,
        after_in_parent=FORKS.after_in_parent,
        after_in_child=FORKS.after_in_child,
    )
