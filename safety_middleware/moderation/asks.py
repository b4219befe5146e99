"""Questions in flight, and the order in which their pieces wait to be sent."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from concurrent.futures import Future

from safety_middleware.verdict import Verdict

from .backend import Asked
from .budget import Budget, Priority, tokens_of
from .settings import DeskSettings, Question

__all__ = ["Ask", "Piece", "Waiting"]

# pieces that are kept without looking for those nobody waits for any more
_FEW = 64


class Ask:
    """One question in flight, and who waits for it."""

    __slots__ = (
        "deadline",
        "future",
        "key",
        "missing",
        "pieces",
        "priority",
        "question",
        "timer",
        "verdicts",
    )

    def __init__(
        self, key: bytes | None, question: Question, priority: Priority, seconds: float
    ) -> None:
        self.key: object = key or object()
        self.question = question
        self.priority = priority
        self.deadline = time.monotonic() + seconds
        self.future: Future[Verdict] = Future()
        # a running future can't be cancelled, so no waiter can take it from the others
        self.future.set_running_or_notify_cancel()
        self.timer: asyncio.TimerHandle | None = None
        self.pieces: list[Piece] = []
        self.verdicts: list[Verdict] = []
        self.missing = 0


class Piece:
    """What one request asks, or one of its texts.

    Attributes:
        ask: The question it is part of.
        asked: The part.
        alone: It takes a request of its own.
        tokens: About how many tokens it takes.
        sent: Nothing of it waits.
    """

    __slots__ = ("alone", "ask", "asked", "sent", "tokens")

    def __init__(self, ask: Ask, asked: Asked) -> None:
        self.ask = ask
        self.asked = asked
        self.alone = not isinstance(asked, str)
        self.tokens = tokens_of(asked)
        self.sent = False


class Waiting:
    """Pieces that wait, by priority and then by age. One event loop only.

    Attributes:
        short: The piece for which the budget has no room now; everything behind it waits, too.
    """

    def __init__(self, settings: DeskSettings, budget: Budget) -> None:
        self._settings = settings
        self._budget = budget
        self._heap: list[tuple[Priority, int, Piece]] = []
        self._ages = itertools.count()
        self._bound = _FEW
        self.short: Piece | None = None

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, piece: Piece) -> bool:
        """Let *piece* wait; False if it is optional and others wait for the budget."""
        priority = piece.ask.priority
        if self.short is not None and not priority.required:
            return False
        piece.sent = False
        if len(self._heap) >= self._bound:
            self.sort()
            self._bound = max(_FEW, 2 * len(self._heap))
        heapq.heappush(self._heap, (priority, next(self._ages), piece))
        return True

    def sort(self) -> None:
        """Put the pieces into the order of their questions' priorities; drop what is given up."""
        self._heap = [
            (piece.ask.priority, age, piece)
            for _, age, piece in self._heap
            if not piece.ask.future.done()
        ]
        heapq.heapify(self._heap)

    def first(self) -> Piece | None:
        """The piece whose turn is next."""
        while self._heap:
            piece = self._heap[0][2]
            if not piece.ask.future.done():
                return piece
            heapq.heappop(self._heap)
        self.short = None
        return None

    def take(self) -> tuple[list[Piece], list[Piece]]:
        """Take what goes into the next request and has been spent on, and what the budget cuts."""
        batch: list[Piece] = []
        cut: list[Piece] = []
        chars = 0
        self.short = None
        while len(batch) < self._settings.batch_texts and (piece := self.first()) is not None:
            size = len(piece.asked) if isinstance(piece.asked, str) else 0
            if batch and (piece.alone or chars + size > self._settings.batch_chars):
                break
            priority = piece.ask.priority
            if self._budget.spend(priority, piece.tokens, 0 if batch else 1):
                batch.append(piece)
                chars += size
            elif priority.required:
                self.short = piece
                cut += self._optional()
                break
            else:
                cut.append(piece)
            heapq.heappop(self._heap)
            piece.sent = True
            if batch and piece.alone:
                break
        return batch, cut

    def clear(self) -> None:
        """Forget all of them."""
        self._heap.clear()
        self.short = None

    def _optional(self) -> list[Piece]:
        optional = [piece for _, _, piece in self._heap if not piece.ask.priority.required]
        if optional:
            self._heap = [entry for entry in self._heap if entry[2].ask.priority.required]
            heapq.heapify(self._heap)
        return optional
