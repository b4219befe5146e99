"""What happens to a request on its way through a guarded HTTP client, blocking or not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from safety_middleware import verdict
from safety_middleware.errors import ContentBlocked
from safety_middleware.turn import Turn, find_turn

from ._acalls import AsyncCall
from ._blocked import blocked_answer, refuse
from ._calls import Call, unheld
from ._endpoints import SAFETY_HEADER, Endpoint, endpoint_of
from ._rewrite import Marks
from ._unbound import Unbound, unbound_identifier

__all__ = ["Seam"]

_PASSED = "safety_middleware"
"""Request extension: the ``_Passed`` of a model call that ``build`` has seen."""


class _Passed(NamedTuple):
    """What a request was marked as, and for which turn."""

    endpoint: Endpoint
    turn: Turn | None


class Seam:
    """Guards the ``build_request`` and ``send`` of an HTTP client.

    Args:
        unbound: What becomes of model calls outside a turn; None: the process's default.
    """

    __slots__ = ("_unbound",)

    def __init__(self, unbound: Unbound | None = None) -> None:
        self._unbound = unbound

    def build(self, build: Callable[..., Any], method: str, url: Any, arguments: Any) -> Any:
        """Build a request; a model call gets its identifier and cap.

        Raises:
            ContentBlocked: If the turn is refused already.
            NoCurrentTurn: Outside a turn, if that is to raise.
            SafetyError: If the body can't be read.
        """
        endpoint = endpoint_of(method, str(url))
        if endpoint is None:
            return build(method, url, **arguments)
        turn = find_turn()
        marks = self._marks(turn)
        if marks is not None:
            marks.apply(endpoint, arguments)
        request = build(method, url, **arguments)
        request.extensions[_PASSED] = _Passed(endpoint, turn)
        form = arguments.get("data") is not None or arguments.get("files") is not None
        if (
            marks is not None and endpoint.in_body and not form
        ):  # a length the app sent is wrong now
            request.headers["content-length"] = str(len(request.content))
        return request

    def send(self, send: Callable[..., Any], request: Any, stream: bool, options: Any) -> Any:
        """Send a request; a model call waits for its turn's verdict and ends with a refusal.

        Raises:
            ContentBlocked: If the turn is refused, before or while the call is made.
        """
        turn = find_turn()
        endpoint = endpoint_of(request.method, request.url.path)
        if endpoint is not None and request.extensions.get(_PASSED) != (endpoint, turn):
            body = request.read() if endpoint.in_body else b""
            request = self._remade(endpoint, turn, request, body)
        if endpoint is None or turn is None:
            return unheld(send, request, stream, options)
        try:
            if _must_wait(turn):
                _wait(turn)
            refuse(turn)
            if turn.decided is not None:
                return unheld(send, request, stream, options)
            return Call(turn).run(send, request, stream, options)
        except ContentBlocked as blocked:
            return blocked_answer(request, blocked)

    async def asend(
        self, send: Callable[..., Awaitable[Any]], request: Any, stream: bool, options: Any
    ) -> Any:
        """``send`` for asynchronous clients.

        Raises:
            ContentBlocked: If the turn is refused, before or while the call is made.
        """
        turn = find_turn()
        endpoint = endpoint_of(request.method, request.url.path)
        if endpoint is not None and request.extensions.get(_PASSED) != (endpoint, turn):
            body = await request.aread() if endpoint.in_body else b""
            request = self._remade(endpoint, turn, request, body)
        if endpoint is None or turn is None:
            return await send(request, stream=stream, **options)
        try:
            if _must_wait(turn):
                began = time.monotonic()
                await verdict.wait(turn.admitted)
                _note_wait(turn, began)
            refuse(turn)
            if turn.decided is not None:
                return await send(request, stream=stream, **options)
            return await AsyncCall(turn).run(send, request, stream, options)
        except ContentBlocked as blocked:
            return blocked_answer(request, blocked)

    def _marks(self, turn: Turn | None) -> Marks | None:
        """What a model call of *turn* must carry; None for nothing."""
        if turn is None:
            identifier = unbound_identifier(self._unbound)
            return None if identifier is None else Marks(identifier, None)
        if turn.admit_first is not None:
            turn.admit_first()
        refuse(turn)
        identity = turn.identity
        identifier = None if identity is None else identity.safety_identifier
        return Marks(identifier, turn.max_output_tokens)

    def _remade(self, endpoint: Endpoint, turn: Turn | None, request: Any, body: bytes) -> Any:
        """A model call that was built elsewhere or for another turn, with what it must carry."""
        marks = self._marks(turn)
        if marks is None:
            return request
        if endpoint.identifier == "header" and marks.identifier is not None:
            request.headers[SAFETY_HEADER] = marks.identifier
        if not endpoint.in_body:
            return request
        headers = request.headers.copy()
        for framing in ("content-length", "transfer-encoding"):
            headers.pop(framing, None)
        return type(request)(
            request.method,
            request.url,
            headers=headers,
            content=marks.in_json(endpoint, body),
            extensions=request.extensions,
        )


def _must_wait(turn: Turn) -> bool:
    """Count the call; whether it has to wait for the verdict."""
    turn.guarded_calls += 1
    turn.route.seen_guarded = True
    return turn.hold == "model" and turn.decided is None


def _wait(turn: Turn) -> None:
    began = time.monotonic()
    if turn.ask_again is not None and _on_a_loop():
        turn.route.blocks_loop = True
        turn.decide(turn.ask_again().result())
    else:
        turn.admitted.result()
    _note_wait(turn, began)


def _note_wait(turn: Turn, began: float) -> None:
    waited = round((time.monotonic() - began) * 1000, 1)
    turn.notes["model_wait_ms"] = max(waited, turn.notes.get("model_wait_ms", 0.0))


def _on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
