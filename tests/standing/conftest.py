from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from safety_middleware.identity import Identity, Keyring, Kind
from safety_middleware.store import Store
from tests.store.conftest import postgres_url, sqlite_url, url

__all__ = ["postgres_url", "sqlite_url", "url"]

SECRET = "0123456789abcdef" * 4


@pytest.fixture
def keyring() -> Keyring:
    return Keyring([SECRET])


@pytest.fixture
def user(keyring: Keyring) -> Identity:
    return keyring.identify(Kind.USER, "ada")


@pytest.fixture
def guest(keyring: Keyring) -> Identity:
    return keyring.identify(Kind.SESSION, "s")


@pytest.fixture
def address(keyring: Keyring) -> Identity:
    return keyring.identify(Kind.ADDRESS, "192.0.2.7")


@pytest.fixture
def opened(url: str) -> Iterator[Any]:
    """Opens stores on one database, each as a process of its own would."""
    stores: list[Store] = []

    def open_store(**options: Any) -> Store:
        stores.append(Store.open(url, base=Path.cwd(), **options))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()
