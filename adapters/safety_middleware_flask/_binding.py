"""Which of an app's rules are protected, by what Werkzeug's router resolved."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

from flask import Flask, Request
from werkzeug.routing import Rule

from safety_middleware import SettingsError
from safety_middleware.marks import Mark, find_mark
from safety_middleware.routes import Routes, protects
from safety_middleware.turn import Route

__all__ = ["Binding", "Found"]

_log = logging.getLogger("safety_middleware")
_NO_BODY = frozenset({"", "0"})
MOST_KNOWN = 10_000
"""Answers remembered; methods and mount points come from clients, so that they must be bounded."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of one method of one rule.

    Attributes:
        rule: The rule.
        view: Its view function when it was looked at.
        mark: The mark on the view, or None.
        route: The protected route that it is, or None.
        crosses: It is not protected as such, but has paths that a pattern names: ``/<page>``.
    """

    rule: Rule
    view: Any
    mark: Mark | None
    route: Route | None
    crosses: bool = False


class Binding:
    """The protected rules of one app.

    Patterns may name a rule as the app has it, or with the mount point (``SCRIPT_NAME``) before it.
    """

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._known: dict[tuple[int, str, str, bool], Found] = {}
        self._lock = Lock()
        self.bound = False

    def of_request(self, app: Flask, now: Request) -> Found | None:
        """What the rule of a request is for it; None if it has none.

        Raises:
            SettingsError: If it is a protected WebSocket rule.
        """
        rule, root = now.url_rule, now.root_path
        if rule is None:
            return None
        # asked of every request: ``content_length`` would parse it, at the price of all the rest
        body = now.environ.get("CONTENT_LENGTH", "") not in _NO_BODY
        body = body or "HTTP_TRANSFER_ENCODING" in now.environ
        found = self.find(app, rule, now.method, root, body=body)
        if not found.crosses:
            return found
        route = self._routes.of_path(now.path) or self._routes.of_path(root.rstrip("/") + now.path)
        if route is None or not protects(route.policy, now.method, body=body):
            return found
        return replace(found, route=route)

    def find(self, app: Flask, rule: Rule, method: str, root: str, *, body: bool = False) -> Found:
        """What *rule* of *app*, mounted at *root*, is for requests of *method*.

        Raises:
            SettingsError: If it is a protected WebSocket rule.
        """
        view = app.view_functions.get(rule.endpoint)
        found = self._known.get((id(rule), method, root, body))
        if found is None or found.view is not view or found.rule is not rule:
            found = self._look(rule, view, method, root, body=body)
            if len(self._known) < MOST_KNOWN:
                self._known[id(rule), method, root, body] = found
        return found

    def bind(self, app: Flask, beside: Iterable[Flask], root: str) -> None:
        """Look at every rule of *app*, once, when it gets its first request.

        Args:
            app: The app.
            beside: Other apps that share the engine; a pattern may be theirs.
            root: Where *app* is mounted.

        Raises:
            SettingsError: If a WebSocket rule is protected, a marked view has no protected
                method, or a pattern matches nothing.
        """
        with self._lock:
            if self.bound:
                return
            templates: list[str] = []
            names: set[str] = set()
            for each in (app, *beside):
                for rule in each.url_map.iter_rules():
                    templates.append(rule.rule)
                    names.update(self._names(each, rule, root))
            self._routes.missing(templates)
            _log.info("protected routes: %s", ", ".join(sorted(names)) or "none")
            self.bound = True

    def _names(self, app: Flask, rule: Rule, root: str) -> Iterator[str]:
        methods = sorted(rule.methods or ("GET", "POST"))
        found = [self.find(app, rule, method, root) for method in methods]
        routes = [each.route for each in found if each.route is not None]
        marked = any(each.mark is not None and each.mark.policy is not None for each in found)
        if marked and not routes and rule.methods is not None:
            raise SettingsError(
                "methods",
                f"{rule.rule!r} is marked with protect and answers only {', '.join(methods)}, "
                "which are not protected methods",
                'Name them: @protect(methods=("GET",)).',
            )
        yield from (route.name for route in routes)

    def _look(self, rule: Rule, view: Any, method: str, root: str, *, body: bool) -> Found:
        mark = _mark_of(view, method)
        route = self._routes.of_template(rule.rule, mark)
        if route is None and mark is None and root.strip("/"):
            route = self._routes.of_template(root.rstrip("/") + rule.rule)
        if route is not None and rule.websocket:
            if not route.policy.observe:
                raise SettingsError(
                    "routes",
                    f"{rule.rule!r} is a WebSocket route, which can't be protected",
                    "Mark its view with @exempt, or leave it out of the patterns.",
                )
            route = None
        crosses = route is None and mark is None and self._routes.crosses(rule.rule)
        if route is not None and not protects(route.policy, method, body=body):
            route = None
        return Found(rule, view, mark, route, crosses)


def _mark_of(view: Any, method: str) -> Mark | None:
    """The mark on the method of a view class, else on the view or its class."""
    methods = getattr(view, "view_class", None)
    own = getattr(methods, method.lower(), None)
    if own is None and method == "HEAD":
        own = getattr(methods, "get", None)
    return find_mark(own) or find_mark(view)
