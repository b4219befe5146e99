"""Replies as the server takes them, piece by piece."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from safety_middleware.turn import bound

from ._visit import Visit

__all__ = ["Refused", "Steps", "is_opaque"]


class Steps:
    """The pieces of a reply; the turn is the current one in each step and in ``close()``.

    Set for the whole thread it would be found by the next request there, and a copied context
    would not let ``stream_with_context`` leave what it entered.
    """

    def __init__(self, visit: Visit, iterable: Iterable[bytes]) -> None:
        self._visit = visit
        self._iterable = iterable
        self._close_app: Callable[[], object] | None = getattr(iterable, "close", None)
        self._pieces: Iterator[bytes] | None = None
        self._ahead: deque[bytes] = deque()
        self._sent = 0
        self._over = False
        self._failed = False

    def read_ahead(self) -> None:
        """Take the first piece that is not empty, or what there is until the verdict comes."""
        while self._visit.turn.decided is None:
            piece = self._step()
            if piece is None:
                return
            self._ahead.append(piece)
            if piece:
                return

    def hooked(self) -> Iterable[bytes]:
        """The app's own object, for the server's fast path; closing it settles the turn."""
        if self._close_app is None:
            self._visit.settle()
            return self._iterable
        try:
            self._iterable.close = self.close  # type: ignore[attr-defined]  # where it can be set
        except AttributeError:
            return self
        self._over = True  # whether the client stayed to the end only the server knows
        return self._iterable

    def __iter__(self) -> Steps:
        """Itself: it is an iterator."""
        return self

    def __next__(self) -> bytes:
        """The next piece; the turn is settled with the last one."""
        piece = self._ahead.popleft() if self._ahead else self._step()
        self._sent += len(piece or b"")
        if piece is None or self._sent == self._visit.length:
            self._visit.settle()
        if piece is None:
            raise StopIteration
        return piece

    def close(self) -> None:
        """Close the app's reply, and settle the turn of one that was not taken to its end."""
        try:
            if self._close_app is not None:
                with bound(self._visit.turn):
                    self._close_app()
        finally:
            gone = not self._over and not self._failed
            self._visit.settle(disconnected=gone, failed=self._failed)

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


class Refused:
    """A refusal as the server iterates it; the app's own reply is closed after it."""

    def __init__(self, body: bytes, visit: Visit, iterable: Iterable[bytes]) -> None:
        self._body = body
        self._visit = visit
        self._iterable = iterable

    def __iter__(self) -> Iterator[bytes]:
        """The whole body at once."""
        yield self._body

    def close(self) -> None:
        """Close the app's own reply."""
        close = getattr(self._iterable, "close", None)
        if close is not None:
            with bound(self._visit.turn):
                close()


def is_opaque(iterable: Iterable[bytes], environ: Any) -> bool:
    """Whether servers treat *iterable* in a way of their own: by its length, or as a file."""
    wrapper = environ.get("wsgi.file_wrapper")
    is_file = isinstance(wrapper, type) and isinstance(iterable, wrapper)
    return is_file or hasattr(iterable, "__len__")
