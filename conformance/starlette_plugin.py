"""A pytest plugin: SafetyMiddleware in every app that the tests of Starlette or FastAPI build."""
# ruff: noqa: INP001  # no package

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

from modes import chosen, ready
from starlette.applications import Starlette
from starlette.middleware import Middleware

from safety_middleware_starlette import SafetyMiddleware


def install(kind: type[Starlette], settings: Callable[[], dict[str, Any]]) -> None:
    """Add the middleware while an app of *kind* builds its stack, innermost, and leave no trace."""
    bare: Callable[[Starlette], Any] = kind.build_middleware_stack

    def build(app: Starlette) -> Any:
        app.user_middleware.append(Middleware(SafetyMiddleware, **settings()))
        try:
            return bare(app)
        finally:
            app.user_middleware.pop()

    kind.build_middleware_stack = build  # type: ignore[assignment, method-assign]  # an app of the tests


install(Starlette, chosen)
if importlib.util.find_spec("fastapi") is not None:
    from fastapi import FastAPI

    # Its tests count which tasks wait for what in the first request of apps whose lifespan never ran
    ready()
    install(FastAPI, ready)
