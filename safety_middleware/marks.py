"""``protect`` and ``exempt``, framework-free: marks on endpoints, and the wrapper that can't be idle."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

from ._checks import is_a
from .errors import EndpointUnprotected, SettingsError
from .policy import Policy, policy_fields
from .settings import nearest

__all__ = ["Mark", "exempt", "find_mark", "protect", "reached"]

F = TypeVar("F", bound=Callable[..., Any])
_ATTRIBUTE = "__safety_mark__"
_reached: ContextVar[bool] = ContextVar("safety_middleware_reached", default=False)


@dataclass(frozen=True, slots=True)
class Mark:
    """What ``protect`` or ``exempt`` wrote on an endpoint.

    Attributes:
        policy: The rules given to ``protect``; None for ``exempt``.
    """

    policy: Policy | None


class reached:  # noqa: N801  # used as a function; a class costs a third of a generator
    """Note, for the code inside the block, that a middleware guards the endpoint it calls."""

    __slots__ = ("_token",)

    def __enter__(self) -> None:
        self._token = _reached.set(True)

    def __exit__(self, *_: object) -> None:
        _reached.reset(self._token)


def find_mark(endpoint: Any) -> Mark | None:
    """The mark on *endpoint*, on what it wraps, or on the function behind a partial or method."""
    seen = 0
    while endpoint is not None and seen < 50:  # noqa: PLR2004  # a chain this long is a loop
        mark = getattr(endpoint, _ATTRIBUTE, None)
        if isinstance(mark, Mark):
            return mark
        inner = getattr(endpoint, "__wrapped__", None) or getattr(endpoint, "func", None)
        endpoint = inner or getattr(endpoint, "view_class", None)
        seen += 1
    return None


def protect(dispatch: str, fields: dict[str, Any]) -> Callable[[F], F]:
    """A decorator that marks an endpoint as protected, with *fields* of a ``Policy``.

    An endpoint that is also marked with ``exempt`` stays exempt, in whichever order.

    Args:
        dispatch: Name of the method through which the framework enters a class-based view.
        fields: Fields of ``Policy``; the rest is inherited from the app's default policy.

    Raises:
        SettingsError: If a field is unknown or its value impossible.
    """
    for name in fields:
        if name not in policy_fields():
            raise SettingsError(
                f"protect({name}=…)", "no such field", nearest(name, policy_fields())
            )
    mark = Mark(Policy(**fields))

    def decorate(endpoint: F) -> F:
        if _is_exempt(_own_mark(endpoint)):
            return endpoint
        setattr(endpoint, _ATTRIBUTE, mark)
        if is_a(endpoint, type):
            setattr(endpoint, dispatch, _checked(getattr(endpoint, dispatch)))
            return endpoint
        wrapper: F = _checked(endpoint)
        setattr(wrapper, _ATTRIBUTE, mark)
        return wrapper

    return decorate


def exempt(endpoint: F) -> F:
    """Mark *endpoint* as never protected, whatever the routes say."""
    setattr(endpoint, _ATTRIBUTE, Mark(None))
    return endpoint


def _own_mark(endpoint: Any) -> Mark | None:
    # a class inherits the mark of its base, and may have one of its own
    if isinstance(endpoint, type):
        return vars(endpoint).get(_ATTRIBUTE)
    return find_mark(endpoint)


def _is_exempt(mark: Mark | None) -> bool:
    return mark is not None and mark.policy is None


def _check(endpoint: Any, wrapper: Any, args: tuple[Any, ...]) -> None:
    if _reached.get() or _is_exempt(find_mark(wrapper)):
        return
    if args and _is_exempt(find_mark(type(args[0]))):  # a class bears its mark itself
        return
    raise EndpointUnprotected(
        f"{getattr(endpoint, '__qualname__', 'an endpoint')} is marked with protect, but no "
        "SafetyMiddleware guards this app: add it with app.add_middleware(SafetyMiddleware), or "
        "SafetyMiddleware(app) for Flask"
    )


def _checked(endpoint: Any) -> Any:
    """A wrapper of the same kind and signature that refuses to run unguarded."""
    if inspect.isasyncgenfunction(endpoint):

        @functools.wraps(endpoint)
        async def streamed(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            _check(endpoint, streamed, args)
            async with aclosing(endpoint(*args, **kwargs)) as pieces:
                async for piece in pieces:
                    yield piece

        return streamed
    if inspect.iscoroutinefunction(endpoint):

        @functools.wraps(endpoint)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            _check(endpoint, awaited, args)
            return await endpoint(*args, **kwargs)

        return awaited
    if inspect.isgeneratorfunction(endpoint):

        @functools.wraps(endpoint)
        def generated(*args: Any, **kwargs: Any) -> Iterator[Any]:
            _check(endpoint, generated, args)
            yield from endpoint(*args, **kwargs)

        return generated

    @functools.wraps(endpoint)
    def called(*args: Any, **kwargs: Any) -> Any:
        _check(endpoint, called, args)
        return endpoint(*args, **kwargs)

    return called
