"""Servers in processes of their own, before the stand-in for the API in this one."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from safety_middleware.testing import FakeOpenAI

from . import client, serve

ROOT = Path(__file__).parents[2]
BAD = "please explain [[violence]]"
COMPLAINTS = (
    "never retrieved",
    "it is pending",
    "was never awaited",
    "Unexpected ASGI message",
    "ResourceWarning",
    "Exception ignored",
    "Exception in callback",
)
"""What a server's log says when something was left behind or went wrong unseen."""
_users = count()


@dataclass
class Site:
    """A served probe app."""

    server: str
    port: int
    fake: FakeOpenAI
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def asgi(self) -> bool:
        return self.server in serve.ASGI

    def ask(self, path: str, message: str | None = None, user: str | None = None) -> client.Answer:
        """One turn, by default of a user who has not been here."""
        return asyncio.run(client.ask(self.port, *self.turn(path, message, user)))

    def ask_all(
        self, turns: Iterable[tuple[str, str, str]], at_once: int = 1000
    ) -> list[client.Answer]:
        """Many at once."""
        return asyncio.run(client.ask_all(self.port, turns, at_once))

    def turn(
        self, path: str, message: str | None = None, user: str | None = None
    ) -> tuple[str, str, str]:
        """Path, words that have not been said yet, and a user who has not been here."""
        number = next(_users)
        said = f"{message or 'words number'} {number}"
        return path, said, user or f"user-{number}"

    def open(
        self, path: str, message: str | None = None, user: str | None = None, *, keep: bool = False
    ) -> client.Turn:
        """One turn, to be read step by step."""
        turn = client.Turn(self.port)
        turn.send(*self.turn(path, message, user), keep=keep)
        return turn

    def send(self, raw: bytes) -> client.Answer:
        """Send the very bytes of a request."""
        with client.Turn(self.port) as turn:
            turn.send_raw(raw)
            return turn.rest()

    def send_half(self, path: str) -> None:
        """Leave after half of a request's body."""
        with client.Turn(self.port) as turn:
            turn.send_raw(client.request(*self.turn(path))[:-8])

    def release(self, user: str) -> None:
        """Let go on what waits in the app for this user."""
        with client.Turn(self.port) as turn:
            turn.send("/release", "", user)
            assert turn.answer().status == 200

    def get(self, path: str) -> Any:
        wanted = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", headers={"connection": "close"}
        )
        with urllib.request.urlopen(wanted, timeout=20) as answer:
            return json.load(answer)

    def at_work(self) -> dict[str, Any]:
        return dict(self.get("/at-work"))

    def at_rest(self, like: dict[str, Any]) -> None:
        """Wait until the process has no more tasks and connections than *like*, and none at work.

        Raises:
            AssertionError: If it does not come to rest.
        """
        deadline = time.monotonic() + 10
        while True:
            now = self.at_work()
            tasks = {name: n for name, n in now["tasks"].items() if n > like["tasks"].get(name, 0)}
            if not tasks and not now["busy"] and now["sockets"] <= like["sockets"]:
                return
            assert time.monotonic() < deadline, (tasks, now, like)
            time.sleep(0.02)  # another process: there is nothing to wait on

    def background(self, user: str, what: str) -> int:
        """How often the background task of this user's turns has ``begun`` or is ``done``."""
        return int(self.at_work()["background"].get(f"{user} {what}", 0))

    def wait_for_background(self, user: str) -> None:
        """Wait until a background task of this user's turns is done."""
        self.until(lambda: self.background(user, "done") > 0)

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so in the server's process."""
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.02)  # another process: there is nothing to wait on

    def records(self, number: int) -> list[list[Any]]:
        """The latest records: identity, reason, status, aborted calls."""
        return list(self.get(f"/records?count={number}"))


@contextmanager
def served(server: str, fake: FakeOpenAI, place: Path) -> Generator[Site]:
    """Run *server* on a socket that listens already, so that nothing has to be waited for."""
    names = ("SAFETY_", "OPENAI_", "COV_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    environment |= {
        "PROBE_OPENAI": fake.base_url,
        "PROBE_STORE": f"sqlite:///{place}/{server}.db",
    }
    if not server.startswith("gunicorn"):  # which leaves the inherited socket unclosed itself
        environment["PYTHONWARNINGS"] = "always::ResourceWarning"
    log = place / f"{server}.log"
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener, log.open("wb") as out:
        os.set_inheritable(listener.fileno(), True)
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.servers.serve", server, str(listener.fileno())],
            cwd=ROOT,
            env=environment,
            stdout=out,
            stderr=out,
            pass_fds=[listener.fileno()],
        )
        site = Site(server, listener.getsockname()[1], fake, process, log)
    try:
        site.at_work()
        yield site
    finally:
        process.terminate()
        process.wait(20)
    said = log.read_text()
    assert not [complaint for complaint in COMPLAINTS if complaint in said], said[-4000:]


@pytest.fixture(scope="session")
def shared_fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture
def fake(shared_fake: FakeOpenAI) -> FakeOpenAI:
    """The stand-in, as if it were new."""
    shared_fake.heal()
    shared_fake.clear()
    shared_fake.moderation_latency = shared_fake.first_token_latency = 0.0
    shared_fake.token_interval = 0.0
    shared_fake.reply = ["secret "] * 20
    return shared_fake


@pytest.fixture(scope="session")
def site_of(
    shared_fake: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Site]]:
    """Gives the site of a server; one runs at a time, and as long as tests ask for it."""
    current: list[tuple[Site, Any]] = []

    def close() -> None:
        if current:
            current.pop()[1].__exit__(None, None, None)

    def site_of(server: str) -> Site:
        if not current or current[0][0].server != server:
            close()
            context = served(server, shared_fake, tmp_path_factory.mktemp("site"))
            current.append((context.__enter__(), context))
        return current[0][0]

    yield site_of
    close()


@pytest.fixture(scope="session", params=[*serve.ASGI, *serve.WSGI])
def server(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def site(server: str, site_of: Callable[[str], Site], fake: FakeOpenAI) -> Site:
    return site_of(server)
