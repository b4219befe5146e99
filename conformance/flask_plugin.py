"""A pytest plugin: SafetyMiddleware in every app that Flask's own tests build."""
# ruff: noqa: D103, INP001  # no package, and nothing here is called by name

from __future__ import annotations

from functools import wraps
from typing import Any

from flask import Flask
from modes import chosen

from safety_middleware_flask import SafetyMiddleware

bare = Flask.__init__


@wraps(bare)
def build(app: Flask, *args: Any, **kwargs: Any) -> None:
    bare(app, *args, **kwargs)
    SafetyMiddleware(app, **chosen())


Flask.__init__ = build  # type: ignore[assignment, method-assign]  # an app of the tests
