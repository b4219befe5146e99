"""What all event loops of a process share: breaker, cache, latency, and the reports of trouble."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Lock
from typing import TypeAlias

from safety_middleware.errors import SettingsError

from .breaker import Breaker
from .cache import Cache
from .endpoint import find_endpoint
from .meter import Meter
from .settings import DeskSettings
from .transport import Transport

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


class Service:
    """The moderation service as this process knows it. Thread-safe."""

    def __init__(self, settings: DeskSettings, on_degraded: OnDegraded | None) -> None:
        self.settings = settings
        self.breaker = Breaker(
            settings.breaker_failures, settings.breaker_window, settings.breaker_rest
        )
        self.cache = Cache(settings.cache_size, settings.cache_ttl)
        self.meter = Meter()
        self._on_degraded = on_degraded
        self._open: Callable[[], Transport] | None = None
        self._lock = Lock()
        self._degraded = False
        self._reported = -_REPORT_EVERY

    def start(self) -> Callable[[], Transport]:
        """Import the client and resolve where to send to, once; return what opens a transport.

        Raises:
            SettingsError: If the settings and the environment don't fit.
        """
        if self._open is None:
            self._open = self._opener()
        return self._open

    def open(self) -> Transport:
        """Open a transport for the running loop.

        Raises:
            SettingsError: If the settings and the environment don't fit.
        """
        return self.start()()

    def answered(self, seconds: float) -> None:
        """Count a full answer after *seconds*."""
        self.meter.took(seconds)
        self.breaker.succeeded()
        with self._lock:
            recovered = self._degraded and not self.breaker.open
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

    def _opener(self) -> Callable[[], Transport]:
        settings = self.settings
        if settings.client is not None:
            from .sdk import SdkTransport, check_client  # noqa: PLC0415  # heavy, at start only

            check_client(settings.client)
            return lambda: SdkTransport(settings)
        from .http import HttpTransport  # noqa: PLC0415  # heavy, at start only

        endpoint = find_endpoint(settings)
        return lambda: HttpTransport(endpoint, settings)
