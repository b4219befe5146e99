"""A wordlist whose file is read again when it changes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from safety_middleware.errors import SettingsError

from .stream import Stream
from .term import Match
from .wordlist import Wordlist

__all__ = ["WatchedWordlist"]


class WatchedWordlist:
    """Holds the newest list of a file; ``current`` is cheap enough for every request.

    A file that became unreadable or wrong leaves the last good list in force; ``on_error`` hears
    of it once per change.

    Args:
        path: The operator's file.
        build: Makes the list from the path; ``Wordlist.load`` when not given.
        every: Seconds between looks at the file.
        on_error: Called with the error of a file that could not be read again.

    Raises:
        SettingsError: If the file cannot be read the first time.
    """

    def __init__(
        self,
        path: str | Path,
        build: Callable[[Path], Wordlist] = Wordlist.load,
        *,
        every: float = 2.0,
        on_error: Callable[[SettingsError], None] | None = None,
    ) -> None:
        self._path = Path(path)
        self._build = build
        self._every = every
        self._on_error = on_error
        self._stamp = self._look()
        self._list = build(self._path)
        self._next = time.monotonic() + every
        self._lock = threading.Lock()

    @property
    def current(self) -> Wordlist:
        """The list to use now. Looks at the file at most every ``every`` seconds."""
        if time.monotonic() >= self._next and self._lock.acquire(blocking=False):
            try:
                self._next = time.monotonic() + self._every
                self._refresh()
            finally:
                self._lock.release()
        return self._list

    def find(self, text: str) -> Match | None:
        """Find the first term that counts, by the newest list."""
        return self.current.find(text)

    def find_all(self, text: str) -> tuple[Match, ...]:
        """Find every term that counts, by the newest list."""
        return self.current.find_all(text)

    def blocked(self, text: str) -> bool:
        """Whether the text holds any term that counts, by the newest list."""
        return self.current.blocked(text)

    def stream(self) -> Stream:
        """Begin to check a text that arrives in pieces, by the list of this moment."""
        return self.current.stream()

    def _refresh(self) -> None:
        stamp = self._look()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._list = self._build(self._path)
        except SettingsError as error:
            if self._on_error is not None:
                self._on_error(error)

    def _look(self) -> tuple[int, int, int] | None:
        try:
            state = os.stat(self._path)  # noqa: PTH116 - one call, no Path overhead
        except OSError:
            return None
        return state.st_mtime_ns, state.st_size, state.st_ino
