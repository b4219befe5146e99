"""Which turns of trusted people are moderated: a draw that nobody outside can foresee or repeat."""

from __future__ import annotations

from collections.abc import Callable

from blake3 import blake3

from safety_middleware.moderation import Question
from safety_middleware.standing import DAY
from safety_middleware.verdict import Verdict

__all__ = ["Sampling"]

_RANGE = 2.0**64


class Sampling:
    """Draws once for each identity, content and day (UTC): sending again draws the same.

    Args:
        key: 32 bytes.
        recall: The verdict that is remembered about a question, or None; makes no call.
    """

    def __init__(self, key: bytes, recall: Callable[[Question], Verdict | None]) -> None:
        self._key = key
        self._recall = recall

    def skips(self, name: str, question: Question, share: float, now: float) -> bool:
        """True when *question* need not be asked.

        A verdict that is at hand costs nothing, and counts wherever the draw falls.

        Args:
            name: The safety identifier of who speaks.
            question: What would be asked.
            share: Share of turns that is moderated, 0 to 1.
            now: Unix seconds.
        """
        if share >= 1 or self._drawn(name, question, now) < share:
            return False
        return self._recall(question) is None

    def _drawn(self, name: str, question: Question, now: float) -> float:
        # case and spacing make no new content, else a few spaces would be a new draw
        text = " ".join(question.text.casefold().split())
        parts = (name, str(int(now // DAY)), text, *question.images)
        said = "\0".join(f"{len(part)}:{part}" for part in parts).encode("utf-8", "surrogatepass")
        return int.from_bytes(blake3(said, key=self._key).digest(length=8)) / _RANGE
