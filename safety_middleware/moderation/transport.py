"""The port behind which moderation requests are sent, and one call through it with its retry."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from safety_middleware.errors import ModerationUnavailable

from .budget import Budget
from .parts import Parts
from .quota import retry_after

__all__ = ["Input", "LostError", "Reply", "Transport", "call"]

#: What a request asks about: one text, several texts, or a text with an image.
Input: TypeAlias = str | list[str] | Parts

#: The longest answer read, in bytes: 32 results are 50 kB.
MAX_BODY = 4 * 1024 * 1024
# what the OpenAI SDK retries as well (``_base_client.py``, ``_should_retry``), and 5xx
_RETRIED = frozenset({408, 409, 429})
# between the attempts, in seconds, when the service names no time
_PAUSE = (0.1, 0.3)


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer, whatever its status."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class LostError(Exception):
    """The connection could not be made, or ended before the answer.

    Attributes:
        idle: It may have been a kept connection that the other side had closed.
    """

    def __init__(self, *, idle: bool) -> None:
        super().__init__()
        self.idle = idle


class Transport(Protocol):
    """Sends moderation requests on one event loop."""

    async def post(self, asked: Input, seconds: float) -> Reply:
        """Send one request; *seconds* are left for it.

        Raises:
            LostError: If no answer came over the connection.
            ModerationUnavailable: If there is no use in trying again.
        """
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...


async def call(
    transport: Transport, asked: Input, deadline: float, budget: Budget, tokens: int
) -> bytes:
    """Send *asked*, at most twice, until *deadline* by ``time.monotonic()``; return the body.

    The first attempt has been spent on; a second one, of *tokens* again, is spent on here.

    Raises:
        ModerationUnavailable: With the cause.
    """
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            return await _attempts(transport, asked, deadline, budget, tokens)
    except TimeoutError:
        raise ModerationUnavailable("timeout") from None


async def _attempts(
    transport: Transport, asked: Input, deadline: float, budget: Budget, tokens: int
) -> bytes:
    tries = 0
    while True:
        tries += 1
        try:
            reply = await transport.post(asked, deadline - time.monotonic())
        except LostError as lost:
            cause, pause = "connection", 0.0 if lost.idle else random.uniform(*_PAUSE)
        else:
            budget.heard(reply.status, reply.headers, tokens)
            if 200 <= reply.status < 300:  # noqa: PLR2004  # the class of success
                return reply.body
            cause, pause = f"http_{reply.status}", _pause(reply)
        if tries > 1 or time.monotonic() + pause >= deadline:
            raise ModerationUnavailable(cause)
        await asyncio.sleep(pause)
        if not budget.again(tokens):
            raise ModerationUnavailable(cause)


def _pause(reply: Reply) -> float:
    """Seconds until *reply*'s request may be sent again; infinite if it is no use."""
    again = reply.status in _RETRIED or reply.status >= 500  # noqa: PLR2004  # the class of errors
    if not again or reply.headers.get("x-should-retry") == "false":
        return math.inf
    named = retry_after(reply.headers)
    return random.uniform(*_PAUSE) if named is None else named
