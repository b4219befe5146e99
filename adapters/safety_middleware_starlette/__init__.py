"""Starlette, FastAPI and any other ASGI app: ``app.add_middleware(SafetyMiddleware)``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

from safety_middleware.marks import exempt
from safety_middleware.marks import protect as _protect

from ._middleware import SafetyMiddleware

__all__ = ["SafetyMiddleware", "exempt", "protect"]

F = TypeVar("F", bound=Callable[..., Any])


@overload
def protect(endpoint: F, /) -> F: ...


@overload
def protect(**fields: Any) -> Callable[[F], F]: ...


def protect(endpoint: Any = None, /, **fields: Any) -> Any:
    """Mark an endpoint as protected: ``@protect`` or ``@protect(max_output_tokens=300)``.

    The middleware enforces it; a marked endpoint that is reached without the middleware raises
    ``EndpointUnprotected``. On a class, ``dispatch`` is what is marked.

    Args:
        endpoint: The endpoint, where the decorator is used bare.
        fields: Fields of ``Policy``; the rest is inherited from the app's default policy.

    Raises:
        SettingsError: If a field is unknown or its value impossible.
    """
    decorate: Callable[[Any], Any] = _protect("dispatch", fields)
    return decorate if endpoint is None else decorate(endpoint)
