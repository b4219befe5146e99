"""Finding the leaf routes of an app, so that what the router resolves is what is guarded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute
from starlette.types import ASGIApp

from safety_middleware import SettingsError
from safety_middleware.marks import find_mark
from safety_middleware.routes import Routes, protects
from safety_middleware.turn import Route as ProtectedRoute

from ._leaves import Leaf

__all__ = ["Binding", "find_router"]

Wrap = Callable[[ASGIApp], Leaf]
WrapOpaque = Callable[[ASGIApp], ASGIApp]


@dataclass(slots=True)
class _Place:
    """One place where an app hangs that answers requests.

    Attributes:
        holder: The object that holds the app.
        template: The full template, mounts included.
        endpoint: The function or class behind it, which may be marked.
        methods: The methods it answers, or None for all.
        websocket: It is a WebSocket route.
        opaque: It is another ASGI app that we can't look into.
        attribute: The name of the attribute that holds it.
    """

    holder: Any
    template: str
    endpoint: Any = None
    methods: frozenset[str] | None = None
    websocket: bool = False
    opaque: bool = False
    attribute: str = "app"


@dataclass(slots=True)
class _Known:
    """What became of an app that was found.

    Attributes:
        holder: The object that holds it, so that its id stays its own.
        templates: Where it was found, and the protected route that it is there, or None.
        leaf: What was put in its place if it is protected somewhere.
        by_path: Its requests are told by their paths.
    """

    holder: Any
    templates: dict[str, ProtectedRoute | None] = field(
        default_factory=dict[str, "ProtectedRoute | None"]
    )
    leaf: Leaf | None = None
    by_path: bool = False


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
        self._lists: list[tuple[Any, list[Any], list[Any]]] = []
        self._included: list[tuple[Any, Any]] = []
        self._known: dict[tuple[int, str], _Known] = {}
        self.names: dict[str, ProtectedRoute] = {}

    def grown(self) -> bool:
        """True when a route was added or replaced since the last walk, or none was walked yet."""
        if not self._lists:
            return True
        for owner, routes, seen in self._lists:
            if owner.routes is not routes or routes != seen:  # the same objects compare at once
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
        try:
            for place in self._places(self._router, ""):
                templates.append(place.template)
                self._bind(place)
            self._routes.missing(templates)
        except BaseException:
            self._lists = []  # what was not walked is not guarded: the next request walks again
            raise

    def _bind(self, place: _Place) -> None:
        key = id(place.holder), place.attribute
        known = self._known.setdefault(key, _Known(place.holder))
        if place.template in known.templates or known.by_path:
            return
        mark = find_mark(place.endpoint)
        route = None if place.opaque else self._routes.of_template(place.template, mark)
        if place.opaque:
            by_path = self._routes.below(place.template)
        else:
            by_path = route is None and mark is None and self._routes.crosses(place.template)
        if by_path:
            self._set(place, self._wrap_opaque(self._app(place)))
            known.by_path = True
        elif route is not None and not self._answers(place, route, marked=mark is not None):
            route = None
        if route is not None and known.leaf is None:
            known.leaf = self._wrap(self._app(place))
            self._set(place, known.leaf)
            for template, there in known.templates.items():
                known.leaf.add(template, there)
        known.templates[place.template] = route
        if known.leaf is not None:
            known.leaf.add(place.template, route)
        if route is not None:
            self.names[route.name] = route

    def _answers(self, place: _Place, route: ProtectedRoute, *, marked: bool) -> bool:
        """Whether a protected route answers requests that are protected."""
        if place.websocket:
            if route.policy.observe:
                return False
            raise SettingsError(
                "routes",
                f"{place.template!r} is a WebSocket route, which can't be protected",
                "Mark its endpoint with @exempt, or leave it out of the patterns.",
            )
        methods = place.methods
        if methods is None or any(protects(route.policy, each, body=False) for each in methods):
            return True
        if marked:
            raise SettingsError(
                "methods",
                f"{place.template!r} is marked with protect and answers only "
                f"{', '.join(sorted(methods))}, which are not protected methods",
                'Name them: @protect(methods=("GET",)).',
            )
        return False

    def _inside(self, place: _Place) -> Any:
        """The holder of a route's app, inside the route's own limit on what we read."""
        holder = place.holder
        while isinstance(getattr(holder, place.attribute), RequestBodyLimitMiddleware):
            holder = getattr(holder, place.attribute)
        return holder

    def _app(self, place: _Place) -> ASGIApp:
        app: ASGIApp = getattr(self._inside(place), place.attribute)
        return app

    def _set(self, place: _Place, app: ASGIApp) -> None:
        setattr(self._inside(place), place.attribute, app)

    def _places(self, owner: Any, prefix: str) -> Iterator[_Place]:
        router = getattr(owner, "router", owner)
        routes = router.routes
        self._lists.append((router, routes, list(routes)))
        for route in list(routes):
            yield from self._under(route, prefix)
        if router.default != router.not_found:
            yield _Place(router, prefix, opaque=True, attribute="default")

    def _under(self, route: Any, prefix: str) -> Iterator[_Place]:
        if isinstance(route, Mount | Host):
            below = prefix + (route.path if isinstance(route, Mount) else "")
            inner = find_router(route.app)
            if inner is not None:
                yield from self._places(inner, below)
            else:
                yield _Place(route, below, opaque=True)
        elif isinstance(route, Route):
            methods = None if route.methods is None else frozenset(route.methods)
            yield _Place(route, prefix + route.path, route.endpoint, methods)
        elif isinstance(route, WebSocketRoute):
            yield _Place(route, prefix + route.path, route.endpoint, websocket=True)
        elif hasattr(route, "effective_candidates"):
            yield from self._effective(route, prefix)
        else:  # a kind of route we don't know
            template = prefix + getattr(route, "path", "")
            yield _Place(route, template, opaque=True, attribute="handle")

    def _effective(self, included: Any, prefix: str) -> Iterator[_Place]:
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
                yield _Place(candidate, prefix + candidate.path, candidate.endpoint, methods)
