"""The cache of verdicts: bounded, with a lifetime, keyed by a hash of the exact content."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock

from blake3 import blake3

from safety_middleware.verdict import Verdict

from .settings import Question

__all__ = ["Cache", "Keys"]

_CONTEXT = "safety-middleware 2026-11 moderation verdicts"


class Keys:
    """Makes cache keys: keyed BLAKE3 over model, text and images, so that no key tells a text."""

    __slots__ = ("_key", "_model")

    def __init__(self, secret: bytes, model: str) -> None:
        self._key = blake3(secret, derive_key_context=_CONTEXT).digest()
        self._model = b"%d:%s" % (len(model), model.encode())

    def of(self, question: Question) -> bytes | None:
        """The key of *question*; None where an image is known by its address only."""
        parts = (question.text, *question.images)
        for image in question.images:
            if image[:5].lower() != "data:":
                return None
        state = blake3(self._model, key=self._key)
        for part in parts:
            data = part.encode("utf-8", "surrogatepass")
            state.update(b"%d:" % len(data))
            state.update(data)
        return state.digest(16)


class Cache:
    """Least recently used out first. Thread-safe. Holds finished futures, ready to be handed out."""

    __slots__ = ("_clock", "_entries", "_lock", "_size", "_ttl")

    def __init__(self, size: int, ttl: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._ttl = ttl
        self._clock = clock
        self._lock = Lock()
        self._entries: OrderedDict[bytes, tuple[float, Future[Verdict]]] = OrderedDict()

    def get(self, key: bytes) -> Future[Verdict] | None:
        """The finished future of *key*, if it is there and young enough."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            if entry[0] <= self._clock():
                del self._entries[key]
                return None
            self._entries.move_to_end(key)
            return entry[1]

    def put(self, key: bytes, future: Future[Verdict]) -> None:
        """Remember the finished *future* under *key*."""
        if not self._size:
            return
        with self._lock:
            self._entries[key] = (self._clock() + self._ttl, future)
            self._entries.move_to_end(key)
            if len(self._entries) > self._size:
                self._entries.popitem(last=False)
