"""The guarded HTTP clients, and guarding a client of the SDK that exists already."""

from __future__ import annotations

import asyncio
import copy
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, cast

import openai

from ._seam import Seam
from ._unbound import Unbound, checked

if TYPE_CHECKING:
    import httpx2  # the names of the types; what runs is whatever the SDK brings

__all__ = ["GuardedAsyncHttpClient", "GuardedHttpClient", "guard"]

T = TypeVar("T", bound="openai.OpenAI | openai.AsyncOpenAI")


class GuardedHttpClient(openai.DefaultHttpxClient):
    """The SDK's own HTTP client, with every model call guarded: ``OpenAI(http_client=…)``.

    Takes the arguments of ``openai.DefaultHttpxClient``, and:

    Args:
        unbound: What becomes of model calls outside a turn; None: the process's default.
    """

    def __init__(self, *, unbound: Unbound | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.safety_seam = Seam(None if unbound is None else checked(unbound))

    def build_request(self, method: str, url: httpx2.URL | str, **options: Any) -> httpx2.Request:
        """Build a request; a model call gets its identifier and cap."""
        request: httpx2.Request = self.safety_seam.build(
            super().build_request, method, url, options
        )
        return request

    def send(
        self, request: httpx2.Request, *, stream: bool = False, **options: Any
    ) -> httpx2.Response:
        """Send a request; a model call waits for the verdict and ends with a refusal.

        Raises:
            ContentBlocked: If the turn is refused.
        """
        response: httpx2.Response = self.safety_seam.send(super().send, request, stream, options)
        return response


class GuardedAsyncHttpClient(openai.DefaultAsyncHttpxClient):
    """``GuardedHttpClient`` for ``AsyncOpenAI(http_client=…)``."""

    def __init__(self, *, unbound: Unbound | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.safety_seam = Seam(None if unbound is None else checked(unbound))

    def build_request(self, method: str, url: httpx2.URL | str, **options: Any) -> httpx2.Request:
        """Build a request; a model call gets its identifier and cap."""
        request: httpx2.Request = self.safety_seam.build(
            super().build_request, method, url, options
        )
        return request

    async def send(
        self, request: httpx2.Request, *, stream: bool = False, **options: Any
    ) -> httpx2.Response:
        """Send a request; a model call waits for the verdict and ends with a refusal.

        Raises:
            ContentBlocked: If the turn is refused.
        """
        response: httpx2.Response = await self.safety_seam.asend(
            super().send, request, stream, options
        )
        return response


class _OwnHttpClient(GuardedHttpClient):
    """Stands for a client the SDK made for itself: closed with its last user, like that one."""

    def __del__(self) -> None:
        with suppress(Exception):  # what is half made or half gone has nothing to close
            self.close()


class _OwnAsyncHttpClient(GuardedAsyncHttpClient):
    """The asynchronous twin."""

    def __del__(self) -> None:
        with suppress(Exception):
            if not self.is_closed:
                asyncio.get_running_loop().create_task(self.aclose())


def guard(client: T, unbound: Unbound | None) -> T:
    """A copy of the SDK's *client* whose model calls are guarded.

    Raises:
        SettingsError: If *unbound* is impossible.
        TypeError: If *client* is none of the SDK's.
    """
    kinds: Any = (openai.OpenAI, openai.AsyncOpenAI)
    if not isinstance(client, kinds):
        raise TypeError(f"{type(client).__name__} is no OpenAI client; AsyncOpenAI and Azure's are")
    # the SDK has no public name for the HTTP client it was given or made
    inner: Any = getattr(client, "_client")  # noqa: B009
    options: dict[str, Any] = {"base_url": client.base_url, "timeout": client.timeout}
    made_by_sdk = type(inner).__module__.partition(".")[0] == "openai"
    if made_by_sdk and type(inner).__name__ == "SyncHttpxClientWrapper":
        guarded: Any = _OwnHttpClient(unbound=unbound, **options)
    elif made_by_sdk and type(inner).__name__ == "AsyncHttpxClientWrapper":
        guarded = _OwnAsyncHttpClient(unbound=unbound, **options)
    else:
        guarded = _guarded_copy(inner, None if unbound is None else checked(unbound))
    return cast("T", client.with_options(http_client=guarded))


def _guarded_copy(inner: Any, unbound: Unbound | None) -> Any:
    """A copy of the app's own HTTP client over the same connections."""
    if hasattr(inner, "safety_seam"):
        return inner
    guarded = copy.copy(inner)
    if hasattr(inner, "__del__"):  # else the copy's end would close the original's connections
        guarded.__class__ = _without_end(type(inner))
    seam = Seam(unbound)
    # bound to the copy, or what the app itself put in their place
    build, send = guarded.build_request, guarded.send

    def build_request(method: str, url: Any, **options: Any) -> Any:
        return seam.build(build, method, url, options)

    def send_request(request: Any, *, stream: bool = False, **options: Any) -> Any:
        return seam.send(send, request, stream, options)

    async def send_async(request: Any, *, stream: bool = False, **options: Any) -> Any:
        return await seam.asend(send, request, stream, options)

    guarded.build_request = build_request
    guarded.send = send_async if hasattr(inner, "aclose") else send_request
    guarded.safety_seam = seam
    guarded.safety_original = inner  # lives as long as its connections are used
    return guarded


def _without_end(kind: Any) -> Any:
    class Copy(kind):  # type: ignore[misc]  # the app's own class
        def __del__(self) -> None:
            pass

    return Copy
