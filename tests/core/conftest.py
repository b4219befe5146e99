"""Identities, turns and a guard whose flows are stepped by hand."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from safety_middleware import Policy, Safety, Settings, Turn
from safety_middleware.guard import Cleared, Guard, Sampling
from safety_middleware.identity import Identity, Keyring, Kind
from safety_middleware.moderation import Question
from safety_middleware.standing import Tiers
from safety_middleware.turn import Route
from safety_middleware.verdict import Verdict
from safety_middleware.wordlist import Wordlist

SECRET = "0123456789abcdef" * 4


@pytest.fixture
def keyring() -> Keyring:
    return Keyring([SECRET])


@pytest.fixture
def identity(keyring: Keyring) -> Identity:
    return keyring.identify(Kind.USER, "ada")


@pytest.fixture
def session(keyring: Keyring) -> Identity:
    return keyring.identify(Kind.SESSION, "ada")


@pytest.fixture
def address(keyring: Keyring) -> Identity:
    return keyring.identify(Kind.ADDRESS, "192.0.2.7")


@pytest.fixture
def turn_of(identity: Identity) -> Callable[..., Turn]:
    """Makes a turn of a route; the arguments are fields of its policy."""

    def make(**fields: Any) -> Turn:
        return Turn(Route("/chat", Policy(**fields)), identity)

    return make


class Elsewhere:
    """The other thread's loop: remembers what it was asked, and answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[Question] = []
        self.answer: Future[Verdict] = Future()

    def __call__(self, question: Question) -> Future[Verdict]:
        self.asked.append(question)
        return self.answer


@pytest.fixture
def elsewhere() -> Elsewhere:
    return Elsewhere()


@pytest.fixture
def guard(elsewhere: Elsewhere) -> Guard:
    key = b"k" * 32
    sampling = Sampling(key, lambda _: None)
    return Guard(Wordlist(["gadzooks"]), Cleared(key), elsewhere, sampling, Tiers())


@pytest.fixture
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of its own, and an environment that says nothing of us."""
    for name in list(os.environ):
        if name.startswith(("SAFETY_", "OPENAI_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def engine(clean_environment: Path) -> Iterator[Callable[..., Safety]]:
    """Makes engines that are closed at the end; the arguments are settings."""
    made: list[Safety] = []

    def make(**settings: Any) -> Safety:
        settings = {"secret": SECRET, "openai_api_key": "sk-key", **settings}
        made.append(Safety(Settings(**settings)))
        return made[-1]

    yield make
    for safety in made:
        safety.close()
