"""Real databases to keep records in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex

import pytest


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/.safety/safety.db"


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """A database of its own on the server that SAFETY_TEST_POSTGRES names."""
    server = os.environ.get("SAFETY_TEST_POSTGRES")
    if not server:
        pytest.skip("SAFETY_TEST_POSTGRES names no server")
    psycopg = pytest.importorskip("psycopg")
    name = f"safety_test_{token_hex(6)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield f"{server.rpartition('/')[0]}/{name}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found
