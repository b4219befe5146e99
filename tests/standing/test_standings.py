"""The standings of a process, against real databases, shared or away."""

from __future__ import annotations

import asyncio
import json
import math
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from safety_middleware import SettingsError, StorageUnavailable
from safety_middleware.identity import Identity, Keyring, Kind
from safety_middleware.standing import Clean, Lift, Standing, Strike, Suspend
from safety_middleware.store import Store, _identities, _standings

Open = Callable[..., Store]
Told = list[tuple[Any, ...]]
OLD, NEW = "old-secret-" * 4, "new-secret-" * 4


def into(told: Told) -> Callable[..., None]:
    """A hook that writes down what it is told."""

    def hook(*event: Any) -> None:
        told.append(event)

    return hook


def strike(number: int = 1, weight: float = 1.0) -> Strike:
    return Strike(f"req_{number}", time.time(), weight, "hate")


def clean(count: int = 1) -> Clean:
    return Clean(count, time.time(), time.time())


@pytest.fixture
def aging(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that was read is relied on again."""
    monkeypatch.setattr(_standings, "LIFETIME", -1.0)


def tell(store: Store, who: Identity, *events: Any) -> None:
    for event in events:
        store.standings.tell(who.safety_identifier, event)


def test_what_is_told_counts_at_once_and_is_kept(opened: Open, user: Identity) -> None:
    store = opened()
    assert store.standings.load(user) == Standing()
    tell(store, user, clean(), clean(2))
    assert store.standings.load(user).clean_turns == 3
    tell(store, user, strike(), clean())
    assert [s.id for s in store.standings.load(user).strikes] == ["req_1"]
    assert store.flush()
    assert store.standings.waiting == 0
    other = opened()
    assert other.standings.load(user) == store.standings.load(user)
    assert other.standing(user.safety_identifier).clean_turns == 1


def test_it_is_told_before_it_was_ever_read(opened: Open, user: Identity) -> None:
    before = opened()
    tell(before, user, clean(7))
    assert before.flush()
    store = opened()
    tell(store, user, clean())
    assert store.standings.load(user).clean_turns == 8
    assert store.flush()
    assert store.standing(user.safety_identifier).clean_turns == 8


def test_a_known_standing_is_not_read_again(opened: Open, user: Identity) -> None:
    store, other = opened(), opened()
    assert store.standings.load(user) == Standing()
    tell(other, user, strike())
    assert other.flush()
    assert store.standings.cached(user) == store.standings.load(user) == Standing()


@pytest.mark.usefixtures("aging")
def test_processes_agree(opened: Open, user: Identity) -> None:
    stores = [opened() for _ in range(3)]
    for store in stores:
        store.standings.load(user)
        tell(store, user, clean(5))
    assert all(store.flush() for store in stores)
    assert [store.standings.load(user).clean_turns for store in stores] == [15, 15, 15]
    for number, store in enumerate(stores):
        tell(store, user, strike(number, 2.0))
    assert all(store.flush() for store in stores)
    for store in stores:
        standing = store.standings.load(user)
        assert (standing.clean_turns, len(standing.strikes)) == (0, 3)
        assert standing.suspended(time.time()), "together they weigh enough"


def test_strikes_of_several_processes_suspend_where_the_last_is_saved(
    opened: Open, user: Identity
) -> None:
    told: Told = []
    first, last = opened(), opened(on_suspend=into(told))
    assert last.standings.load(user) == Standing()
    tell(first, user, strike(1, 4.0))
    assert first.flush()
    tell(last, user, strike(2, 2.0))
    assert last.flush()
    assert [name for name, _ in told] == [user.safety_identifier]
    assert last.standings.load(user).suspended(time.time())


def test_clean_turns_of_many_threads_all_count(opened: Open, user: Identity) -> None:
    store = opened()

    def work() -> None:
        for _ in range(100):
            tell(store, user, clean())
            store.standings.load(user)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert store.flush()
    for thread in threads:
        thread.join()
    assert store.flush()
    assert store.standing(user.safety_identifier).clean_turns == 400


def test_who_is_suspended_is_told_once(opened: Open, user: Identity) -> None:
    told: Told = []
    store = opened(on_suspend=into(told))
    tell(store, user, *(strike(n) for n in range(8)))
    assert store.flush()
    [(name, standing)] = told
    assert name == user.safety_identifier
    assert standing.suspended(time.time())


def test_an_address_is_kept_only_when_it_misbehaves(opened: Open, address: Identity) -> None:
    store = opened()
    tell(store, address, clean())
    assert store.standings.waiting == 0
    tell(store, address, strike())
    assert store.flush()
    assert len(store.standing(address.safety_identifier).strikes) == 1


def test_what_was_known_under_an_older_secret_stays_known(opened: Open) -> None:
    before = Keyring([OLD]).identify(Kind.USER, "ada")
    rotated = Keyring([NEW, OLD]).identify(Kind.USER, "ada")
    store = opened()
    tell(store, before, Suspend(math.inf, time.time(), "why"), clean(3))
    assert store.flush()
    assert store.standings.load(rotated).suspended(time.time())
    tell(store, rotated, Lift(time.time()))
    assert not store.standings.load(rotated).suspended(time.time())
    assert store.flush()
    fresh = opened().standings.load(rotated)
    assert (fresh.suspended_until, fresh.clean_turns) == (None, 3)


def test_who_logs_in_keeps_what_they_did_as_a_guest(
    opened: Open, keyring: Keyring, guest: Identity
) -> None:
    store = opened()
    plain = keyring.identify(Kind.USER, "ada")
    came = Identity(plain.kind, plain.safety_identifier, guest=guest)
    tell(store, guest, strike(1), strike(2))
    assert store.flush()
    other = opened()
    assert len(other.standings.load(came).strikes) == 2
    assert other.standings.waiting == 1
    assert other.flush()
    assert len(other.standings.load(came).strikes) == 2
    assert other.standings.waiting == 0, "once"
    assert len(opened().standings.load(plain).strikes) == 2
    tell(other, guest, strike(3))
    assert len(other.standings.load(came).strikes) == 3
    assert other.standings.cached(came) is not None


def test_a_guest_who_did_nothing_brings_nothing(
    opened: Open, user: Identity, guest: Identity
) -> None:
    store = opened()
    came = Identity(user.kind, user.safety_identifier, guest=guest)
    tell(store, guest, clean(9))
    assert store.standings.load(user) == Standing()
    assert store.standings.cached(came) is None, "the guest was not read yet"
    assert store.standings.load(came) == store.standings.cached(came) == Standing()


async def _awaited(answer: Standing | Awaitable[Standing]) -> Standing:
    return answer if isinstance(answer, Standing) else await answer


def test_an_event_loop_reads_in_a_thread_and_only_what_it_does_not_know(
    opened: Open, user: Identity
) -> None:
    writer = opened()
    tell(writer, user, strike())
    assert writer.flush()
    store = opened()

    async def turn() -> None:
        first = store.standings.aload(user)
        assert not isinstance(first, Standing)
        assert len((await first).strikes) == 1
        assert isinstance(store.standings.aload(user), Standing)

    asyncio.run(turn())
    store.close()
    assert not any(t.name.startswith("safety-standing") for t in threading.enumerate())


def test_what_was_saved_during_a_read_is_not_missed(
    opened: Open, user: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened()
    find = _identities.find
    reads: list[Any] = []

    def slow(*arguments: Any, lock: bool = False) -> Any:
        found = find(*arguments, lock=lock)
        if not lock:
            reads.append(found)
        if len(reads) == 1 and not lock:
            tell(store, user, strike())
            assert store.flush()
        return found

    monkeypatch.setattr(_identities, "find", slow)
    assert len(store.standings.load(user).strikes) == 1
    assert len(reads) == 2


def test_few_are_kept_in_memory_and_nothing_unsaved_is_forgotten(
    opened: Open, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened()
    inside: Any = store.standings
    inside._size = 2

    def idle(*, now: bool) -> None:
        """The writer, asleep."""

    people = [keyring.identify(Kind.USER, name) for name in "abcd"]
    monkeypatch.setattr(inside, "_nudge", idle)
    for who in people:
        tell(store, who, strike())
    assert len(inside._entries) == 2
    assert all(store.standings.load(who).strikes for who in people)
    tell(store, keyring.identify(Kind.USER, "e"), clean())
    assert store.standings.waiting == 4, "there is no room for a stranger's clean turn"


class Gone:
    """Takes a SQLite database away, and gives it back."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def away(self) -> None:
        self.path.parent.rename(self.path.parent.with_name("elsewhere"))
        self.path.parent.write_text("in the way", "utf-8")

    def back(self) -> None:
        self.path.parent.unlink()
        self.path.parent.with_name("elsewhere").rename(self.path.parent)


class TestAway:
    @pytest.fixture
    def told(self) -> Told:
        return []

    @pytest.fixture
    def store(self, sqlite_url: str, told: Told) -> Any:
        store = Store.open(sqlite_url, on_degraded=into(told))
        yield store
        store.close(0.1)

    @pytest.fixture
    def gone(self, sqlite_url: str) -> Gone:
        return Gone(Path(make_url(sqlite_url).database or ""))

    def test_what_is_known_stays_in_force_and_strangers_are_new(
        self,
        store: Store,
        gone: Gone,
        user: Identity,
        guest: Identity,
        *,
        told: Told,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        tell(store, user, Suspend(math.inf, time.time(), ""))
        assert store.flush()
        assert store.standings.load(user).suspended(time.time())
        monkeypatch.setattr(_standings, "LIFETIME", -1.0)
        inside: Any = store.standings
        inside._entries[user.safety_identifier].until = 0.0
        gone.away()
        began = time.monotonic()
        for _ in range(20):
            known, stranger = store.standings.load(user), store.standings.load(guest)
            assert known.suspended(time.time())
            assert known.unread
            assert (stranger, stranger.unread) == (Standing(), True)
        assert time.monotonic() - began < 3
        assert told
        assert {service for service, _ in told} == {"store"}
        came = Identity(user.kind, "u1_" + "b" * 49, guest=user)
        assert store.standings.load(came).suspended(time.time()), "it was a guest we know"

    def test_what_is_told_meanwhile_counts_and_is_saved_afterwards(
        self, store: Store, gone: Gone, user: Identity
    ) -> None:
        store.standings.load(user)
        gone.away()
        tell(store, user, clean(3), Suspend(math.inf, time.time(), "why"))
        assert not store.flush(0.2)
        assert store.standings.waiting == 1
        tell(store, user, clean(2))
        assert store.standings.load(user).suspended(time.time())
        gone.back()
        assert store.flush(10)
        kept = store.standing(user.safety_identifier)
        assert (kept.clean_turns, kept.suspended_until, kept.note) == (5, math.inf, "why")

    def test_an_event_loop_does_not_wait_for_it(
        self, store: Store, gone: Gone, user: Identity
    ) -> None:
        gone.away()

        async def turns() -> None:
            assert (await _awaited(store.standings.aload(user))).unread
            resting = store.standings.aload(user)
            assert isinstance(resting, Standing)
            assert resting.unread

        asyncio.run(turns())

    def test_it_is_asked_again_after_a_rest(
        self, store: Store, gone: Gone, user: Identity, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gone.away()
        assert store.standings.load(user).unread
        gone.back()
        assert store.standings.load(user).unread
        inside: Any = store.standings
        inside._asleep = 0.0
        assert not store.standings.load(user).unread

    def test_rulings_that_must_be_kept_now_say_so(
        self, store: Store, gone: Gone, user: Identity
    ) -> None:
        gone.away()
        with pytest.raises((StorageUnavailable, SettingsError)):
            store.change(user.safety_identifier, Lift(time.time()))
        gone.back()


def test_a_read_waits_for_another_thread_only_shortly(opened: Open, user: Identity) -> None:
    store = opened()
    inside: Any = store.standings
    reading = inside._reading
    reading._patience = 0.05
    with reading._lock:
        assert store.standings.load(user).unread


PROGRAM = """
import sys, time
from safety_middleware.standing import Clean, Strike, Suspend
from safety_middleware.store import Store
url, name, what = sys.argv[1:]
store = Store.open(url)
now = time.time()
for number in range(200):
    store.standings.tell(name, Clean(1, now, now))
if what == "suspend":
    store.standings.tell(name, Suspend(now + 3600, now, "why"))
"""


def test_real_processes_add_up_and_lose_nothing_at_their_end(url: str, user: Identity) -> None:
    name = user.safety_identifier
    running = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", PROGRAM, url, name, what], env={**os.environ}
        )
        for what in ("clean", "clean", "suspend")
    ]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    with Store.open(url) as store:
        standing = store.standing(name)
    assert standing.clean_turns == 600
    assert standing.suspended(time.time())


def test_nothing_but_numbers_and_categories_is_kept(sqlite_url: str, user: Identity) -> None:
    with Store.open(sqlite_url) as store:
        tell(store, user, strike(), Suspend(math.inf, time.time(), "a\0b\ud800"))
        assert store.flush()
        assert store.standing(user.safety_identifier).note == "a\ufffdb?"
    with sqlite3.connect(make_url(sqlite_url).database or "") as database:
        [(strikes,)] = database.execute("SELECT strikes FROM safety_identities")
    database.close()
    assert [set(each) for each in json.loads(strikes)] == [{"id", "at", "weight", "what"}]
