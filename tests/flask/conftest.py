"""Guarded apps, their records, and a stand-in for OpenAI."""

from __future__ import annotations

import queue
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from openai import OpenAI

from safety_middleware import Safety
from safety_middleware.openai import guard_client
from safety_middleware.store import Record
from safety_middleware.testing import FakeOpenAI
from safety_middleware_flask import SafetyMiddleware

SECRET = "0123456789abcdef" * 4
OFF: dict[str, Any] = {"limits": None, "anonymous_limits": None, "address_limits": None}


@dataclass
class Site:
    """An app under guard, and what its turns left behind."""

    app: Flask
    safety: Safety
    _records: queue.Queue[Record]
    client: FlaskClient = field(init=False)

    def __post_init__(self) -> None:
        self.client = self.app.test_client()

    def record(self) -> Record:
        return self._records.get(timeout=5)

    def no_record(self) -> bool:
        self.safety.hooks.close()  # has the hooks of all settled turns called
        return self._records.empty()

    def post(self, message: str = "hello", path: str = "/chat", **kwargs: Any) -> Any:
        return self.client.post(path, json={"message": message}, buffered=True, **kwargs)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        monkeypatch.setenv("OPENAI_API_KEY", "any")
        monkeypatch.setenv("OPENAI_BASE_URL", fake.base_url)
        yield fake


@pytest.fixture
def model(fake: FakeOpenAI) -> Iterator[OpenAI]:
    with OpenAI(base_url=fake.base_url, api_key="any", max_retries=0) as client:
        yield guard_client(client)


@pytest.fixture
def guard(
    fake: FakeOpenAI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Site]]:
    """Guards an app; keywords are settings, limits are off unless given."""
    monkeypatch.chdir(tmp_path)
    opened: list[Safety] = []

    def make(app: Flask, *, limits_on: bool = False, **settings: Any) -> Site:
        app.testing = True
        records: queue.Queue[Record] = queue.Queue()
        given: dict[str, Any] = {
            "secret": SECRET,
            "on_decision": records.put,
            **({} if limits_on else OFF),
        }
        middleware = SafetyMiddleware(app, **{**given, **settings})
        opened.append(middleware.safety)
        return Site(app, middleware.safety, records)

    yield make
    for safety in opened:
        safety.close()


@pytest.fixture
def gated() -> Callable[..., Any]:
    """Calls a WSGI app by hand: ``(status, headers, iterable, events)``."""

    @contextmanager
    def call(app: Any, environ: dict[str, Any]) -> Generator[Any]:
        events: list[Any] = []

        def start(status: str, headers: Any, exc_info: Any = None) -> Any:
            events.append((status, headers))
            return events.append

        iterable = app(environ, start)
        try:
            yield iterable, events
        finally:
            close = getattr(iterable, "close", None)
            if close is not None:
                close()

    return call
