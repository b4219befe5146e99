"""Which texts an identity already had cleared, so that a history is not checked again each turn."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from threading import Lock

from blake3 import blake3

from safety_middleware.identity import Identity

__all__ = ["Cleared"]

MAX_TEXTS = 200_000
"""Hashes remembered, about 120 bytes each; past that the least recently met are forgotten."""


class Cleared:
    """Keyed hashes of texts that were moderated and found clean, per identity.

    Args:
        key: 32 bytes.
        size: Most hashes remembered.
    """

    def __init__(self, key: bytes, size: int = MAX_TEXTS) -> None:
        self._key = key
        self._size = size
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self._lock = Lock()

    def name(self, identity: Identity, rules: str, text: str) -> bytes:
        """The hash under which *text* of *identity* is remembered.

        Args:
            identity: Whose text it is.
            rules: Names the rules it was cleared by: what passes one policy may not pass another.
            text: The text.
        """
        said = f"{identity.safety_identifier}\0{rules}\0{text}".encode("utf-8", "surrogatepass")
        return blake3(said, key=self._key).digest(length=16)

    def known(self, name: bytes) -> bool:
        """True when that text was cleared for that identity."""
        with self._lock:
            if name not in self._known:
                return False
            self._known.move_to_end(name)
            return True

    def add(self, names: Iterable[bytes]) -> None:
        """Remember texts as cleared."""
        with self._lock:
            for name in names:
                self._known[name] = None
                self._known.move_to_end(name)
            while len(self._known) > self._size:
                self._known.popitem(last=False)
