"""One contract, every adapter: the fixtures behind it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from safety_middleware import Policy, Safety, Settings
from safety_middleware.store import Record
from safety_middleware.testing import FakeOpenAI

from . import apps, serving

FRAMEWORKS: dict[str, apps.Build] = {
    "starlette": apps.starlette,
    "fastapi": apps.fastapi,
    "flask": apps.flask,
    "quart": apps.quart,
    "litestar": apps.litestar,
}
ROUTES = ("/chat", "/chat/model", "/chat/stream", "/chat/fails", "/api/v1/chat")


@dataclass
class Site:
    """A served app, with what a test needs to know about it."""

    framework: str
    http: httpx.Client
    url: str
    seen: apps.Seen
    safety: Safety
    fake: FakeOpenAI

    def say(self, text: Any, path: str = "/chat", **more: Any) -> httpx.Response:
        """Send one message, as JSON."""
        return self.http.post(path, json={"message": text}, **more)

    def records(self, count: int = 1) -> list[Record]:
        """All records, the latest first; a turn is settled after its reply, so wait for *count*."""
        deadline = time.monotonic() + 10
        while True:
            assert self.safety.store.flush()
            found = self.safety.store.latest()
            if len(found) >= count:
                return found
            assert time.monotonic() < deadline, f"only {len(found)} of {count} records"
            threading.Event().wait(0.005)

    @property
    def marks(self) -> bool:
        """Whether marks are seen: not where the router is out of sight."""
        return self.framework in {"starlette", "fastapi", "flask"}


Open = Callable[..., Site]


@pytest.fixture
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as served:
        yield served


@pytest.fixture(params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def site(framework: str, fake: FakeOpenAI, tmp_path: Path) -> Iterator[Open]:
    """Opens the app of one framework under given policy fields and settings."""
    with ExitStack() as stack:

        def open_site(settings: dict[str, Any] | None = None, **policy: Any) -> Site:
            rules: dict[str, Any] = {
                "anonymous_limits": "1000/minute",
                "address_limits": None,
                **policy,
            }
            given: dict[str, Any] = {
                "routes": ROUTES,
                "secret": "s" * 64,
                "openai_api_key": "sk-test",
                "openai_base_url": fake.base_url,
                "store": f"sqlite:///{tmp_path}/records.db",
                **(settings or {}),
            }
            safety = Safety(Settings(policy=Policy(**rules), **given))
            stack.callback(safety.close)
            built = FRAMEWORKS[framework](safety, fake.base_url)
            serve = serving.wsgi if framework == "flask" else serving.asgi
            url = stack.enter_context(serve(built.app))
            http = stack.enter_context(httpx.Client(base_url=url, timeout=30))
            return Site(framework, http, url, built.seen, safety, fake)

        yield open_site
