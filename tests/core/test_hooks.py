from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Iterator

import pytest

from safety_middleware import hooks as hooks_module
from safety_middleware.hooks import Hooks


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    hooks = Hooks()
    yield hooks
    hooks.close()


def test_events_come_in_their_order_on_another_thread(hooks: Hooks) -> None:
    seen: list[tuple[object, ...]] = []
    for number in range(5):
        hooks.call(
            lambda *event: seen.append((threading.current_thread().name, *event)), number, "x"
        )
    hooks.close()
    assert seen == [("safety-hooks", number, "x") for number in range(5)]


def test_a_slow_hook_delays_nobody(hooks: Hooks) -> None:
    go = threading.Event()
    began = time.monotonic()
    hooks.call(go.wait)
    hooks.call(go.wait)
    assert time.monotonic() - began < 1
    go.set()


def test_no_hook_costs_no_thread(hooks: Hooks) -> None:
    hooks.call(None, "event")
    assert "safety-hooks" not in {thread.name for thread in threading.enumerate()}
    hooks.close()


def test_asynchronous_hooks_are_awaited(hooks: Hooks) -> None:
    seen: list[str] = []

    async def hook(event: str) -> None:
        await asyncio.sleep(0)
        seen.append(event)

    hooks.call(hook, "one")
    hooks.close()
    assert seen == ["one"]


@pytest.mark.parametrize("error", [ValueError, SystemExit, asyncio.CancelledError])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_failing_hook_is_logged_and_the_next_event_comes(
    hooks: Hooks,
    caplog: pytest.LogCaptureFixture,
    error: type[BaseException],
    *,
    asynchronous: bool,
) -> None:
    def failing() -> None:
        raise error

    async def afailing() -> None:
        raise error

    seen: list[str] = []
    hooks.call(afailing if asynchronous else failing)
    hooks.call(seen.append, "next")
    hooks.close()
    assert seen == ["next"]
    assert "failing failed" in caplog.text


def test_too_many_waiting_events_are_dropped_with_a_warning(
    hooks: Hooks, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hooks_module, "MAX_WAITING", 2)
    go, begun = threading.Event(), threading.Event()
    seen: list[int] = []

    def slow() -> None:
        begun.set()
        go.wait()

    hooks.call(slow)
    assert begun.wait(5)
    for number in range(4):
        hooks.call(seen.append, number)
    go.set()
    hooks.close()
    assert seen == [0, 1]
    assert caplog.text.count("an event was dropped") == 2


@pytest.mark.parametrize("waiting", [1, 2])
def test_a_hook_that_hangs_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, waiting: int
) -> None:
    monkeypatch.setattr(hooks_module, "MAX_WAITING", 1)
    hooks = Hooks()
    go, begun = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        go.wait()

    hooks.call(hang)
    assert begun.wait(5)
    for _ in range(waiting - 1):
        hooks.call(hang)
    began = time.monotonic()
    hooks.close(timeout=0.05)
    assert time.monotonic() - began < 2
    assert "events were dropped at the end" in caplog.text
    go.set()


def test_after_the_end_a_new_event_begins_anew(hooks: Hooks) -> None:
    seen: list[int] = []
    for number in range(3):
        hooks.call(seen.append, number)
        hooks.close()
    assert seen == [0, 1, 2]
    hooks.close()


def test_a_hook_may_close_what_calls_it(hooks: Hooks, caplog: pytest.LogCaptureFixture) -> None:
    done = threading.Event()

    def closing() -> None:
        hooks.close()
        done.set()

    with caplog.at_level(logging.WARNING):
        hooks.call(closing)
        assert done.wait(5)
    assert not caplog.text


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # since 3.12, with threads
def test_a_forked_child_has_a_thread_of_its_own(hooks: Hooks) -> None:
    hooks.call(lambda: None)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # the parent counts what the child says
        try:
            hooks.close()  # what the parent opened is the parent's
            hooks.call(os.write, writing, b"called")
            hooks.close()
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == b"called"
