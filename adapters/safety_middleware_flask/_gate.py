"""What leaves to the client: not one byte of a reply before the input's verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias

from flask import Request
from werkzeug.http import HTTP_STATUS_CODES

from safety_middleware import ContentBlocked
from safety_middleware.headers import keeps
from safety_middleware.turn import bound

from ._binding import Found
from ._reply import Refused, Steps, is_opaque
from ._visit import Headers, Visit, with_more

__all__ = ["Gate"]

Write: TypeAlias = Callable[[bytes], object]


class Gate:
    """The ``start_response`` of one request, and what is made of the reply if it is protected.

    Attributes:
        owner: The guard of the app that was called.
        request: The app's request, once it is routed.
        found: What the request was routed to, or None.
        method: Its method then.
        visit: The visit, if the request is protected; without one everything passes through.
    """

    # on the class, because every request of the app makes a gate and few are protected
    request: Request | None = None
    found: Found | None = None
    method = ""
    visit: Visit | None = None
    _open = True
    _inside: Any = None
    _held: tuple[str, Headers] | None = None
    _write: Write

    def __init__(self, owner: object, start_response: Any) -> None:
        self.owner = owner
        self._start = start_response

    def protect(self, visit: Visit) -> None:
        """The request is protected: from here on its turn is the current one in this thread."""
        self.visit = visit
        self._open = visit.observe
        self._inside = bound(visit.turn)
        self._inside.__enter__()

    def leave(self) -> None:
        """The app has returned: the thread's next request must not find this turn."""
        with suppress(ValueError):  # entered in a context of its own, which ended with it
            self._inside.__exit__(None, None, None)

    def __call__(self, status: str, headers: Headers, exc_info: Any = None, /) -> Write:
        """The app's ``start_response``."""
        visit = self.visit
        if visit is None and exc_info is None:
            passed: Write = self._start(status, headers)
            return passed
        error = () if exc_info is None else (exc_info,)
        if visit is None:
            failing: Write = self._start(status, headers, *error)
            return failing
        visit.status = int(status[:3]) if status[:3].isdigit() else None
        visit.length = _length(headers)
        if self._open:
            more = headers if visit.observe else with_more(headers, visit.added())
            write: Write = self._start(status, more, *error)
            return write
        if self._held is not None and exc_info is None:
            raise AssertionError("start_response was called twice")
        self._held = status, list(headers)
        if visit.turn.decided is not None and self._passes(visit):
            self._release(visit)
        return partial(self._write_when_decided, visit)

    def can_refuse(self, visit: Visit, problem: BaseException) -> bool:
        """Whether an error that the app let out is to be answered with the refusal."""
        return not self._open and visit.blocks(problem)

    def reply(self, visit: Visit, iterable: Iterable[bytes], environ: Any) -> Iterable[bytes]:
        """The server's reply, made of the app's."""
        visit.conclude()
        steps = Steps(visit, iterable)
        opaque = is_opaque(iterable, environ)
        if not visit.observe:
            if visit.turn.decided is None and not opaque:
                try:
                    steps.read_ahead()
                except BaseException as problem:
                    if not visit.blocks(problem):
                        steps.close()
                        raise
            self._wait(visit)
            if not self._passes(visit):
                return self.refuse(visit, iterable)
            self._release(visit)
        return steps.hooked() if opaque else steps

    def refuse(self, visit: Visit, iterable: Iterable[bytes] = ()) -> Iterable[bytes]:
        """The late refusal, in place of the app's reply."""
        refusal = visit.refusal()
        visit.status = refusal.status
        app = [] if self._held is None else self._held[1]
        kept = [(name, value) for name, value in app if keeps(name)]
        headers = with_more(with_more(list(refusal.headers), kept), visit.added())
        phrase = HTTP_STATUS_CODES.get(refusal.status, "Refused")
        self._start(f"{refusal.status} {phrase}", headers)
        self._open = True
        visit.settle()
        head = self.request is not None and self.request.method == "HEAD"
        return Refused(b"" if head else refusal.body, visit, iterable)

    def _passes(self, visit: Visit) -> bool:
        return visit.early or visit.turn.refusal is None

    def _wait(self, visit: Visit) -> None:
        if visit.turn.decided is None:
            began = time.monotonic()
            visit.turn.admitted.result()
            visit.waited += time.monotonic() - began

    def _release(self, visit: Visit) -> None:
        if not self._open:
            self._open = True
            if self._held is not None:
                status, headers = self._held
                self._write = self._start(status, with_more(headers, visit.added()))

    def _write_when_decided(self, visit: Visit, data: bytes) -> object:
        """The ``write`` of WSGI, for a reply that was held back when it was asked for."""
        self._wait(visit)
        if not self._passes(visit):
            raise ContentBlocked(visit.turn.admitted.result())
        self._release(visit)
        return self._write(data)


def _length(headers: Headers) -> int | None:
    declared = [value for name, value in headers if name.lower() == "content-length"]
    return int(declared[0]) if declared and declared[0].isdigit() else None
