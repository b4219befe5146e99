"""``protect`` and ``exempt`` for Flask's views: functions, coroutines and classes."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar, overload

from safety_middleware.marks import exempt, reached
from safety_middleware.marks import protect as _protect

__all__ = ["Reached", "exempt", "protect"]

F = TypeVar("F", bound=Callable[..., Any])


@overload
def protect(view: F, /) -> F: ...
@overload
def protect(**fields: Any) -> Callable[[F], F]: ...
def protect(view: Callable[..., Any] | None = None, /, **fields: Any) -> Any:
    """Mark a view as protected: ``@protect`` or ``@protect(max_output_tokens=300)``.

    The middleware enforces it; a marked view that is reached without the middleware raises
    ``EndpointUnprotected``. On a view class, ``dispatch_request`` is what is marked; on a method
    of a ``MethodView`` the mark counts for that method alone.

    Args:
        view: The view, where the decorator is used bare.
        fields: Fields of ``Policy``; the rest is inherited from the app's default policy.

    Raises:
        SettingsError: If a field is unknown or its value impossible.
    """
    decorate = _protect("dispatch_request", fields)
    return decorate if view is None else decorate(view)


class Reached:
    """What a marked view that is a generator function gives: it runs when the view has returned."""

    def __init__(self, pieces: Generator[Any, None, Any]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Reached:
        """Itself: it is an iterator."""
        return self

    def __next__(self) -> Any:
        """The next piece."""
        with reached():
            piece = next(self._pieces, self)
        if piece is self:
            raise StopIteration
        return piece

    def close(self) -> None:
        """End the generator."""
        self._pieces.close()
