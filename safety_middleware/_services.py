"""What settings name, made ready when an app starts."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._checks import is_a
from .counters import MemoryLimiter
from .errors import SettingsError
from .moderation import DeskSettings
from .settings import SECRET_COMMAND, Settings
from .store import generated_secret, safety_directory

if TYPE_CHECKING:
    from .ratelimit import AsyncLimiter, Limiter

__all__ = ["desk_settings_of", "limiters_of", "secrets_of", "words_of"]

_log = logging.getLogger("safety_middleware")


def secrets_of(settings: Settings) -> tuple[str | bytes, ...]:
    """The secrets, newest first; one generated into ``.safety/`` outside production.

    ``SAFETY_SECRET`` counts even for ``Settings`` made in code: whoever set it never wants another
    secret generated beside it.

    Raises:
        SettingsError: If there is none in production, or none can be kept.
    """
    if settings.secrets:
        return settings.secrets
    from_environment = os.environ.get("SAFETY_SECRET")
    if from_environment:
        return (from_environment,)
    if settings.production:
        raise SettingsError(
            "secret",
            "no secret is set and production is on",
            f"Make one with: {SECRET_COMMAND} and set it as SAFETY_SECRET.",
        )
    directory = safety_directory(Path.cwd())
    _log.warning(
        "no secret is set: using the one in %s/secret; set SAFETY_SECRET before production",
        directory,
    )
    return (generated_secret(directory),)


def limiters_of(
    settings: Settings, degraded: Callable[[str, str], None]
) -> tuple[Limiter, AsyncLimiter]:
    """The limiters for blocking and for asynchronous apps.

    Raises:
        SettingsError: If the storage's URL can't be used.
    """
    url = settings.limits_storage
    if url.startswith("memory://"):
        alone = MemoryLimiter()
        return alone, alone
    from . import limiters  # noqa: PLC0415  # limits and Redis: at start, not at import

    return limiters.SharedLimiter(url, degraded), limiters.AsyncSharedLimiter(url, degraded)


def words_of(settings: Settings) -> Any:
    """The app's wordlist.

    Raises:
        SettingsError: If it can't be read.
    """
    from .wordlist import WatchedWordlist, Wordlist  # noqa: PLC0415  # the automaton is built at start

    chosen = settings.wordlist
    if chosen is None:
        return Wordlist.default(languages=settings.languages)
    if is_a(chosen, str, os.PathLike):
        return WatchedWordlist(Path(chosen), on_error=_stale)
    return chosen


def _stale(error: SettingsError) -> None:
    _log.error("The changed wordlist can't be used, the old one stays in force: %s", error)


def desk_settings_of(settings: Settings, *, needed: bool) -> DeskSettings:
    """How to moderate; *needed*: some policy does.

    Raises:
        SettingsError: If it is needed and there is no API key.
    """
    key = settings.openai_api_key or os.environ.get("OPENAI_API_KEY")
    if needed and not key and settings.moderation_client is None:
        raise SettingsError(
            "openai_api_key",
            "there is no API key to moderate with",
            "Set OPENAI_API_KEY, or moderation=False to do without moderation.",
        )
    return DeskSettings(
        model=settings.moderation_model,
        timeout=settings.moderation_timeout,
        base_url=settings.openai_base_url,
        api_key=key,
        client=settings.moderation_client,
        requests=settings.moderation_requests,
        tokens=settings.moderation_tokens,
        share=settings.moderation_share,
    )
