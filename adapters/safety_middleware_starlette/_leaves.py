"""The apps that stand in the places of protected routes, and send their requests to be guarded."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from safety_middleware import Safety
from safety_middleware.marks import reached
from safety_middleware.routes import Routes, path_of, protects
from safety_middleware.turn import Route, Turn, find_turn

__all__ = ["KEY", "Guard", "Leaf", "Opaque", "Said", "guarded_already", "mark"]

_log = logging.getLogger("safety_middleware")

KEY = "safety_middleware"
"""The scope's key for the middlewares a request came through: each with its ``root_path`` there."""
Said = tuple[tuple[str, str], ...]
"""Name and text of the variable parts of a path."""
Guard = Callable[[Route, ASGIApp, Scope, Receive, Send, Said], Awaitable[None]]

_BY = "safety_middleware.by"
"""The scope's key for the turns in which a request is, each with its engine."""


def mark(scope: Scope, safety: Safety, turn: Turn) -> None:
    """Note that the request is guarded by *safety* in *turn*."""
    scope[_BY] = (*scope.get(_BY, ()), (safety, turn))


def guarded_already(scope: Scope, safety: Safety, route: Route) -> bool:
    """Whether the request is inside a turn of *safety* under the same rules.

    The scope alone does not tell: one dict may serve two requests, even at once, and what the
    first has left in it must not let the second through.
    """
    marks = scope.get(_BY)
    if not marks:
        return False
    around = find_turn()
    return any(turn is around for _, turn in marks) and any(
        engine is safety and turn.route.scope == route.scope for engine, turn in marks
    )


class Leaf:
    """The app of a route that is protected, at one of its places at least.

    Args:
        owner: The middleware.
        guard: Takes a request through its turn.
        app: The route's own app.
    """

    def __init__(self, owner: object, guard: Guard, app: ASGIApp) -> None:
        self.owner = owner
        self.app = app
        self._guard = guard
        self._places: list[tuple[re.Pattern[str], Route | None]] = []

    def add(self, template: str, route: Route | None) -> None:
        """The app stands at *template*, where it is *route*; None: it is not protected there."""
        self._places.append((path_of(template), route))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.owner not in scope.get(KEY, ()):
            await self.app(scope, receive, send)  # this request did not come through it
            return
        route = self._places[0][1] if len(self._places) == 1 else self._of_path(scope)
        with reached():
            if route is not None and _protects(route, scope):
                await self._guard(route, self.app, scope, receive, send, _said(scope))
            else:
                await self.app(scope, _unread(route, scope, receive), send)

    def _of_path(self, scope: Scope) -> Route | None:
        """The route at the place where the request came in: a sub-app can be mounted twice."""
        path, inner = scope["path"], _inner_path(scope, self.owner)
        for shape, route in self._places:
            if shape.fullmatch(path) or shape.fullmatch(inner):
                return route
        return next((route for _, route in self._places if route is not None), None)


class Opaque:
    """An ASGI app whose router we can't see: its protected paths are told by the decoded path.

    Args:
        owner: The middleware.
        guard: Takes a request through its turn.
        routes: The patterns.
        app: The app.
    """

    def __init__(self, owner: object, guard: Guard, routes: Routes, app: ASGIApp) -> None:
        self.owner = owner
        self.app = app
        self._guard = guard
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ours = self.owner in scope.get(KEY, ())
        route = self._route(scope) if ours and scope["type"] in {"http", "websocket"} else None
        if route is None:  # no ``reached()``: a marked endpoint in there is not guarded
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(route, scope, receive, send)
        else:
            with reached():
                if _protects(route, scope):
                    said = _said(scope, route.name)
                    await self._guard(route, self.app, scope, receive, send, said)
                else:
                    await self.app(scope, _unread(route, scope, receive), send)

    def _route(self, scope: Scope) -> Route | None:
        route = self._routes.of_path(scope["path"])
        return self._routes.of_path(_inner_path(scope, self.owner)) if route is None else route

    async def _websocket(self, route: Route, scope: Scope, receive: Receive, send: Send) -> None:
        if route.policy.observe:
            await self.app(scope, receive, send)
            return
        _log.error(
            "refused a WebSocket below %r: messages can't be checked there; leave it out of the "
            "patterns",
            route.name,
        )
        await receive()
        await send({"type": "websocket.close", "code": 1008})


def _inner_path(scope: Scope, owner: object) -> str:
    """The path without what stood before the middleware; mounts below it are part of templates."""
    path: str = scope["path"]
    return path.removeprefix(scope[KEY][owner])


def _protects(route: Route, scope: Scope) -> bool:
    method = scope["method"]
    return method in route.policy.methods or protects(route.policy, method, body=_has_body(scope))


def _has_body(scope: Scope) -> bool:
    for name, value in scope.get("headers", ()):
        if name == b"transfer-encoding" or (name == b"content-length" and value.strip() != b"0"):
            return True
    return False


def _unread(route: Route | None, scope: Scope, receive: Receive) -> Receive:
    """*receive* for a request that is not protected because it has no body.

    HTTP/2 and 3 need not say beforehand whether one comes: where it does, the app does not get it.
    """
    if route is None or scope.get("http_version", "1.1")[:1] == "1":
        return receive
    if not protects(route.policy, scope["method"], body=True):
        return receive

    async def bodiless() -> Message:
        message = await receive()
        if message["type"] != "http.request":
            return message
        while message.get("more_body"):
            message = await receive()
        return {"type": "http.request", "body": b"", "more_body": False}

    return bodiless


def _said(scope: Scope, pattern: str | None = None) -> Said:
    """What a path says beside its template; where only its *pattern* is known, whatever differs."""
    values = scope.get("path_params")
    said = [(name, v) for name, v in values.items() if isinstance(v, str)] if values else []
    if pattern is not None:
        known = set(pattern.split("/"))
        texts = "/".join(text for _, text in said)
        parts = scope["path"].split("/")
        said += [("path", part) for part in parts if part not in known and part not in texts]
    return tuple(said)
