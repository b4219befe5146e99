"""The seam through which model calls go: identifier, output cap, and the end of refused turns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from safety_middleware.turn import current_turn

from ._endpoints import SAFETY_HEADER
from ._unbound import Unbound, set_unbound

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

    from ._clients import GuardedAsyncHttpClient, GuardedHttpClient

__all__ = [
    "GuardedAsyncHttpClient",
    "GuardedHttpClient",
    "Unbound",
    "guard_client",
    "safety_headers",
    "set_unbound",
]

T = TypeVar("T", bound="OpenAI | AsyncOpenAI")


def guard_client(client: T, *, unbound: Unbound | None = None) -> T:
    """A copy of *client* whose model calls are guarded; everything else about it stays.

    ::

        client = guard_client(OpenAI())

    Inside a turn each model call carries the turn's safety identifier and at most its output cap,
    waits for the verdict where the turn's hold says so, and raises ``ContentBlocked`` instead of
    being sent, or is ended, when the turn is refused. Outside a turn nothing changes.

    Args:
        client: ``OpenAI``, ``AsyncOpenAI`` or one of Azure's. With an HTTP client of the app's
            own, the copy uses the same connections; else it gets its own.
        unbound: What becomes of model calls outside a turn: ``"warn"``, ``"raise"`` or a safety
            identifier to send; None: what ``unbound_calls`` says.

    Raises:
        SettingsError: If *unbound* is impossible.
        TypeError: If *client* is none of the SDK's.
    """
    from ._clients import guard  # noqa: PLC0415  # imports the SDK, which whoever has a client did

    return guard(client, unbound)


def safety_headers() -> dict[str, str]:
    """The header that names the current turn's end user, for realtime and WebSocket sessions.

    ``client.realtime.connect(model=…, extra_headers=safety_headers())``: those don't go through
    the HTTP client.

    Raises:
        NoCurrentTurn: If no turn runs here, or it has no identity.
    """
    return {SAFETY_HEADER: current_turn().safety_identifier}


def __getattr__(name: str) -> Any:
    """Import the SDK only where one of its subclasses is asked for."""
    if name in {"GuardedAsyncHttpClient", "GuardedHttpClient"}:
        from . import _clients  # noqa: PLC0415

        return getattr(_clients, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
