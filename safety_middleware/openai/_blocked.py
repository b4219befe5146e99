"""How a refusal gets through the SDK.

Up to 3.0 at least, the SDK takes any error of ``send`` for a broken connection: it sleeps, tries
again and at last raises its own ``APIConnectionError``. What ``raise_for_status`` raises it leaves
alone, in every version. So its requests are answered with a response that raises there.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any, NoReturn

from safety_middleware.decision import Decision
from safety_middleware.errors import ContentBlocked
from safety_middleware.turn import Turn

__all__ = ["blocked_answer", "refuse"]


def refuse(turn: Turn) -> None:
    """Go on only if *turn* is not refused.

    Raises:
        ContentBlocked: If it is.
    """
    refusal = turn.refusal
    if refusal is not None:
        raise ContentBlocked(refusal) from None


def blocked_answer(request: Any, blocked: ContentBlocked) -> Any:
    """What ``send`` answers to a *request* of the SDK whose turn was refused.

    Raises:
        ContentBlocked: If the request is not the SDK's.
    """
    if "x-stainless-lang" not in request.headers:
        raise blocked
    # the HTTP client that made the request, whichever the SDK brings, is loaded and has both
    client = sys.modules[type(request).__module__.partition(".")[0]]
    return _answer_class(client.Response)(request, blocked.decision)


@cache
def _answer_class(base: Any) -> Any:
    class BlockedAnswer(base):  # type: ignore[misc]  # known only when the client is
        """No answer: raises where the SDK asks whether it is a good one."""

        def __init__(self, request: Any, decision: Decision) -> None:
            base.__init__(self, 400, request=request)  # no redirect, not retried, no new login
            self._decision = decision

        def raise_for_status(self) -> NoReturn:
            raise ContentBlocked(self._decision) from None

    return BlockedAnswer
