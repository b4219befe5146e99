"""Ways for the fake to fail: what can be asked for, and which requests it meets."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

from ._answers import error_body
from ._latency import Latency
from ._log import Seen

__all__ = ["Failure", "Failures", "Kind"]

Kind: TypeAlias = Literal[
    "status",
    "hang",
    "reset",
    "truncated",
    "unfinished",
    "trickle",
    "malformed",
    "wrong_shape",
    "empty",
    "short",
    "html",
    "error_event",
    "flat_error_event",
    "failed_event",
]
#: Failures of a stream that is under way, however soon.
IN_STREAM: frozenset[Kind] = frozenset(
    {
        "truncated",
        "unfinished",
        "trickle",
        "malformed",
        "wrong_shape",
        "empty",
        "short",
        "error_event",
        "flat_error_event",
        "failed_event",
    }
)


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong; see ``FakeOpenAI.fail`` for the kinds and the attributes."""

    kind: Kind
    _: KW_ONLY
    status: int = 500
    message: str = "The fake was told to fail."
    code: str | None = None
    param: str | None = None
    type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    after_tokens: int | None = None
    delay: Latency = 0.0

    def error(self) -> dict[str, Any]:
        """The error envelope."""
        return error_body(
            self.status, self.message, code=self.code, param=self.param, kind=self.type
        )


class Failure:
    """A failure in force: heals at the end of a ``with`` block, or by ``heal()``."""

    def __init__(
        self,
        among: Failures,
        endpoint: str,
        fault: Fault,
        times: int | None,
        when: Callable[[Seen], bool] | None,
    ) -> None:
        self.endpoint = endpoint
        self.fault = fault
        self._among = among
        self._left = times
        self._when = when

    def heal(self) -> None:
        """End this failure; requests it already met stay failed."""
        self._among.remove(self)

    def meets(self, seen: Seen) -> bool:
        """Whether this request is to fail; each yes is one of ``times``."""
        if self.endpoint not in ("*", seen.endpoint) or (self._when and not self._when(seen)):
            return False
        if self._left is not None:
            if self._left < 1:
                return False
            self._left -= 1
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.heal()


class Failures:
    """The failures in force; the newest that meets a request decides."""

    def __init__(self) -> None:
        self._all: list[Failure] = []
        self._lock = threading.Lock()

    def add(self, failure: Failure) -> Failure:
        """Put a failure in force."""
        with self._lock:
            self._all.insert(0, failure)
        return failure

    def remove(self, failure: Failure) -> None:
        """End one failure; ended ones are fine."""
        with self._lock:
            if failure in self._all:
                self._all.remove(failure)

    def clear(self, endpoint: str | None = None) -> None:
        """End all failures, or those of one endpoint."""
        with self._lock:
            self._all = [f for f in self._all if endpoint not in (None, f.endpoint)]

    def meeting(self, seen: Seen) -> Fault | None:
        """The fault this request is to meet."""
        with self._lock:
            return next((f.fault for f in self._all if f.meets(seen)), None)
