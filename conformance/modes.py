"""What SafetyMiddleware is given in each mode, and moderation that needs no network."""
# ruff: noqa: INP001  # no package, and nothing here is called by name

from __future__ import annotations

import os
from concurrent.futures import Future
from functools import cache
from typing import Any

from safety_middleware import Safety
from safety_middleware.identity import Identity
from safety_middleware.loading import load
from safety_middleware.moderation import Desk, Question
from safety_middleware.standing import Standing
from safety_middleware.verdict import Verdict

__all__ = ["chosen", "ready"]

MODE = os.environ["CONFORMANCE_MODE"]
COMMON: dict[str, Any] = {
    "secret": "0" * 64,
    "openai_api_key": "sk-conformance",
    "store": f"sqlite:///{os.environ['CONFORMANCE_STORE']}/records.db",
}
MODES: dict[str, dict[str, Any]] = {
    "unprotected": {"routes": []},
    "observed": {
        "routes": ["/*"],
        "methods": ("*",),
        "observe": True,
        "reply": "off",
        "limits": None,
        "anonymous_limits": None,
        "address_limits": None,
        "user": lambda *_request: "conformance",
    },
}


def chosen() -> dict[str, Any]:
    """The keyword arguments of SafetyMiddleware in the mode of this process."""
    return {**COMMON, **MODES[MODE]}


@cache
def _started() -> Safety:
    engine = Safety(load(chosen()).settings)
    engine.start()
    return engine


def ready() -> dict[str, Any]:
    """The same as one engine that has been started, as it is behind a server's lifespan."""
    return {"safety": _started()}


def answer(_desk: Desk, _question: Question, **_who: object) -> Future[Verdict]:
    future: Future[Verdict] = Future()
    future.set_result(Verdict(frozenset(), {}))
    return future


Desk.ask = Desk.ask_from_thread = answer  # type: ignore[assignment, method-assign]  # in place of the network


def known(_safety: Safety, _identity: Identity) -> Standing:
    return Standing()


# In place of a thread that reads the database: which of two turns that come together goes first is
# the thread's choice the first time an identity is met, and one test looks at that order.
Safety.aload_standing = known  # type: ignore[method-assign]
