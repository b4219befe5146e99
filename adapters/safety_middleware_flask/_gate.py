"""What leaves to the client: not one byte of a reply before the input's verdict."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

from flask import Request
from werkzeug.http import HTTP_STATUS_CODES

from safety_middleware import ContentBlocked
from safety_middleware.turn import bound

from ._visit import Headers, Visit, with_more

__all__ = ["Gate"]

KEPT = ("access-control-", "vary")
"""Headers of the app that a late refusal keeps; a cookie could hold the unchecked reply."""
Write: TypeAlias = Callable[[bytes], object]


class Gate:
    """The ``start_response`` of one request, and what is made of the reply if it is protected.

    Attributes:
        owner: The guard of the app that was called.
        request: The app's request, once it is routed.
        marked: The view is marked, whatever the request's method.
        visit: The visit, if the request is protected; without one everything passes through.
        status: HTTP status of the reply, once it is known.
    """

    __slots__ = (
        "_held",
        "_inside",
        "_open",
        "_start",
        "_write",
        "marked",
        "owner",
        "request",
        "status",
        "visit",
    )

    def __init__(self, owner: object, start_response: Any) -> None:
        self.owner = owner
        self.request: Request | None = None
        self.marked = False
        self.visit: Visit | None = None
        self.status: int | None = None
        self._start = start_response
        self._open = True
        self._inside: Any = None
        self._held: tuple[str, Headers] | None = None
        self._write: Write | None = None

    def protect(self, visit: Visit) -> None:
        """The request is protected: from here on its turn is the current one in this thread."""
        self.visit = visit
        self._open = visit.observe
        self._inside = bound(visit.turn)
        self._inside.__enter__()

    def leave(self) -> None:
        """The app has returned: the thread's next request must not find this turn."""
        if self._inside is not None:
            self._inside.__exit__(None, None, None)

    def __call__(self, status: str, headers: Headers, exc_info: Any = None, /) -> Write:
        """The app's ``start_response``."""
        visit = self.visit
        if visit is not None:
            self.status = int(status[:3])
        if visit is None or self._open:
            error = () if exc_info is None else (exc_info,)
            write: Write = self._start(status, headers, *error)
            return write
        if self._held is not None and exc_info is None:
            raise AssertionError("start_response was called twice")
        self._held = status, list(headers)
        if visit.turn.admitted.done() and self._passes(visit):
            self._release(visit)
        return self._write_when_decided

    def reply(self, visit: Visit, iterable: Iterable[bytes], environ: Any) -> Iterable[bytes]:
        """The server's reply, made of the app's."""
        visit.conclude()
        steps = _Steps(self, visit, iterable)
        opaque = _is_opaque(iterable, environ)
        if not visit.observe:
            if not visit.turn.admitted.done() and not opaque:
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
        self.status = refusal.status
        app = [] if self._held is None else self._held[1]
        kept = [(name, value) for name, value in app if name.lower().startswith(KEPT)]
        headers = with_more(with_more(list(refusal.headers), kept), visit.added())
        phrase = HTTP_STATUS_CODES.get(refusal.status, "Refused")
        self._start(f"{refusal.status} {phrase}", headers)
        self._open = True
        visit.settle(refusal.status)
        head = self.request is not None and self.request.method == "HEAD"
        return _Refused(b"" if head else refusal.body, visit, iterable)

    def _passes(self, visit: Visit) -> bool:
        return visit.early or visit.turn.refusal is None

    def _wait(self, visit: Visit) -> None:
        if not visit.turn.admitted.done():
            began = time.monotonic()
            visit.turn.admitted.result()
            visit.waited += time.monotonic() - began

    def _release(self, visit: Visit) -> None:
        if not self._open:
            self._open = True
            if self._held is not None:
                status, headers = self._held
                self._write = self._start(status, with_more(headers, visit.added()))

    def _write_when_decided(self, data: bytes) -> object:
        """The ``write`` of WSGI, for a reply that was held back when it was asked for."""
        visit = self.visit
        if visit is not None and not self._open:
            self._wait(visit)
            if not self._passes(visit):
                raise ContentBlocked(visit.turn.admitted.result())
            self._release(visit)
        return None if self._write is None else self._write(data)


class _Steps:
    """The pieces of a reply; the turn is the current one in each step and in ``close()``.

    Set for the whole thread it would be found by the next request there, and a copied context
    would not let ``stream_with_context`` leave what it entered.
    """

    def __init__(self, gate: Gate, visit: Visit, iterable: Iterable[bytes]) -> None:
        self._gate = gate
        self._visit = visit
        self._iterable = iterable
        self._close_app: Callable[[], object] | None = getattr(iterable, "close", None)
        self._pieces: Iterator[bytes] | None = None
        self._ahead: deque[bytes] = deque()
        self._over = False
        self._failed = False

    def read_ahead(self) -> None:
        """Take the first piece that is not empty, or what there is until the verdict comes."""
        while not self._visit.turn.admitted.done():
            piece = self._step()
            if piece is None:
                return
            self._ahead.append(piece)
            if piece:
                return

    def hooked(self) -> Iterable[bytes]:
        """The app's own object, for the server's fast path; closing it settles the turn."""
        if self._close_app is None:
            self._visit.settle(self._gate.status)
            return self._iterable
        try:
            self._iterable.close = self.close  # type: ignore[attr-defined]  # where it can be set
        except AttributeError:
            return self
        self._over = True  # whether the client stayed to the end only the server knows
        return self._iterable

    def __iter__(self) -> _Steps:
        return self

    def __next__(self) -> bytes:
        piece = self._ahead.popleft() if self._ahead else self._step()
        if piece is None:
            self._visit.settle(self._gate.status)
            raise StopIteration
        return piece

    def close(self) -> None:
        try:
            if self._close_app is not None:
                with bound(self._visit.turn):
                    self._close_app()
        finally:
            self._visit.settle(
                self._gate.status,
                disconnected=not self._over and not self._failed,
                failed=self._failed,
            )

    def _step(self) -> bytes | None:
        """The app's next piece, or None when there is none."""
        if self._over:
            return None
        try:
            with bound(self._visit.turn):
                if self._pieces is None:
                    self._pieces = iter(self._iterable)
                piece = next(self._pieces, None)
        except BaseException:
            self._failed = True
            raise
        self._over = piece is None
        return piece


class _Refused:
    """A refusal as the server iterates it; the app's own reply is closed after it."""

    def __init__(self, body: bytes, visit: Visit, iterable: Iterable[bytes]) -> None:
        self._body = body
        self._visit = visit
        self._iterable = iterable

    def __iter__(self) -> Iterator[bytes]:
        yield self._body

    def close(self) -> None:
        close = getattr(self._iterable, "close", None)
        if close is not None:
            with bound(self._visit.turn):
                close()


def _is_opaque(iterable: Iterable[bytes], environ: Any) -> bool:
    """Whether servers treat *iterable* in a way of their own: by its length, or as a file."""
    wrapper = environ.get("wsgi.file_wrapper")
    is_file = isinstance(wrapper, type) and isinstance(iterable, wrapper)
    return is_file or hasattr(iterable, "__len__")
