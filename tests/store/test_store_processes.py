"""What several processes do to one database, each a real one."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from safety_middleware.store import Store

HEAD = """
import os, sys, time
from pathlib import Path
from safety_middleware.store import Record, Store, generated_secret, safety_directory
url, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
def record(number):
    return Record(id=f"req_{number}", at=float(number), route="/chat")
"""


@contextmanager
def running(
    body: str, url: str, first: int = 0, count: int = 0, *, flags: tuple[str, ...] = ()
) -> Generator[subprocess.Popen[str]]:
    command = [sys.executable, "-W", "error", *flags, "-c", HEAD + body]
    with subprocess.Popen(
        [*command, url, str(first), str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def output(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    return out


def run(body: str, url: str, first: int = 0, count: int = 0, *flags: str) -> str:
    with running(body, url, first, count, flags=flags) as process:
        return output(process)


def numbers(url: str) -> set[int]:
    with Store.open(url) as store:
        return {int(each.at) for each in store.latest(1_000_000)}


# forking with threads about is deprecated and is what servers do
FORKING = ("-W", "ignore::DeprecationWarning")


def test_processes_that_start_and_write_at_once_lose_nothing(url: str) -> None:
    body = """
sys.stdin.read()
with Store.open(url, on_degraded=lambda *told: print(told, file=sys.stderr)) as store:
    for number in range(first, first + count):
        store.write(record(number))
    assert store.flush(30) and not store.dropped
"""
    with (
        running(body, url, 0, 500) as a,
        running(body, url, 500, 500) as b,
        running(body, url, 1000, 500) as c,
        running(body, url, 1500, 500) as d,
    ):
        every = (a, b, c, d)
        for process in every:
            assert process.stdin is not None
            process.stdin.close()
            process.stdin = None
        for process in every:
            output(process)
    assert numbers(url) == set(range(2_000))


def test_processes_that_start_at_once_get_the_same_secret(sqlite_url: str) -> None:
    body = """
sys.stdin.read()
print(generated_secret(safety_directory(Path(url))))
"""
    base = str(Path(sqlite_url.removeprefix("sqlite:///")).parent.parent)
    with running(body, base) as a, running(body, base) as b, running(body, base) as c:
        for process in (a, b, c):
            assert process.stdin is not None
            process.stdin.close()
            process.stdin = None
        assert len({output(process) for process in (a, b, c)}) == 1


def test_records_of_the_last_moment_are_saved_at_exit(url: str) -> None:
    run("store = Store.open(url)\nfor n in range(count): store.write(record(n))", url, 0, 700)
    assert numbers(url) == set(range(700))


def test_records_are_saved_when_the_process_ends_by_an_error(sqlite_url: str) -> None:
    body = "store = Store.open(url)\nstore.write(record(1))\nsys.exit(3)"
    with running(body, sqlite_url) as process:
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (3, "")
    assert numbers(sqlite_url) == {1}


def test_a_forked_child_writes_by_itself_and_repeats_nothing(url: str) -> None:
    body = """
store = Store.open(url)
for n in range(100): store.write(record(n))
child = os.fork()
first = 1000 if child == 0 else 2000
for n in range(first, first + 100): store.write(record(n))
assert store.flush(30) and store.dropped == 0
assert store.latest(1)
if child:
    assert os.waitpid(child, 0)[1] == 0
"""
    run(body, url, 0, 0, *FORKING)
    assert numbers(url) == {*range(100), *range(1000, 1100), *range(2000, 2100)}


def test_a_forked_child_leaves_the_records_of_its_parent_to_it(sqlite_url: str) -> None:
    body = """
store = Store.open(url)
store.write(record(1))
child = os.fork()
if child == 0:
    assert store.waiting == 0 and store.flush(0)
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
print(store.waiting + len(store.latest()) > 0)
"""
    assert run(body, sqlite_url, 0, 0, *FORKING) == "True\n"
    assert numbers(sqlite_url) == {1}


def test_a_child_is_not_robbed_of_its_log_by_a_parent_that_closes(sqlite_url: str) -> None:
    # with the parent's connection open across the fork, SQLite would count the parent as the last
    # user, delete the write-ahead log under the child, and lose what it writes from then on
    body = """
store = Store.open(url)
store.write(record(1))
assert store.flush()
closed, told = os.pipe()
written, tell = os.pipe()
child = os.fork()
if child == 0:
    store.write(record(2))
    assert store.flush()
    os.write(tell, b"2")
    os.read(closed, 1)
    store.write(record(3))
    assert store.flush()
    os.write(tell, b"3")
    time.sleep(60)
os.read(written, 1)
assert store.close()
os.write(told, b"x")
os.read(written, 1)
print([record.at for record in store.latest()])
os.kill(child, 9)
os.waitpid(child, 0)
"""
    assert run(body, sqlite_url, 0, 0, *FORKING) == "[3.0, 2.0, 1.0]\n"
    assert numbers(sqlite_url) == {1, 2, 3}


def test_generations_of_forks_while_others_write_lose_nothing(sqlite_url: str) -> None:
    body = """
import threading
store = Store.open(url)
def work(first):
    for n in range(first, first + 300):
        store.write(record(n))
        if n % 10 == 0: time.sleep(0.001)
thread = threading.Thread(target=work, args=(0,))
thread.start()
children = []
for number in range(1, 5):
    child = os.fork()
    if child == 0:
        work(number * 1000)
        grandchild = os.fork()
        if grandchild == 0:
            work(number * 1000 + 500)
            sys.exit(not store.flush(30))
        sys.exit(os.waitpid(grandchild, 0)[1] or not store.flush(30))
    children.append(child)
for child in children:
    assert os.waitpid(child, 0)[1] == 0
thread.join()
"""
    run(body, sqlite_url, 0, 0, *FORKING)
    expected = set(range(300))
    for number in range(1, 5):
        expected |= set(range(number * 1000, number * 1000 + 300))
        expected |= set(range(number * 1000 + 500, number * 1000 + 800))
    assert numbers(sqlite_url) == expected
    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_a_killed_process_leaves_a_database_that_can_be_read(url: str) -> None:
    body = """
store = Store.open(url)
n = 0
while True:
    for n in range(n, n + 400): store.write(record(n))
    assert store.flush(30)
    print(n, flush=True)
"""
    with running(body, url) as process:
        assert process.stdout is not None
        known = [int(process.stdout.readline()) for _ in range(4)]
        process.send_signal(signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL
        process.communicate()
    found = numbers(url)
    assert found >= set(range(known[-1] + 1))
    assert found == set(range(len(found)))
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()


APP = """
from pathlib import Path
from time import time_ns
from safety_middleware.store import Record, Store
store = Store.open(base=Path(__file__).parent)
def app(environ, start_response):
    store.write(Record(id=f"req_{time_ns()}", at=time_ns() / 1e9, route=environ["PATH_INFO"]))
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


@pytest.mark.parametrize("worker", ["sync", "gthread"])
def test_gunicorn_workers_that_were_forked_save_all_when_they_end(
    tmp_path: Path, worker: str
) -> None:
    pytest.importorskip("gunicorn")
    (tmp_path / "storeapp.py").write_text(APP)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "--preload", "-w", "2", "-k", worker]
    with subprocess.Popen(
        [*command, "--log-level", "error", "-b", f"127.0.0.1:{port}", "storeapp:app"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), str(tmp_path)])},
    ) as server:
        try:
            sent = 0
            end = time.monotonic() + 30
            while sent < 40:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/chat", timeout=5) as got:
                        assert got.status == 200
                    sent += 1
                except OSError:
                    assert time.monotonic() < end
                    time.sleep(0.05)
            server.terminate()
            assert server.wait(30) == 0
        finally:
            server.kill()
    with Store.open(base=tmp_path, create=False) as store:
        assert len(store.latest(100)) == 40


def test_importing_the_store_loads_no_sqlalchemy() -> None:
    code = "import sys, safety_middleware.store; print('sqlalchemy' in sys.modules)"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout == "False\n"
