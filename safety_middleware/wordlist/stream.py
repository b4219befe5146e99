"""A text that arrives in pieces: find terms over the borders, hold back as little as can be."""

from __future__ import annotations

import re
from bisect import bisect_left
from typing import Final

from . import skeleton
from .engine import Engine
from .escapes import retraced, rewritten
from .term import Match

__all__ = ["Stream"]

_TOKEN: Final = re.compile("[^\\s\u2e80-\ud7ff\uf900-\ufaff]{0,60}\\Z")
"""The word that is being written; scripts without spaces are looked at letter by letter."""

_OVERRIDE: Final = "\u202e"
_CONTEXT: Final = 128
"""Characters kept before what is pending, for the words and phrases it may be part of."""


class Stream:
    """The check of one text in pieces. Not for several threads at once.

    Attributes:
        pending: How many characters at the end, of all that was fed, could still become part of a
            match. What stands before them is cleared.
    """

    __slots__ = ("_ahead", "_beginnings", "_engine", "_kept", "_offset", "_reach", "pending")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._kept = ""
        self._offset = 0
        self._beginnings = engine.compiled.beginnings()
        self._reach = 8 * max(engine.compiled.longest, 8)
        self._ahead = engine.compiled.longest_allow
        self.pending = 0

    def feed(self, text: str) -> Match | None:
        """Take the next piece; answer the first match that is complete.

        A match is complete when so much text follows that no allow rule can cover it any more.
        Offsets count from the beginning of the whole text.
        """
        self._kept += text
        before = self.pending + len(text)
        cleared = len(self._kept) - before
        held = self._unfinished()
        for found in self._engine.find_all(self._kept):
            if found.end <= cleared:
                continue
            if found.end + self._ahead < len(self._kept):
                return self._moved(found)
            held = max(held, len(self._kept) - found.start)
        self.pending = min(held, before)
        self._forget()
        return None

    def finish(self) -> Match | None:
        """Say that the text has ended: what was pending is decided now."""
        cleared = len(self._kept) - self.pending
        self.pending = 0
        for found in self._engine.find_all(self._kept):
            if found.end > cleared:
                return self._moved(found)
        return None

    def _unfinished(self) -> int:
        """Characters at the end that are the beginning of a term, or of a word."""
        tail = self._kept[-self._reach :]
        token = _TOKEN.search(tail)
        start = len(tail) if token is None else token.start()
        override = tail.rfind(_OVERRIDE)
        if override >= 0 and "\u202c" not in tail[override:]:
            start = min(start, override)
        start = min(start, self._open_in(tail))
        if rewritten(tail) is not None:
            plain = retraced(tail)
            start = min(start, plain.starts[self._open_in(plain.text)])
        return len(tail) - start

    def _open_in(self, text: str) -> int:
        """Where the earliest unfinished spelling begins, else the end."""
        reading = self._engine.folder.trace(text)
        places = (self._open(reading.text), self._open_other(reading.text))
        return min((reading.starts[at] for at in places if at is not None), default=len(text))

    def _open(self, flat: str) -> int | None:
        """Where the earliest spelling begins of which all letters up to the end have been seen."""
        raw = flat.encode("ascii", "replace")
        earliest: int | None = None
        for signs in (False, True) if skeleton.has_signs(raw) else (False,):
            pressed, starts = skeleton.press(skeleton.letters(raw, signs=signs))
            longest = self._engine.compiled.longest
            for place in range(max(0, len(pressed) - longest), len(pressed)):
                if self._begins(pressed[place:].decode()):
                    at = skeleton.Places(raw, signs=signs)[starts[place]]
                    earliest = at if earliest is None else min(earliest, at)
                    break
        return earliest

    def _open_other(self, flat: str) -> int | None:
        if flat.isascii():
            return None
        for place in range(max(0, len(flat) - self._engine.compiled.longest), len(flat)):
            if flat[place] > "\x7f" and self._begins(flat[place:]):
                return place
        return None

    def _begins(self, text: str) -> bool:
        place = bisect_left(self._beginnings, text)
        return place < len(self._beginnings) and self._beginnings[place].startswith(text)

    def _forget(self) -> None:
        gone = len(self._kept) - self.pending - _CONTEXT
        if gone > _CONTEXT:
            self._kept = self._kept[gone:]
            self._offset += gone

    def _moved(self, found: Match) -> Match:
        start, end = found.start + self._offset, found.end + self._offset
        return Match(found.term, found.category, found.severity, start, end)
