"""What all event loops of a process share: breaker, budget, cache, and the reports of trouble."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Lock
from typing import TypeAlias

from safety_middleware.errors import SettingsError

from .backend import Backend, Endpoint, Own, find_moderator
from .breaker import Breaker
from .budget import Budget
from .cache import Cache
from .endpoint import find_endpoint
from .meter import Meter
from .settings import DeskSettings

__all__ = ["OnDegraded", "Service"]

#: Told the service's name and the cause, or ``recovered``.
OnDegraded: TypeAlias = Callable[[str, str], None]

_log = logging.getLogger("safety_middleware.moderation")
# the operator's to mend: key, permissions, address, model
_SETUP = frozenset(
    {"http_401", "http_403", "http_404", *(f"http_{status}" for status in range(300, 400))}
)
# the request's own fault, or nobody's: no word about the service's health
_NEUTRAL = frozenset({"http_400", "http_413", "http_422"})
_REPORT_EVERY = 60.0
# the budget is short until it was not for so long, in seconds: all of it is new then
_SPELL = 60.0


class Service:
    """The moderation service as this process knows it. Thread-safe."""

    def __init__(self, settings: DeskSettings, on_degraded: OnDegraded | None) -> None:
        self.settings = settings
        self.breaker = Breaker(
            settings.breaker_failures, settings.breaker_window, settings.breaker_rest
        )
        self.budget = Budget(settings.requests, settings.tokens, settings.share)
        self.cache = Cache(settings.cache_size, settings.cache_ttl)
        self.meter = Meter()
        self._on_degraded = on_degraded
        self._open: Callable[[], Backend] | None = None
        self._lock = Lock()
        self._degraded = False
        self._reported = -_REPORT_EVERY
        self._short = -_SPELL

    def start(self) -> Callable[[], Backend]:
        """Import the client and resolve where to send to, once; return what opens a backend.

        Raises:
            SettingsError: If the settings and the environment don't fit.
        """
        if self._open is None:
            self._open = self._opener()
        return self._open

    def open(self) -> Backend:
        """Open what judges on the running loop.

        Raises:
            SettingsError: If the settings and the environment don't fit.
        """
        return self.start()()

    def answered(self, seconds: float) -> None:
        """Count a full answer after *seconds*."""
        self.meter.took(seconds)
        self.breaker.succeeded()
        with self._lock:
            recovered = self._degraded and not self.breaker.open and not self._is_short()
            if recovered:
                self._degraded = False
        if recovered:
            _log.warning("moderation answers again")
            self._tell("recovered")

    def failed(self, cause: str) -> None:
        """Count a call that ended without verdict, because of *cause*."""
        if cause in _NEUTRAL:
            self.breaker.succeeded()
            return
        if cause in _SETUP:
            self._shout(cause, "check its key, permissions, URL and model")
        if self.breaker.failed():
            self._degraded = True
            _log.warning("moderation keeps failing (%s): not asked for a while", cause)
            self._tell("breaker_open")

    def ran_short(self) -> None:
        """Count a required question that the budget had no room for in time."""
        with self._lock:
            news = not self._is_short()
            self._short = time.monotonic()
            self._degraded = True
        if news:
            _log.warning("the moderation budget is spent: required checks fail")
            self._tell("budget")

    def _is_short(self) -> bool:
        return time.monotonic() - self._short < _SPELL

    def misconfigured(self, error: SettingsError) -> None:
        """Report settings under which nothing can be sent."""
        self._shout("misconfigured", str(error))

    def _shout(self, cause: str, remedy: str) -> None:
        with self._lock:
            now = time.monotonic()
            if now - self._reported < _REPORT_EVERY:
                return
            self._reported = now
            self._degraded = True
        _log.error("moderation does not work (%s): %s", cause, remedy)
        self._tell(cause)

    def _tell(self, cause: str) -> None:
        if self._on_degraded is None:
            return
        try:
            self._on_degraded("moderation", cause)
        except Exception as error:
            # the operator's hook must not cost anyone their verdict
            _log.error("on_degraded failed: %s", type(error).__name__)

    def _opener(self) -> Callable[[], Backend]:
        settings = self.settings
        budget = self.budget
        own = find_moderator(settings.client)
        if own is not None:
            return lambda: Own(own)
        if settings.client is not None:
            from .sdk import SdkTransport, check_client  # noqa: PLC0415  # heavy, at start only

            check_client(settings.client)
            return lambda: Endpoint(SdkTransport(settings), budget)
        from .http import HttpTransport  # noqa: PLC0415  # heavy, at start only

        endpoint = find_endpoint(settings)
        return lambda: Endpoint(HttpTransport(endpoint, settings), budget)
