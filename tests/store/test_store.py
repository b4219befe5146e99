from __future__ import annotations

import gc
import math
import shutil
import socket
import sqlite3
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from safety_middleware.decision import Action, Reason
from safety_middleware.errors import SettingsError, StorageUnavailable
from safety_middleware.store import Record, Store, _place
from safety_middleware.store._forks import FORKS, Forks
from safety_middleware.store._place import connect, locate

FULL = Record(
    id="req_0123456789abcdef01234567",
    at=1_700_000_000.25,
    route="/api/chat/{id}",
    method="POST",
    identity="u1_" + "x" * 49,
    kind="user",
    tier="known",
    hold="reply",
    action=Action.REFUSE,
    reason=Reason.CONTENT_BLOCKED,
    detail="hate/threatening",
    observed=True,
    checked=("limits", "caps", "wordlist", "moderation"),
    skipped={"images": "none"},
    scores={"hate": 0.25, "self-harm/intent": 1e-7},
    categories=("hate",),
    input_chars=4_000,
    images=2,
    guarded_calls=1,
    aborted_calls=1,
    added_wait_ms=12.5,
    duration_ms=1_234.5,
    status=400,
    shown_chars=0,
    notes={"cached": True, "calls": 2, "share": 0.5, "model": "omni", "none": None},
)


BARE = Record(id="", at=0.0, route="/chat")


def record(number: int, **values: Any) -> Record:
    return replace(BARE, id=f"req_{number:024x}", **{"at": float(number), **values})


class Told(list[tuple[str, str]]):
    """What a store said of itself."""

    def hear(self, service: str, cause: str) -> None:
        self.append((service, cause))


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition never came true"
        time.sleep(0.01)


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with Store.open(url) as opened:
        yield opened
    gc.collect()  # a connection left open would warn here


@pytest.fixture
def sqlite_store(sqlite_url: str) -> Iterator[Store]:
    with Store.open(sqlite_url) as opened:
        yield opened
    gc.collect()


def test_a_record_comes_back_as_it_was_written(store: Store) -> None:
    store.write(FULL)
    store.write(record(1))
    assert store.flush()
    assert store.latest() == [FULL, record(1)]
    assert store.dropped == 0
    assert store.waiting == 0
    assert store.degraded is None


def test_the_newest_records_come_first_and_no_more_than_asked_for(store: Store) -> None:
    for number in (3, 1, 2, 5, 4):
        store.write(record(number))
    assert store.flush()
    assert [each.at for each in store.latest(3)] == [5, 4, 3]


def test_records_are_found_by_identity_reason_and_time(store: Store) -> None:
    for number in range(8):
        identity = f"u1_{number % 2}"
        store.write(record(number, identity=identity, reason="ok" if number < 4 else "suspended"))
    assert store.flush()
    assert [each.at for each in store.latest(identity="u1_1")] == [7, 5, 3, 1]
    assert [each.at for each in store.latest(reason=Reason.SUSPENDED)] == [7, 6, 5, 4]
    assert [each.at for each in store.latest(since=6)] == [7, 6]
    found = store.latest(identity="u1_0", reason="ok", since=1)
    assert [each.at for each in found] == [2]
    assert store.latest(identity="u1_0' OR 1=1 --") == []


def test_records_are_deleted_by_identity_by_age_or_by_both(store: Store) -> None:
    for number in range(8):
        store.write(record(number, identity=f"u1_{number % 2}"))
    assert store.flush()
    assert store.delete(identity="u1_1", before=3) == 1
    assert store.delete(before=2) == 1
    assert store.delete(identity="u1_0") == 3
    assert [each.at for each in store.latest()] == [7, 5, 3]
    with pytest.raises(ValueError, match="whose records"):
        store.delete()


def test_a_record_written_twice_is_kept_once(store: Store) -> None:
    store.write(FULL)
    assert store.flush()
    store.write(FULL)
    store.write(record(1))
    assert store.flush()
    assert store.latest() == [FULL, record(1)]
    assert store.dropped == 0


def test_values_no_database_takes_are_replaced_and_the_record_is_kept(store: Store) -> None:
    odd: Any = {"path": Path("x")}
    store.write(
        record(
            1,
            route="/\ud800\0",
            detail="a\0b",
            scores={"hate": math.nan, "violence": math.inf, "sexual": 0.5},
            notes={"a\0": "\udfff", "none": None, **odd},
        )
    )
    assert store.flush()
    (found,) = store.latest()
    assert found.route == "/?\ufffd"
    assert found.detail == "a\ufffdb"
    assert found.scores == {"sexual": 0.5}
    assert found.notes["a\ufffd"] == "?"
    assert found.notes["none"] is None
    assert "Path" in str(found.notes["path"])


def test_a_record_no_database_takes_costs_no_other_and_is_counted(url: str) -> None:
    told = Told()
    with Store.open(url, on_degraded=told.hear) as store:
        missing: Any = None
        for number, values in enumerate(
            ({}, {"input_chars": 10**30}, {"route": missing}, {"at": math.nan}, {})
        ):
            store.write(record(number, **values))
        assert store.flush()
        assert [each.at for each in store.latest()] == [4, 0]
        assert store.dropped == 3
        assert told == [("store", "unwritable")]


def test_closing_writes_what_waits_and_a_closed_store_opens_again(url: str) -> None:
    store = Store.open(url)
    store.write(record(1))
    assert store.close()
    store.write(record(2))
    assert store.close()
    assert store.close()
    assert [each.at for each in store.latest()] == [2, 1]
    assert store.close()
    gc.collect()


def test_many_threads_write_and_read_one_store(store: Store) -> None:
    def work(first: int) -> None:
        for number in range(first, first + 200):
            store.write(record(number))
        store.latest(10)

    threads = [threading.Thread(target=work, args=(n * 200,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.flush(30)
    assert len(store.latest(5_000)) == 1_600


def test_writing_costs_the_turn_next_to_nothing(sqlite_store: Store) -> None:
    records = [record(n) for n in range(5_000)]
    begun = time.perf_counter()
    for each in records:
        sqlite_store.write(each)
    cost = (time.perf_counter() - begun) / len(records)
    assert cost < 20e-6, "0.5 µs is usual; this bound only catches work done in the wrong place"
    assert sqlite_store.flush(30)


def test_the_files_of_the_database_are_private(tmp_path: Path) -> None:
    with Store.open(base=tmp_path) as store:
        store.write(record(1))
        assert store.flush()
        found = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / ".safety").iterdir()}
    assert found.keys() == {".gitignore", "safety.db", "safety.db-wal", "safety.db-shm"}
    assert set(found.values()) == {0o600}


def test_the_default_database_is_found_again_after_the_directory_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Store.open() as store:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        store.write(record(1))
        assert store.flush()
        assert len(store.latest()) == 1
    assert (tmp_path / ".safety" / "safety.db").exists()
    assert not (tmp_path / "elsewhere" / ".safety").exists()


def test_a_directory_that_was_there_is_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    Store.open("sqlite:///own.db", base=tmp_path).close()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    assert [p.name for p in tmp_path.iterdir()] == ["own.db"]


def test_sqlite_writes_ahead_and_waits_for_others(sqlite_store: Store, sqlite_url: str) -> None:
    sqlite_store.write(record(1))
    assert sqlite_store.flush()
    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        other.execute("BEGIN IMMEDIATE")
        sqlite_store.write(record(2))
        assert not sqlite_store.flush(0.2)
        assert len(sqlite_store.latest()) == 1  # a reader does not wait for the writer
        other.execute("COMMIT")
        assert sqlite_store.flush(20)
    other.close()
    assert len(sqlite_store.latest()) == 2


def test_a_database_that_is_removed_while_in_use_is_made_again(
    sqlite_store: Store, sqlite_url: str
) -> None:
    sqlite_store.write(record(1))
    assert sqlite_store.flush()
    directory = Path(sqlite_url.removeprefix("sqlite:///")).parent
    shutil.rmtree(directory)
    sqlite_store.write(record(2))
    assert sqlite_store.flush()
    assert [each.at for each in sqlite_store.latest()] == [2]
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_a_table_that_is_dropped_loses_no_record(url: str) -> None:
    told = Told()
    with Store.open(url, on_degraded=told.hear) as store:
        owner = connect(locate(url, Path()))
        with owner.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE safety_records RENAME TO moved")
        store.write(record(1))
        assert not store.flush(0.3)
        with pytest.raises(StorageUnavailable):
            store.latest()
        assert store.dropped == 0
        with owner.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE moved RENAME TO safety_records")
        assert store.flush(20)
        owner.dispose()
        assert told[0] in {("store", "SQLITE_ERROR"), ("store", "42P01")}
        assert len(store.latest()) == 1


def test_a_server_that_is_away_delays_records_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    begun = time.monotonic()
    store = Store.open(f"postgresql://nobody:hunter2@127.0.0.1:{port}/none")
    store.write(record(1))
    assert not store.flush(0.1)
    assert store.waiting == 1
    assert store.degraded == "OperationalError"
    with pytest.raises(StorageUnavailable) as caught:
        store.latest()
    assert not store.close(0.1)
    assert time.monotonic() - begun < 10
    assert "the store is degraded: OperationalError" in caplog.text
    assert "hunter2" not in caplog.text + str(caught.value)


class Relay:
    """A way to a server that can be cut and mended."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.cut = False
        self._run(self._accept)

    def _run(self, target: Callable[..., None], *args: Any) -> None:
        self._threads.append(threading.Thread(target=target, args=args))
        self._threads[-1].start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self.cut:
                near.close()
                continue
            far = socket.create_connection(self._target)
            self._open += [near, far]
            self._run(self._pump, near, far)
            self._run(self._pump, far, near)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def drop(self) -> None:
        self.cut = True
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.drop()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()
        for each in self._open:
            each.close()


@pytest.fixture
def relay(postgres_url: str) -> Iterator[tuple[Relay, str]]:
    url = make_url(postgres_url)
    made = Relay(url.host or "127.0.0.1", url.port or 5432)
    through = url.set(host="127.0.0.1", port=made.port)
    yield made, through.render_as_string(hide_password=False)
    made.close()


def test_a_server_that_goes_and_comes_back_loses_no_record(relay: tuple[Relay, str]) -> None:
    way, url = relay
    told = Told()
    with Store.open(url, on_degraded=told.hear) as store:
        store.write(record(1))
        assert store.flush()
        way.drop()
        for number in range(2, 600):
            store.write(record(number))
        until(lambda: store.degraded is not None)
        assert told[0][0] == "store"
        way.cut = False
        assert store.flush(20)
        assert len(store.latest(1_000)) == 599
        assert store.dropped == 0
        assert store.degraded is None


def test_a_server_that_is_away_at_the_start_is_found_later(relay: tuple[Relay, str]) -> None:
    way, url = relay
    way.drop()
    with Store.open(url, on_degraded=Told().hear) as store:
        assert store.degraded is not None
        assert store.waiting == 0
        way.cut = False
        until(lambda: store.degraded is None)
        store.write(record(1))
        assert store.flush(20)
        assert len(store.latest()) == 1


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "postgresql://user:hunter2@host:port/db",
        "mysql://user:hunter2@host/db",
        "postgresql+asyncpg://user:hunter2@host/db",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:x.db?uri=true",
        "sqlite:///x.db?mode=ro",
        "sqlite://host/x.db",
    ],
)
def test_a_url_that_can_not_be_used_is_an_error_without_its_password(
    url: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError) as caught:
        Store.open(url, base=tmp_path)
    assert caught.value.setting == "store"
    assert "sqlite:///path/to/safety.db" in caught.value.remedy
    assert "hunter2" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_way_to_write_a_postgresql_url_means_psycopg(scheme: str) -> None:
    engine = connect(locate(f"{scheme}://user@127.0.0.1/db?connect_timeout=9", Path()))
    assert engine.driver == "psycopg"
    assert engine.dialect.create_connect_args(engine.url)[1]["connect_timeout"] == "9"


def test_postgresql_without_its_driver_is_an_error_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(SettingsError) as caught:
        Store.open("postgresql://user@127.0.0.1/db")
    assert "safety-middleware[postgres]" in caught.value.remedy


def test_a_file_that_is_no_database_is_an_error_and_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("these are no records\n" * 100)
    with pytest.raises(SettingsError, match="SQLITE_NOTADB"):
        Store.open("sqlite:///notes.txt", base=tmp_path)
    assert path.read_text().startswith("these are no records")
    gc.collect()


def test_a_directory_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="SQLITE_CANTOPEN"):
        Store.open("sqlite:///.", base=tmp_path)


def test_a_database_that_stays_locked_at_the_start_is_waited_for_later(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(sqlite_url.removeprefix("sqlite:///")).parent.mkdir(mode=0o700)
    monkeypatch.setattr(_place, "BUSY", 0.05)
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with Store.open(sqlite_url, on_degraded=Told().hear) as store:
        assert store.degraded == "SQLITE_BUSY"
        store.write(record(1))
        other.execute("COMMIT")
        other.close()
        assert store.flush(20)
        assert len(store.latest()) == 1


def test_a_database_that_others_just_read_is_waited_for_at_the_start(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "x.db", isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE other (x)")
    other.execute("BEGIN")
    other.execute("SELECT * FROM other").fetchall()
    timer = threading.Timer(0.2, other.execute, ["COMMIT"])
    timer.start()
    with Store.open("sqlite:///x.db", base=tmp_path) as store:
        assert store.degraded is None
        assert store.latest() == []
    timer.join()
    other.close()


def test_a_worker_that_loses_the_race_for_write_ahead_mode_tries_again(tmp_path: Path) -> None:
    class Racing(sqlite3.Connection):
        refusals = 2

        def execute(self, *args: Any) -> sqlite3.Cursor:
            if self.refusals:
                self.refusals -= 1
                error = sqlite3.OperationalError("database is locked")
                error.sqlite_errorcode = sqlite3.SQLITE_BUSY
                raise error
            return super().execute(*args)

    connection = sqlite3.connect(tmp_path / "x.db", factory=Racing)
    _place.prepare_sqlite(connection)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_without_create_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no database at"):
        Store.open(base=tmp_path, create=False)
    assert list(tmp_path.iterdir()) == []


def test_without_create_a_database_that_is_there_is_read(url: str) -> None:
    with Store.open(url) as store:
        store.write(record(1))
    with Store.open(url, create=False) as store:
        assert len(store.latest()) == 1


def test_a_fork_waits_for_the_statement_under_way_and_closes_what_is_open() -> None:
    class Database:
        disposed = 0

        def dispose(self) -> None:
            self.disposed += 1

    forks, database = Forks(), Database()
    forks.watch(database)
    entered, leave, order = threading.Event(), threading.Event(), list[str]()

    def statement() -> None:
        with forks.apart():
            entered.set()
            assert leave.wait(10)
            order.append("statement")

    thread = threading.Thread(target=statement)
    thread.start()
    assert entered.wait(10)

    def go() -> None:
        forks.before()
        order.append("fork")

    fork = threading.Thread(target=go)
    fork.start()
    fork.join(0.1)
    assert fork.is_alive()
    leave.set()
    thread.join()
    fork.join()
    assert order == ["statement", "fork"]
    assert database.disposed == 1
    later = threading.Thread(target=statement)
    later.start()
    forks.after_in_parent()
    later.join()
    assert order == ["statement", "fork", "statement"]
    forks.before()
    forks.after_in_child()
    with forks.apart():
        pass
    assert database.disposed == 2


def open_files() -> set[str]:
    names: set[str] = set()
    for file in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the one that lists them is gone by now
            names.add(str(file.readlink()))
    return names


@pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="the system does not list open files"
)
def test_before_a_fork_no_connection_to_sqlite_stays_open(
    sqlite_store: Store, sqlite_url: str
) -> None:
    file = sqlite_url.removeprefix("sqlite:///")
    sqlite_store.write(record(1))
    assert sqlite_store.flush()
    assert len(sqlite_store.latest()) == 1
    assert file in open_files()
    FORKS.before()
    try:
        assert file not in open_files()
    finally:
        FORKS.after_in_parent()
    sqlite_store.write(record(2))
    assert sqlite_store.flush()
