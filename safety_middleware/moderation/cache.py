"""The cache of verdicts: bounded, with a lifetime, keyed by a hash of the exact content."""

from __future__ import annotations

import struct
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from threading import Lock
from typing import cast

from blake3 import blake3

from safety_middleware.verdict import Verdict

from .settings import Question

__all__ = ["Cache", "Keys"]

_DOUBLE = struct.Struct("d")
_CONTEXT = "safety-middleware 2026-11 moderation verdicts"


class Keys:
    """Makes cache keys: keyed BLAKE3 over model, text and images, so that no key tells a text."""

    __slots__ = ("_key", "_model", "_model_of_images")

    def __init__(self, secret: bytes, model: str) -> None:
        self._key = blake3(secret, derive_key_context=_CONTEXT).digest()
        # what is hashed begins with its kind, and every part but a last with its length, so that
        # no two questions give the same bytes
        self._model = b"text %d:%s" % (len(model.encode()), model.encode())
        self._model_of_images = b"images" + self._model

    def of(self, question: Question) -> bytes | None:
        """The key of *question*; None where an image is known by its address only."""
        data = question.text.encode("utf-8", "surrogatepass")
        if not question.images:
            return blake3(self._model + data, key=self._key).digest(16)
        pieces = [b"%d:" % len(data), data]
        for image in question.images:
            if image[:5].lower() != "data:":
                return None
            data = image.encode("utf-8", "surrogatepass")
            pieces += (b"%d:" % len(data), data)
        return blake3(self._model_of_images + b"".join(pieces), key=self._key).digest(16)


class _Scores(Mapping[str, float]):
    """Scores in a fifth of a dictionary's memory: the names are shared by all verdicts."""

    __slots__ = ("_names", "_packed")

    def __init__(self, names: tuple[str, ...], values: Iterable[float]) -> None:
        self._names = names
        self._packed = struct.pack(f"{len(names)}d", *values)

    def __getitem__(self, name: str) -> float:
        try:
            place = self._names.index(name)
        except ValueError:
            raise KeyError(name) from None
        return cast("float", _DOUBLE.unpack_from(self._packed, place * _DOUBLE.size)[0])

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return repr(dict(self))


class Cache:
    """Least recently used out first; about 0.5 kB a verdict. Thread-safe."""

    __slots__ = ("_clock", "_entries", "_lock", "_model", "_names", "_size", "_ttl")

    def __init__(self, size: int, ttl: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._ttl = ttl
        self._clock = clock
        self._lock = Lock()
        self._entries: OrderedDict[bytes, tuple[float, Verdict]] = OrderedDict()
        # of the latest verdict: the same for nearly all, so that one copy serves them
        self._names: tuple[str, ...] = ()
        self._model = ""

    def get(self, key: bytes) -> Verdict | None:
        """What is remembered under *key*, if it is young enough."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            if entry[0] <= self._clock():
                del self._entries[key]
                return None
            self._entries.move_to_end(key)
            return entry[1]

    def put(self, key: bytes, verdict: Verdict) -> None:
        """Remember *verdict* under *key*."""
        if not self._size:
            return
        names = tuple(verdict.scores)
        with self._lock:
            if names != self._names:
                self._names = names
            if verdict.model != self._model:
                self._model = verdict.model
            scores = _Scores(self._names, verdict.scores.values())
            entry = (self._clock() + self._ttl, Verdict(verdict.flags, scores, self._model))
            self._entries[key] = entry
            self._entries.move_to_end(key)
            if len(self._entries) > self._size:
                self._entries.popitem(last=False)
