from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


@pytest.fixture
def alone() -> dict[str, str]:
    """An environment that says nothing of keys or settings."""
    names = ("SAFETY_", "OPENAI_", "COV_", "COLUMNS")
    return {name: value for name, value in os.environ.items() if not name.startswith(names)}


@pytest.fixture
def serve(tmp_path: Path, port: int, alone: dict[str, str]) -> Iterator[Callable[[str], str]]:
    """Runs an example as its docstring says, in a directory of its own; gives its address."""
    servers: list[subprocess.Popen[bytes]] = []

    def start(name: str) -> str:
        place = str(EXAMPLES / f"{name}_app")
        command = {
            "starlette": ["-m", "uvicorn", "app:app", "--app-dir", place, "--port", str(port)],
            "flask": [
                *("-m", "gunicorn", "--threads", "20", "--chdir", place),
                *("--bind", f"127.0.0.1:{port}", "app:app"),
            ],
        }[name]
        environment = {
            **alone,
            "SAFETY_STORE": f"sqlite:///{tmp_path}/safety.db",
            "SAFETY_SECRET": "s" * 32,
        }
        with (tmp_path / "server.log").open("wb") as log:
            server = subprocess.Popen(
                [sys.executable, *command], cwd=tmp_path, env=environment, stdout=log, stderr=log
            )
        servers.append(server)
        _await_port(port, server)
        return f"http://127.0.0.1:{port}"

    yield start
    for server in servers:
        server.terminate()
        server.wait(20)


def _await_port(port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert server.poll() is None, "the example ended"
        time.sleep(0.1)  # another process: there is nothing to wait on but its port
    raise TimeoutError("the example did not start")
