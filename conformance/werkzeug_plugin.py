"""A pytest plugin: every app that Werkzeug's own tests call is called through a guarded Flask app.

Werkzeug has no app class, so that each becomes the ``wsgi_app`` of a Flask app, as apps do with
middlewares of their own. No rule of Flask's is ever reached: what is tested is that environ,
``start_response`` and reply pass through.
"""
# ruff: noqa: D103, INP001  # no package, and nothing here is called by name

from __future__ import annotations

from functools import wraps
from typing import Any

import werkzeug.test
from flask import Flask
from modes import chosen

from safety_middleware_flask import SafetyMiddleware

bare = werkzeug.test.run_wsgi_app


@wraps(bare)
def run_wsgi_app(app: Any, *args: Any, **kwargs: Any) -> Any:
    around = Flask(__name__)
    around.wsgi_app = app  # type: ignore[method-assign]
    SafetyMiddleware(around, **chosen())
    return bare(around, *args, **kwargs)


werkzeug.test.run_wsgi_app = run_wsgi_app
