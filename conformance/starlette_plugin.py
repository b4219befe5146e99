"""A pytest plugin that puts SafetyMiddleware into every app that Starlette's own tests build.

``CONFORMANCE_MODE`` chooses: ``unprotected`` (no route is), or ``observed`` (every route is, in
``observe``, limits off, a fixed user, moderation answered by a stub).
"""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import Future
from typing import Any

from safety_middleware_starlette import SafetyMiddleware
from starlette.applications import Starlette
from starlette.middleware import Middleware

from safety_middleware.moderation import Desk, Question
from safety_middleware.verdict import Verdict

MODE = os.environ["CONFORMANCE_MODE"]
STORE = tempfile.mkdtemp(prefix="safety-conformance-")
COMMON: dict[str, Any] = {
    "secret": "0" * 64,
    "openai_api_key": "sk-conformance",
    "store": f"sqlite:///{STORE}/records.db",
}
OBSERVED: dict[str, Any] = {
    "routes": ["/*"],
    "methods": ("*",),
    "observe": True,
    "reply": "off",
    "limits": None,
    "anonymous_limits": None,
    "address_limits": None,
    "user": lambda _request: "conformance",
}


def answer(_desk: Desk, _question: Question) -> Future[Verdict]:
    future: Future[Verdict] = Future()
    future.set_result(Verdict(frozenset(), {}))
    return future


Desk.ask = answer  # type: ignore[method-assign]
bare = Starlette.build_middleware_stack


def build(app: Starlette) -> Any:
    chosen = {**COMMON, **(OBSERVED if MODE == "observed" else {"routes": []})}
    app.user_middleware.append(Middleware(SafetyMiddleware, **chosen))
    try:
        return bare(app)
    finally:
        app.user_middleware.pop()


Starlette.build_middleware_stack = build  # type: ignore[method-assign]
