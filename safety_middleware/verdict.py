"""What a moderation model said of a content, and waiting for it from a thread or a task."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["Verdict", "wait"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a moderation model said, before any policy looks at it.

    Attributes:
        flags: The categories the model itself flags.
        scores: Category -> score, 0 to 1, for every category the model answered.
        model: The model that answered, as it names itself.
    """

    flags: frozenset[str]
    scores: Mapping[str, float]
    model: str = ""


async def wait(future: Future[T]) -> T:
    """Wait for a thread-safe *future* in a task; cancelling the task leaves the future alone.

    ``asyncio.wrap_future`` would do, but cancels the shared future with the one task that waits,
    and goes through the loop's self-pipe even where the answer comes on the loop's own thread.

    Raises:
        Exception: Whatever the future carries.
    """
    if not future.done():
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not waiter.done():
                waiter.set_result(None)

        def answered(_: Future[T]) -> None:
            if asyncio._get_running_loop() is loop:  # noqa: SLF001  # public name raises instead
                wake()
            else:
                with suppress(RuntimeError):  # the loop has closed, and with it whoever waited
                    loop.call_soon_threadsafe(wake)

        future.add_done_callback(answered)
        await waiter
    return future.result()
