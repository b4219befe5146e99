"""The extension: takes each request to a protected rule of a Flask app through its turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from types import new_class
from typing import TYPE_CHECKING, Any, TypeVar, overload
from weakref import WeakKeyDictionary

from flask import Flask, current_app
from flask.typing import ResponseReturnValue

from safety_middleware import Safety, SettingsError
from safety_middleware.safety import engine

from ._guard import Guard
from ._marks import exempt, protect

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

__all__ = ["SafetyMiddleware"]

F = TypeVar("F", bound=Callable[..., Any])
_KEY = "safety_middleware"
"""Our key in ``app.extensions``."""


class SafetyMiddleware:
    """Guards the chat routes of Flask apps: ``SafetyMiddleware(app)``, or ``init_app(app)``.

    Args:
        app: The app; or none, and ``init_app`` later, for as many apps as there are.
        safety: A ready engine to share; else each app gets one, made from *settings*.
        settings: Every field of ``Settings`` and, for the default policy, of ``Policy``. What is
            not given comes from ``app.config["SAFETY_*"]``, then ``SAFETY_*``, then
            ``safety.toml``, then the defaults.

    Raises:
        SettingsError: If a setting is unknown or impossible.
    """

    def __init__(
        self, app: Flask | None = None, *, safety: Safety | None = None, **settings: Any
    ) -> None:
        self._given = safety
        self._settings = settings
        self._engines: WeakKeyDictionary[Flask, Safety] = WeakKeyDictionary()
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Guard *app*; settings are read and the engine is started now.

        Raises:
            SettingsError: If a setting is wrong, or something else guards the app already.
        """
        if app in self._engines:
            return
        if _KEY in app.extensions:
            raise SettingsError(
                "SafetyMiddleware", "guards this app already", "Keep one of the two."
            )
        safety = engine(self._given, self._settings, config=app.config)
        safety.start()
        app.extensions[_KEY] = guard = Guard(safety, app)
        self._engines[app] = safety
        for name in ("wsgi_app", "preprocess_request", "dispatch_request"):
            if name in vars(app):  # put there by someone else: theirs runs inside ours
                setattr(app, name, partial(getattr(guard, name), app, vars(app)[name]))
        kind: Any = type(app)
        app.__class__ = _guarded_class(kind)

    @overload
    @staticmethod
    def protect(view: F, /) -> F: ...
    @overload
    @staticmethod
    def protect(**fields: Any) -> Callable[[F], F]: ...
    @staticmethod
    def protect(*view: Any, **fields: Any) -> Any:
        """The module's ``protect``: ``@safety.protect(max_output_tokens=300)``."""
        return protect(*view, **fields)

    @staticmethod
    def exempt(view: F) -> F:
        """The module's ``exempt``."""
        return exempt(view)

    @property
    def safety(self) -> Safety:
        """The engine of the current app, or of the only one.

        Raises:
            SettingsError: If there is no app yet, or one has to be chosen.
        """
        if self._given is not None:
            return self._given
        chosen: Safety | None = None
        if current_app:
            guard: Guard | None = current_app.extensions.get(_KEY)
            chosen = None if guard is None else guard.safety
        elif len(self._engines) == 1:
            chosen = next(iter(self._engines.values()))
        if chosen is None:
            raise SettingsError(
                "safety", "which app's engine is not clear", "Ask inside app.app_context()."
            )
        return chosen


class _Guarded(Flask):
    """The overrides. A class, because on the instance they would have to hold the app.

    Strongly, it would never be freed by its count; weakly, it would be gone where someone keeps
    nothing but its ``wsgi_app``.
    """

    def wsgi_app(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        guard: Guard = self.extensions[_KEY]
        return guard.wsgi_app(self, super().wsgi_app, environ, start_response)

    def preprocess_request(self) -> ResponseReturnValue | None:
        guard: Guard = self.extensions[_KEY]
        return guard.preprocess_request(self, super().preprocess_request)

    def dispatch_request(self) -> ResponseReturnValue:
        guard: Guard = self.extensions[_KEY]
        return guard.dispatch_request(self, super().dispatch_request)


@lru_cache(maxsize=64)
def _guarded_class(kind: Any) -> Any:
    """*kind* of Flask with the overrides in front, under the same name."""
    names = {n: getattr(kind, n) for n in ("__module__", "__qualname__", "__doc__")}
    return new_class(kind.__name__, (_Guarded, kind), exec_body=lambda space: space.update(names))
