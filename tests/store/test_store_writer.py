from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

from safety_middleware.store import Record, _writer
from safety_middleware.store._away import Away
from safety_middleware.store._writer import BATCH, Writer


def record(number: int) -> Record:
    return Record(id=f"req_{number:024x}", at=float(number), route="/chat")


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition never came true"
        time.sleep(0.005)


class Memory:
    """A database in memory that can be away, slow, or take only some records."""

    def __init__(self) -> None:
        self.batches: list[list[Record]] = []
        self.away = False
        self.open = threading.Event()
        self.open.set()
        self.refused = 0
        self.attempts = 0
        self.released = 0
        self.told: list[tuple[str, str]] = []

    @property
    def saved(self) -> list[Record]:
        return list(itertools.chain(*self.batches))

    def save(self, records: Sequence[Record]) -> int:
        self.attempts += 1
        assert self.open.wait(10)
        if self.away:
            raise Away("gone")
        self.batches.append(list(records))
        refused, self.refused = self.refused, 0
        return refused

    def release(self) -> None:
        self.released += 1

    def tell(self, service: str, cause: str) -> None:
        self.told.append((service, cause))

    def writer(self, **options: Any) -> Writer:
        return Writer(self.save, self.release, self.tell, **options)


@pytest.fixture
def memory() -> Memory:
    return Memory()


def test_records_are_saved_in_the_order_they_came(memory: Memory) -> None:
    writer = memory.writer()
    records = [record(n) for n in range(50)]
    for each in records:
        writer.put(each)
    assert writer.flush(10)
    assert memory.saved == records
    assert writer.waiting == 0
    assert writer.close()


def test_records_that_come_together_are_saved_together(memory: Memory) -> None:
    writer = memory.writer()
    for number in range(BATCH + 10):
        writer.put(record(number))
    assert writer.close(10)
    assert [len(batch) for batch in memory.batches] == [BATCH, 10]


def test_a_record_is_saved_soon_without_being_asked_for(memory: Memory) -> None:
    writer = memory.writer()
    writer.put(record(1))
    until(lambda: memory.saved == [record(1)])
    writer.put(record(2))
    until(lambda: memory.saved == [record(1), record(2)])
    assert writer.close()


def test_flushing_an_idle_writer_starts_no_thread(memory: Memory) -> None:
    before = {*threading.enumerate()}
    writer = memory.writer()
    assert writer.flush(0)
    assert writer.close()
    assert memory.attempts == 0
    assert not {*threading.enumerate()} - before


def test_a_flush_that_takes_too_long_says_so(memory: Memory) -> None:
    memory.open.clear()
    writer = memory.writer()
    writer.put(record(1))
    assert not writer.flush(0.02)
    memory.open.set()
    assert writer.flush(10)
    assert writer.close()


def test_nothing_is_lost_while_the_database_is_away(memory: Memory) -> None:
    memory.away = True
    writer = memory.writer()
    records = [record(n) for n in range(20)]
    for each in records[:10]:
        writer.put(each)
    until(lambda: memory.attempts >= 2)
    assert writer.degraded == "gone"
    assert writer.waiting == 10
    for each in records[10:]:
        writer.put(each)
    memory.away = False
    assert writer.flush(10)
    assert memory.saved == records
    assert writer.degraded is None
    assert writer.dropped == 0
    assert writer.close()


def test_the_pauses_between_attempts_grow(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_writer, "PAUSES", (0.01, 0.08))
    memory.away = True
    writer = memory.writer()
    writer.put(record(1))
    until(lambda: memory.attempts >= 6)
    assert not writer.close(0.05)
    assert memory.attempts < 20


def test_flush_and_close_try_at_once_instead_of_waiting_for_the_pause(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_writer, "PAUSES", (60.0, 60.0))
    memory.away = True
    writer = memory.writer()
    writer.put(record(1))
    until(lambda: writer.degraded == "gone")
    memory.away = False
    assert writer.flush(10)
    memory.away = True
    writer.put(record(2))
    until(lambda: writer.degraded == "gone")
    memory.away = False
    assert writer.close(10)
    assert memory.saved == [record(1), record(2)]


def test_a_full_queue_drops_counts_and_tells_once(memory: Memory) -> None:
    memory.open.clear()
    writer = memory.writer(room=5)
    writer.put(record(0))
    until(lambda: memory.attempts == 1)
    for number in range(1, 11):
        writer.put(record(number))
    assert writer.dropped == 5
    assert writer.degraded == "queue_full"
    assert memory.told == [("store", "queue_full")]
    memory.open.set()
    assert writer.flush(10)
    assert memory.saved == [record(n) for n in range(6)]
    assert writer.degraded is None
    assert writer.close()


def test_the_same_cause_is_told_again_only_after_a_while(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_writer, "PAUSES", (0.001, 0.001))
    memory.away = True
    writer = memory.writer()
    writer.put(record(1))
    until(lambda: memory.attempts >= 5)
    assert memory.told == [("store", "gone")]
    monkeypatch.setattr(_writer, "REPEAT", 0.0)
    until(lambda: len(memory.told) > 2)
    memory.away = False
    assert writer.close(10)


def test_an_unforeseen_error_loses_nothing_and_is_told_by_its_name(memory: Memory) -> None:
    failures = iter([RuntimeError("holds something private")])

    def save(records: Sequence[Record]) -> int:
        for failure in failures:
            raise failure
        return memory.save(records)

    writer = Writer(save, memory.release, memory.tell)
    writer.put(record(1))
    assert writer.flush(10)
    assert memory.told == [("store", "RuntimeError")]
    assert memory.saved == [record(1)]
    assert writer.close()


def test_records_the_database_will_never_take_are_counted(memory: Memory) -> None:
    memory.refused = 2
    writer = memory.writer()
    for number in range(3):
        writer.put(record(number))
    assert writer.close()
    assert writer.dropped == 2
    assert memory.told == [("store", "unwritable")]


def test_a_hook_that_fails_breaks_nothing(memory: Memory, caplog: pytest.LogCaptureFixture) -> None:
    def hook(service: str, cause: str) -> None:
        raise ValueError(service + cause)

    memory.refused = 1
    writer = Writer(memory.save, memory.release, hook)
    writer.put(record(1))
    writer.put(record(2))
    assert writer.close()
    assert len(memory.saved) == 2
    assert "an on_degraded hook failed" in caplog.text


def test_closing_saves_what_waits_ends_the_thread_and_lets_go(memory: Memory) -> None:
    before = {*threading.enumerate()}
    writer = memory.writer()
    for number in range(2000):
        writer.put(record(number))
    assert writer.close(10)
    assert len(memory.saved) == 2000
    assert memory.released == 1
    assert not {*threading.enumerate()} - before


def test_a_writer_that_was_closed_can_be_used_again(memory: Memory) -> None:
    writer = memory.writer()
    for number in range(3):
        writer.put(record(number))
        assert writer.close(10)
    assert memory.saved == [record(n) for n in range(3)]


def test_closing_gives_up_in_time_keeps_what_is_left_and_says_how_much(
    memory: Memory, caplog: pytest.LogCaptureFixture
) -> None:
    memory.away = True
    writer = memory.writer()
    writer.put(record(1))
    until(lambda: writer.degraded == "gone")
    writer.put(record(2))
    begun = time.monotonic()
    with caplog.at_level(logging.WARNING, "safety_middleware"):
        assert not writer.close(0.2)
    assert time.monotonic() - begun < 5
    assert writer.waiting == 2
    assert "2 records could not be saved" in caplog.text
    memory.away = False
    writer.put(record(3))
    assert writer.flush(10)
    assert memory.saved == [record(1), record(2), record(3)]
    assert writer.close()


def test_closing_does_not_wait_for_a_database_that_hangs(memory: Memory) -> None:
    memory.open.clear()
    writer = memory.writer()
    writer.put(record(1))
    until(lambda: memory.attempts == 1)
    begun = time.monotonic()
    assert not writer.close(0.1)
    assert time.monotonic() - begun < 5
    memory.open.set()
    until(lambda: memory.released == 1)
    assert memory.saved == [record(1)]


def test_records_put_while_the_writer_closes_are_not_left_behind(memory: Memory) -> None:
    writer = memory.writer()
    done = threading.Event()
    puts = itertools.count()

    def put() -> None:
        while not done.is_set():
            writer.put(record(next(puts)))
            time.sleep(0)

    threads = [threading.Thread(target=put) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        writer.close(1)
    done.set()
    for thread in threads:
        thread.join()
    assert writer.close(10)
    assert len(memory.saved) + writer.dropped == next(puts)
    assert len({each.id for each in memory.saved}) == len(memory.saved)


def test_a_record_put_at_the_very_end_of_closing_is_saved(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = memory.writer()
    late = [record(2)]

    def drain(drain: Callable[[], bool]) -> bool:
        done = drain()
        while late:
            writer.put(late.pop())
        return done

    monkeypatch.setattr(writer, "_drain", partial(drain, getattr(writer, "_drain")))  # noqa: B009
    writer.put(record(1))
    assert writer.close(10)
    assert memory.saved == [record(1), record(2)]


def test_without_a_thread_to_be_had_records_wait_and_closing_saves_them(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    writer = memory.writer()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        writer.put(record(1))
        assert writer.degraded == "no_thread"
        assert not writer.flush(0)
        assert writer.close()
    assert memory.saved == [record(1)]
    writer.put(record(2))
    assert writer.close(10)
    assert memory.saved == [record(1), record(2)]


def test_a_database_that_is_away_is_tried_until_it_answers(memory: Memory) -> None:
    memory.away = True
    writer = memory.writer()
    writer.probe("gone")
    until(lambda: memory.attempts >= 1)
    assert writer.degraded == "gone"
    memory.away = False
    until(lambda: writer.degraded is None)
    assert memory.told == [("store", "gone")]
    assert writer.close()


def test_a_writer_inherited_by_a_fork_is_left_alone(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = memory.writer()
    memory.open.clear()
    writer.put(record(1))
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        assert writer.close()
    assert writer.waiting == 1
    memory.open.set()
    assert writer.close(10)


def test_several_threads_lose_nothing(memory: Memory) -> None:
    writer = memory.writer()

    def put(first: int) -> None:
        for number in range(first, first + 1000):
            writer.put(record(number))

    threads = [threading.Thread(target=put, args=(n * 1000,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writer.flush(10)
    assert {each.id for each in memory.saved} == {record(n).id for n in range(8000)}
    assert writer.dropped == 0
    assert writer.close()
