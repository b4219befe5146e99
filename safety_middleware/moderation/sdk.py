"""Moderation through the operator's own OpenAI client. Imports openai, so it is imported at start."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import openai

from safety_middleware.errors import ModerationUnavailable, SettingsError

from .settings import DeskSettings
from .transport import Input, LostError, Reply

if TYPE_CHECKING:
    from openai._legacy_response import LegacyAPIResponse

__all__ = ["SdkTransport", "check_client"]

# threads for a blocking client, per event loop; each call's own timeout ends it
_THREADS = 16


def check_client(client: object) -> openai.OpenAI | openai.AsyncOpenAI:
    """Return *client* if it is one of the SDK's.

    Raises:
        SettingsError: If it is not.
    """
    if isinstance(client, openai.OpenAI | openai.AsyncOpenAI):
        return client
    raise SettingsError(
        "client",
        f"{type(client).__name__} is no OpenAI client",
        "Hand in OpenAI() or AsyncOpenAI().",
    )


class SdkTransport:
    """Sends through the operator's client, once per attempt; its own retries are off."""

    def __init__(self, settings: DeskSettings) -> None:
        client = check_client(settings.client)
        self._client = client.with_options(max_retries=0)
        self._model = settings.model
        self._pool: ThreadPoolExecutor | None = None
        if isinstance(client, openai.OpenAI):
            self._pool = ThreadPoolExecutor(_THREADS, "safety-moderation-sdk")

    async def post(self, asked: Input, seconds: float) -> Reply:
        """Send one request; *seconds* are left for it.

        Raises:
            LostError: If no answer came over the connection.
            ModerationUnavailable: If the SDK can make nothing of the answer.
        """
        try:
            raw = await self._create(asked, seconds)
        except openai.APIStatusError as error:
            return Reply(error.status_code, error.response.headers, b"")
        except openai.APITimeoutError:
            raise ModerationUnavailable("timeout") from None
        except openai.APIConnectionError:
            raise LostError(idle=False) from None
        except openai.OpenAIError:
            raise ModerationUnavailable("malformed") from None
        return Reply(raw.status_code, raw.headers, raw.content)

    async def _create(self, asked: Input, seconds: float) -> LegacyAPIResponse[Any]:
        client = self._client
        asks: dict[str, Any] = {"model": self._model, "input": asked, "timeout": seconds}
        if isinstance(client, openai.AsyncOpenAI):
            return await client.moderations.with_raw_response.create(**asks)
        create = partial(client.moderations.with_raw_response.create, **asks)
        return await asyncio.get_running_loop().run_in_executor(self._pool, create)

    async def aclose(self) -> None:
        """Let go of the threads; the operator's client stays open."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
