"""Finding the leaf routes of an app, so that what the router resolves is what is guarded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute
from starlette.types import ASGIApp

from safety_middleware import SettingsError
from safety_middleware.marks import find_mark
from safety_middleware.routes import Routes
from safety_middleware.turn import Route as ProtectedRoute

__all__ = ["Binding", "find_router"]

Wrap = Callable[[ProtectedRoute, ASGIApp], ASGIApp]
WrapOpaque = Callable[[ASGIApp], ASGIApp]


@dataclass(slots=True)
class _Leaf:
    """One place where a route's app hangs.

    Attributes:
        owner: The object whose ``app`` attribute it is.
        template: The full template, mounts included.
        endpoint: The function or class behind it, which may be marked.
        methods: The methods it answers, or None for all.
        websocket: It is a WebSocket route.
        opaque: It is another ASGI app that we can't look into.
    """

    owner: Any
    template: str
    endpoint: Any
    methods: frozenset[str] | None
    websocket: bool = False
    opaque: bool = False


def find_router(app: Any) -> Any:
    """The nearest Starlette app or router below *app*, following ``.app``; None without one."""
    seen = 0
    while app is not None and seen < 100:  # noqa: PLR2004  # a stack this deep is a loop
        if isinstance(app, Starlette | Router):
            return app
        app = getattr(app, "app", None)
        seen += 1
    return None


class Binding:
    """Wraps the protected leaves of one app, and notices when the app has grown."""

    def __init__(self, router: Any, routes: Routes, wrap: Wrap, wrap_opaque: WrapOpaque) -> None:
        self._router = router
        self._routes = routes
        self._wrap = wrap
        self._wrap_opaque = wrap_opaque
        self._lists: list[tuple[Any, int]] = []
        self._included: list[tuple[Any, Any]] = []
        self._done: dict[int, Any] = {}
        self.names: dict[str, ProtectedRoute] = {}

    def grown(self) -> bool:
        """True when a route was added since the last walk, or nothing was walked yet."""
        if not self._lists:
            return True
        for routes, count in self._lists:
            if len(routes) != count:
                return True
        return any(router.effective_candidates() is not seen for router, seen in self._included)

    def bind(self) -> None:
        """Walk the app and wrap what is protected and not wrapped yet.

        Raises:
            SettingsError: If a WebSocket route is protected, a marked route has no protected
                method, or a pattern matches nothing.
        """
        self._lists, self._included = [], []
        templates: list[str] = []
        for leaf in self._leaves(self._router, ""):
            templates.append(leaf.template)
            if id(leaf.owner) in self._done and self._done[id(leaf.owner)] is leaf.owner:
                continue
            self._bind(leaf)
        self._routes.missing(templates)

    def _bind(self, leaf: _Leaf) -> None:
        if leaf.opaque:
            if self._routes.below(leaf.template):
                leaf.owner.app = self._wrap_opaque(leaf.owner.app)
                self._done[id(leaf.owner)] = leaf.owner
            return
        mark = find_mark(leaf.endpoint)
        route = self._routes.of_template(leaf.template, mark)
        if route is None:
            return
        if leaf.websocket:
            if route.policy.observe:
                return
            raise SettingsError(
                "routes",
                f"{leaf.template!r} is a WebSocket route, which can't be protected",
                "Mark its endpoint with @exempt, or leave it out of the patterns.",
            )
        wanted = set(route.policy.methods)
        if leaf.methods is not None and "*" not in wanted and not wanted & leaf.methods:
            if mark is not None:
                raise SettingsError(
                    "methods",
                    f"{leaf.template!r} is marked with protect and answers only "
                    f"{', '.join(sorted(leaf.methods))}, which are not protected methods",
                    'Name them: @protect(methods=("GET",)).',
                )
            return
        owner = leaf.owner
        while isinstance(owner.app, RequestBodyLimitMiddleware):
            owner = owner.app  # inside the route's own limit, so that it applies to what we read
        owner.app = self._wrap(route, owner.app)
        self._done[id(leaf.owner)] = leaf.owner
        self.names[route.name] = route

    def _leaves(self, owner: Any, prefix: str) -> Iterator[_Leaf]:
        routes = owner.routes
        self._lists.append((routes, len(routes)))
        for route in list(routes):
            yield from self._under(route, prefix)

    def _under(self, route: Any, prefix: str) -> Iterator[_Leaf]:
        if isinstance(route, Mount | Host):
            below = prefix + (route.path if isinstance(route, Mount) else "")
            inner = find_router(route.app)
            if inner is not None:
                yield from self._leaves(inner, below)
            else:
                yield _Leaf(route, below, route.app, None, opaque=True)
        elif isinstance(route, Route):
            methods = None if route.methods is None else frozenset(route.methods)
            yield _Leaf(route, prefix + route.path, route.endpoint, methods)
        elif isinstance(route, WebSocketRoute):
            yield _Leaf(route, prefix + route.path, route.endpoint, None, websocket=True)
        elif hasattr(route, "effective_candidates"):
            yield from self._effective(route, prefix)

    def _effective(self, included: Any, prefix: str) -> Iterator[_Leaf]:
        """FastAPI builds the routes of an included router anew, with an ``app`` of their own."""
        candidates = included.effective_candidates()
        self._included.append((included, candidates))
        for candidate in candidates:
            if hasattr(candidate, "effective_candidates"):
                yield from self._effective(candidate, prefix)
            elif candidate.starlette_route is not None:
                yield from self._under(candidate.starlette_route, prefix)
            elif candidate.app is not None and candidate.endpoint is not None:
                methods = frozenset(candidate.methods) or None
                yield _Leaf(candidate, prefix + candidate.path, candidate.endpoint, methods)
