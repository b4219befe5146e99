"""A text that arrives in pieces: find terms over the borders, hold back as little as can be."""

from __future__ import annotations

from .engine import Engine
from .term import Match

__all__ = ["Stream"]


class Stream:
    """The check of one text in pieces. Not for several threads at once.

    Attributes:
        pending: How many characters at the end, of all that was fed, could still become part of a
            match. What stands before them is cleared.
    """

    __slots__ = ("_engine", "_kept", "_offset", "pending")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._kept = ""
        self._offset = 0
        self.pending = 0

    def feed(self, text: str) -> Match | None:
        """Take the next piece; answer the first match that is complete.

        Offsets of the match count from the beginning of the whole text.
        """
        self._kept += text
        keep = self._engine.compiled.longest * 3 + 1
        match = self._first(final=False)
        if match is None and len(self._kept) > 2 * keep:
            self._offset += len(self._kept) - keep
            self._kept = self._kept[-keep:]
        self.pending = min(len(self._kept), keep)
        return match

    def finish(self) -> Match | None:
        """Say that the text has ended: what was pending is decided now."""
        self.pending = 0
        return self._first(final=True)

    def _first(self, *, final: bool) -> Match | None:
        for found in self._engine.find_all(self._kept):
            if final or found.end < len(self._kept):
                return Match(
                    found.term,
                    found.category,
                    found.severity,
                    found.start + self._offset,
                    found.end + self._offset,
                )
        return None
