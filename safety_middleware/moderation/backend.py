"""Who judges: the moderation endpoint, or a moderator of the operator's own."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Protocol, TypeAlias, cast

from safety_middleware.errors import ModerationUnavailable, SettingsError
from safety_middleware.verdict import Verdict

from .budget import Budget
from .parts import Parts, cut, mixed
from .reading import read
from .settings import Question
from .transport import Transport, call

__all__ = ["Asked", "Backend", "Endpoint", "Moderator", "Own", "find_moderator"]

#: A part of a question: a text, a text with an image, or the question as it is.
Asked: TypeAlias = str | Parts | Question


class Moderator(Protocol):
    """A moderator of the operator's own, given as the setting ``moderation_client``."""

    async def moderate(self, question: Question) -> Verdict:
        """Judge *question*; called on any event loop, and cancelled when its time is over.

        Raises:
            ModerationUnavailable: If there is no verdict, with the cause in one word. Any other
                error counts as ``error``.
        """
        ...


class Backend(Protocol):
    """Judges on one event loop."""

    def cut(self, question: Question) -> list[Asked]:
        """The parts in which *question* is judged; all but texts are judged one by one."""
        ...

    async def judge(self, batch: list[Asked], tokens: int, deadline: float) -> list[Verdict]:
        """Judge *batch*, on which about *tokens* were spent, until *deadline*.

        Raises:
            ModerationUnavailable: With the cause.
        """
        ...

    async def aclose(self) -> None:
        """Let go of what is open."""
        ...


class Endpoint:
    """Asks OpenAI's moderation endpoint, or one like it, over *transport*."""

    def __init__(self, transport: Transport, budget: Budget) -> None:
        self._transport = transport
        self._budget = budget

    def cut(self, question: Question) -> list[Asked]:
        """Texts that a request can carry, and each image in a request of its own."""
        texts = cut(question.text)
        images = question.images
        parts: list[Asked] = [mixed(texts[0] if texts else None, image) for image in images]
        # the first text is judged with each of the images
        return [*parts, *(texts[1:] if images else texts)]

    async def judge(self, batch: list[Asked], tokens: int, deadline: float) -> list[Verdict]:
        """Send one request for all of *batch*."""
        asked: Any = batch[0] if len(batch) == 1 else batch
        return read(await call(self._transport, asked, deadline, self._budget, tokens), len(batch))

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()


class Own:
    """Asks the operator's own *moderator*, a whole question at a time."""

    def __init__(self, moderator: Moderator) -> None:
        self._moderator = moderator

    def cut(self, question: Question) -> list[Asked]:
        """The question as it is: only the moderator knows what it can take."""
        return [question]

    async def judge(self, batch: list[Asked], tokens: int, deadline: float) -> list[Verdict]:  # noqa: ARG002  # not retried, so not spent on again
        """Let the moderator judge the one question of *batch*."""
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                verdict: Any = await self._moderator.moderate(cast("Question", batch[0]))
        except TimeoutError:
            raise ModerationUnavailable("timeout") from None
        if not _is_verdict(verdict):
            raise ModerationUnavailable("malformed")
        return [verdict]

    async def aclose(self) -> None:
        """Leave the moderator open: it is the operator's."""


def find_moderator(client: object) -> Moderator | None:
    """*client* if it is a ``Moderator``.

    Raises:
        SettingsError: If it has a ``moderate`` that is no coroutine function.
    """
    moderate = getattr(client, "moderate", None)
    if moderate is None:
        return None
    if not inspect.iscoroutinefunction(moderate):
        raise SettingsError(
            "moderation_client",
            f"the moderate() of {type(client).__name__} is not asynchronous",
            "Write it as async def moderate(self, question).",
        )
    return cast("Moderator", client)


def _is_verdict(verdict: Any) -> bool:
    if not isinstance(verdict, Verdict):
        return False
    flags, scores = cast("Any", verdict.flags), cast("Any", verdict.scores)
    if not isinstance(flags, AbstractSet) or not isinstance(scores, Mapping):
        return False
    return all(0 <= score <= 1 for score in verdict.scores.values())  # false for NaN as well
