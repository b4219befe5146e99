"""The apps that stand in the places of protected routes, and send their requests to be guarded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from safety_middleware.marks import reached
from safety_middleware.routes import Routes
from safety_middleware.turn import Route

__all__ = ["KEY", "Leaf", "Opaque"]

KEY = "safety_middleware"
"""The scope's key under which a leaf finds the middleware that the request came through."""
Guard = Callable[[Route, ASGIApp, Scope, Receive, Send], Awaitable[None]]


class Leaf:
    """A protected route's app."""

    def __init__(self, owner: object, guard: Guard, route: Route, app: ASGIApp) -> None:
        self.owner = owner
        self.route = route
        self.app = app
        self._guard = guard
        self._methods = None if "*" in route.policy.methods else frozenset(route.policy.methods)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get(KEY) is not self.owner:
            await self.app(scope, receive, send)  # this request did not come through it
            return
        protected = self._methods is None or scope["method"] in self._methods
        with reached():
            if protected:
                await self._guard(self.route, self.app, scope, receive, send)
            else:
                await self.app(scope, receive, send)


class Opaque:
    """An ASGI app whose router we can't see: its protected paths are told by the decoded path."""

    def __init__(self, owner: object, guard: Guard, routes: Routes, app: ASGIApp) -> None:
        self.owner = owner
        self.app = app
        self._guard = guard
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = None
        if scope.get(KEY) is self.owner and scope["type"] == "http":
            route = self._route(scope)
        with reached():
            if route is None:
                await self.app(scope, receive, send)
            else:
                await self._guard(route, self.app, scope, receive, send)

    def _route(self, scope: Scope) -> Route | None:
        path, root = scope["path"], scope.get("root_path", "")
        route = self._routes.of_path(path)
        if route is None and root and path.startswith(root):
            route = self._routes.of_path(path[len(root) :])
        methods = () if route is None else route.policy.methods
        return route if "*" in methods or scope["method"].upper() in methods else None
