# pyright: reportPrivateUsage=false
"""Shared limits, against a real Redis where ``SAFETY_TEST_REDIS`` names one, and dead ones."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Awaitable, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from safety_middleware import SettingsError
from safety_middleware.limiters import AsyncSharedLimiter, SharedLimiter, open_storage
from safety_middleware.ratelimit import Bucket, Hits, buckets

REDIS = os.environ.get("SAFETY_TEST_REDIS", "")
real = pytest.mark.skipif(not REDIS, reason="SAFETY_TEST_REDIS names no server")
Said = list[tuple[str, str]]


@pytest.fixture
def said() -> Said:
    return []


@pytest.fixture
def degraded(said: Said) -> Callable[[str, str], None]:
    return lambda service, cause: said.append((service, cause))


def wanted(*notations: str, key: str | None = None) -> tuple[Bucket, ...]:
    key = key or uuid.uuid4().hex
    return tuple(b for n, notation in enumerate(notations) for b in buckets(notation, f"{key}{n}"))


async def ask(limiter: AsyncSharedLimiter, turn: tuple[Bucket, ...]) -> Hits:
    hits = limiter.hit(turn)
    return await hits if isinstance(hits, Awaitable) else hits


Hit = Callable[[tuple[Bucket, ...]], Hits]


@pytest.fixture(params=["threads", "tasks"])
def opened(
    request: pytest.FixtureRequest, degraded: Callable[[str, str], None]
) -> Iterator[Callable[[str], Hit]]:
    """Opens a limiter by URL for either world, and closes it at the end."""
    with contextlib.ExitStack() as stack:

        def threads(url: str) -> Hit:
            limiter = SharedLimiter(url, degraded)
            stack.callback(limiter.close)
            return limiter.hit

        def tasks(url: str) -> Hit:
            limiter = AsyncSharedLimiter(url, degraded)
            runner = stack.enter_context(asyncio.Runner())
            return lambda turn: runner.run(ask(limiter, turn))

        yield threads if request.param == "threads" else tasks
    gc.collect()  # what was left open would warn now


class Server:
    """A server on a port of its own that can be dead, deaf, or a way through to Redis."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://:pass-word@127.0.0.1:{self._socket.getsockname()[1]}/0"

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def deaf() -> Iterator[str]:
    """The URL of a server that takes connections and never answers."""
    server = Server()
    yield server.url
    server.close()


@pytest.fixture
def dead() -> str:
    server = Server()
    server.close()
    return server.url


@real
class TestRedis:
    def test_a_limit_is_kept_and_the_wait_is_true(self, opened: Callable[[str], Hit]) -> None:
        hit, turn = opened(REDIS), wanted("2/second")
        answers = [hit(turn) for _ in range(3)]
        assert [hits.allowed for hits in answers] == [True, True, False]
        assert dict(answers[0].headers) == {"RateLimit-Policy": '"2-1s";q=2;w=1'}
        assert answers[2].retry_after is not None
        assert dict(answers[2].headers)["RateLimit"].startswith('"2-1s";r=0;t=')
        assert not answers[2].fallback
        time.sleep(answers[2].retry_after)  # the server's own clock: nothing to wait for but time
        assert hit(turn).allowed

    def test_the_wait_covers_every_bucket(self, opened: Callable[[str], Hit]) -> None:
        hit, turn = opened(REDIS), wanted("1/second", "1/hour")
        assert hit(turn).allowed
        refused = hit(turn)
        assert refused.retry_after is not None
        assert refused.retry_after > 3_500

    def test_processes_share_it(self, opened: Callable[[str], Hit]) -> None:
        one, two, turn = opened(REDIS), opened(REDIS), wanted("1/minute")
        assert one(turn).allowed
        assert not two(turn).allowed

    def test_a_burst_of_threads_gets_what_the_limit_says(
        self, said: Said, degraded: Callable[[str, str], None]
    ) -> None:
        limiter, turn = SharedLimiter(REDIS, degraded), wanted("40/minute")
        with ThreadPoolExecutor(120) as pool:
            answers = list(pool.map(limiter.hit, [turn] * 400))
        limiter.close()
        assert sum(hits.allowed for hits in answers) == 40
        assert not any(hits.fallback for hits in answers)
        assert said == []

    def test_a_burst_of_tasks_gets_what_the_limit_says(
        self, said: Said, degraded: Callable[[str, str], None]
    ) -> None:
        limiter, turn = AsyncSharedLimiter(REDIS, degraded), wanted("40/minute")

        async def main() -> list[Hits]:
            return await asyncio.gather(*(ask(limiter, turn) for _ in range(400)))

        answers = asyncio.run(main())
        assert sum(hits.allowed for hits in answers) == 40
        assert not any(hits.fallback for hits in answers)
        assert said == []

    def test_nothing_stays_open_when_a_loop_ends(
        self, degraded: Callable[[str, str], None]
    ) -> None:
        limiter = AsyncSharedLimiter(REDIS, degraded)
        for _ in range(3):
            assert asyncio.run(ask(limiter, wanted("5/minute"))).allowed
            gc.collect()  # an open connection would warn now
        assert len(limiter._pools) == 0

    def test_closing_is_not_the_end(self, degraded: Callable[[str, str], None]) -> None:
        limiter = AsyncSharedLimiter(REDIS, degraded)

        async def main() -> None:
            await limiter.aclose()
            for _ in range(2):
                assert not (await ask(limiter, wanted("5/minute"))).fallback
                await limiter.aclose()

        asyncio.run(main())
        gc.collect()

    def test_a_loop_that_was_closed_without_an_end_is_forgotten(
        self, degraded: Callable[[str, str], None]
    ) -> None:
        limiter = AsyncSharedLimiter("redis://127.0.0.1:1/0", degraded)
        loop = asyncio.new_event_loop()
        loop.run_until_complete(ask(limiter, wanted("5/minute")))
        loop.close()
        limiter._fallback._until = 0.0
        asyncio.run(ask(limiter, wanted("5/minute")))
        assert limiter._pools == {}

    def test_a_cancelled_turn_leaves_the_connections_in_order(
        self, said: Said, degraded: Callable[[str, str], None]
    ) -> None:
        limiter = AsyncSharedLimiter(REDIS, degraded)

        async def main() -> None:
            for steps in range(12):
                task = asyncio.create_task(ask(limiter, wanted("5/minute")))
                for _ in range(steps):
                    await asyncio.sleep(0)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            turn = wanted("3/minute")
            answers = [await ask(limiter, turn) for _ in range(4)]
            assert [hits.allowed for hits in answers] == [True, True, True, False]

        asyncio.run(main())
        assert said == []


@contextlib.contextmanager
def redis_server(port: int) -> Generator[None]:
    """A Redis of its own, that keeps nothing."""
    program = shutil.which("redis-server")
    assert program
    options = ["--port", str(port), "--save", "", "--appendonly", "no"]
    with subprocess.Popen([program, *options], stdout=subprocess.DEVNULL) as server:
        try:
            until = time.monotonic() + 10
            while time.monotonic() < until:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
            yield
        finally:
            server.terminate()


class TestAway:
    @pytest.mark.parametrize("kind", ["dead", "deaf"])
    def test_this_process_counts_alone_and_says_so_once(
        self,
        opened: Callable[[str], Hit],
        said: Said,
        request: pytest.FixtureRequest,
        kind: str,
    ) -> None:
        hit, turn = opened(request.getfixturevalue(kind)), wanted("2/minute")
        began = time.monotonic()
        answers = [hit(turn) for _ in range(3)]
        assert time.monotonic() - began < 1.5
        assert [hits.allowed for hits in answers] == [True, True, False]
        assert all(hits.fallback for hits in answers)
        assert answers[2].retry_after
        assert said == [("limits_storage", "unavailable")]

    def test_threads_that_queue_behind_a_failure_do_not_try_it_too(
        self, deaf: str, degraded: Callable[[str, str], None]
    ) -> None:
        limiter, turn = SharedLimiter(deaf, degraded), wanted("1000/minute")
        began = time.monotonic()
        with ThreadPoolExecutor(150) as pool:
            answers = list(pool.map(limiter.hit, [turn] * 150))
        assert time.monotonic() - began < 3
        assert all(hits.fallback and hits.allowed for hits in answers)
        limiter.close()

    def test_tasks_that_queue_behind_a_failure_do_not_try_it_too(
        self, deaf: str, degraded: Callable[[str, str], None]
    ) -> None:
        limiter, turn = AsyncSharedLimiter(deaf, degraded), wanted("1000/minute")

        async def main() -> list[Hits]:
            return await asyncio.gather(*(ask(limiter, turn) for _ in range(150)))

        began = time.monotonic()
        answers = asyncio.run(main())
        assert time.monotonic() - began < 3
        assert all(hits.fallback and hits.allowed for hits in answers)

    def test_while_it_is_away_one_turn_in_a_while_asks_again(
        self, dead: str, degraded: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        limiter, turn = SharedLimiter(dead, degraded), wanted("1000/minute")
        limiter.hit(turn)
        asked = limiter._fallback.failures
        for _ in range(20):
            limiter.hit(turn)
        assert limiter._fallback.failures == asked == 1
        monkeypatch.setattr(limiter._fallback, "_until", 0.0)
        for _ in range(20):
            limiter.hit(turn)
        assert limiter._fallback.failures == 2
        limiter.close()

    def test_whatever_a_driver_raises_the_turn_goes_on(
        self, dead: str, degraded: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        limiter = SharedLimiter(dead, degraded)

        def odd(*_: object) -> bool:
            raise RuntimeError

        monkeypatch.setattr(limiter._strategy, "hit", odd)
        assert limiter.hit(wanted("1/minute")).fallback
        limiter.close()


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server here")
def test_it_is_used_again_once_it_is_back(
    opened: Callable[[str], Hit], said: Said, dead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safety_middleware.limiters.RETRY_AFTER", 0.0)
    port = int(dead.rpartition(":")[2].partition("/")[0])
    hit = opened(f"redis://127.0.0.1:{port}/0")
    assert hit(wanted("5/minute")).fallback
    assert said == [("limits_storage", "unavailable")]
    with redis_server(port):
        assert not hit(wanted("5/minute")).fallback
        assert said[1:] == [("limits_storage", "recovered")]
    assert hit(wanted("5/minute")).fallback
    with redis_server(port):
        assert not hit(wanted("5/minute")).fallback
    assert said[2:] == [("limits_storage", "unavailable"), ("limits_storage", "recovered")]


class TestUrls:
    @pytest.mark.parametrize(
        "url",
        [
            "memcached://host:11211",
            "mongodb://user:pass-word@host",
            "http://user:pass-word@host",
            "redis://:pass-word@host:port/0",
            "async+redis://:pass-word@host/0",
            "redis://:pass-word@host:6379/0?socket_timeout=soon",
        ],
    )
    def test_a_url_that_cannot_be_used_is_told_without_its_password(self, url: str) -> None:
        with pytest.raises(SettingsError, match="limits_storage") as error:
            open_storage(url)
        assert "pass-word" not in str(error.value)
        assert error.value.__suppress_context__ or error.value.__context__ is None

    def test_a_missing_driver_is_told(self) -> None:
        with pytest.raises(SettingsError, match=r"safety-middleware\[redis\]"):
            open_storage("valkey://host:6379/0")

    @pytest.mark.parametrize("url", ["redis://h:1/0", "rediss://h:1/2", "redis+unix:///tmp/s"])
    def test_redis_can_be_reached_in_its_ways(self, url: str) -> None:
        for each in (url, f"async+{url}"):
            open_storage(each)
