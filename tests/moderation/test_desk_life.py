"""How the desk begins and ends: loops that come and go, threads, forks, the end of the process."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request
import weakref
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeAlias, cast

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from safety_middleware.errors import SettingsError
from safety_middleware.moderation import Desk, DeskSettings, Question
from safety_middleware.moderation.backend import Endpoint
from safety_middleware.moderation.service import Service
from safety_middleware.testing import FakeOpenAI
from safety_middleware.verdict import Verdict, wait

MakeDesk: TypeAlias = Callable[..., Desk]
#: Waits for a verdict, or the cause why there is none.
Outcome: TypeAlias = Callable[[Future[Verdict]], Any]
OutcomeHere: TypeAlias = Callable[[Future[Verdict]], Awaitable[Any]]


def desk_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "safety-moderation"]


def until(predicate: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not predicate():
        assert time.monotonic() < end
        time.sleep(0.01)


def connections() -> int:
    count = 0
    for link in Path("/proc/self/fd").iterdir():
        try:
            count += str(link.readlink()).startswith("socket:")
        except OSError:
            continue
    return count


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """No connection, thread or warning is left behind by the test."""
    gc.collect()
    before = connections()
    yield
    gc.collect()
    assert connections() == before
    assert not desk_threads()


def ask_of(desk: Desk) -> Callable[[], Any]:
    async def main() -> None:
        verdict = await wait(desk.ask(Question("[[hate]] " + os.urandom(4).hex())))
        assert verdict.flags == {"hate"}

    return main


@pytest.mark.usefixtures("nothing_left")
class TestNothingIsLeftBehind:
    def test_by_asyncio_run(self, desk: Desk) -> None:
        for _ in range(3):
            asyncio.run(ask_of(desk)())
        assert not desk_threads()

    def test_by_a_runner_used_again(self, desk: Desk, fake: FakeOpenAI) -> None:
        with asyncio.Runner() as runner:
            for _ in range(3):
                runner.run(ask_of(desk)())
        assert {seen.connection for seen in fake.requests} == {1}

    def test_by_uvloop(self, desk: Desk) -> None:
        uvloop = pytest.importorskip("uvloop")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(ask_of(desk)())

    def test_by_explicit_closing(self, desk: Desk) -> None:
        async def main() -> None:
            await desk.aclose()
            await ask_of(desk)()
            await desk.aclose()
            await ask_of(desk)()

        asyncio.run(main())

    def test_by_a_thread(self, desk: Desk, outcome: Outcome) -> None:
        for _ in range(2):
            assert isinstance(outcome(desk.ask(Question("hello"))), Verdict)
            desk.close()
        desk.close()

    def test_by_a_loop_that_ends_in_the_middle_of_a_call(
        self, desk: Desk, fake: FakeOpenAI, outcome: Outcome
    ) -> None:
        fake.fail("/moderations", "hang")

        async def main() -> Any:
            future = desk.ask(Question("hello"))
            late = desk.ask(Question("and another"))
            await asyncio.sleep(0.05)
            unsent = desk.ask(Question("too late"))
            return future, late, unsent

        for future in asyncio.run(main()):
            assert outcome(future) == "closed"

    def test_by_closing_in_the_middle_of_a_call(
        self, desk: Desk, fake: FakeOpenAI, outcome: Outcome
    ) -> None:
        fake.fail("/moderations", "hang")
        future = desk.ask(Question("hello"))
        fake.wait_for(lambda: fake.requests)
        desk.close()
        assert outcome(future) == "closed"

    def test_by_closing_while_texts_are_gathered(
        self, make: MakeDesk, fake: FakeOpenAI, outcome_here: OutcomeHere
    ) -> None:
        fake.fail("/moderations", "hang")
        desk = make(fake.base_url, unbatched=1, gather=60.0)

        async def main() -> None:
            futures = [desk.ask(Question(f"{n}")) for n in range(3)]
            await asyncio.sleep(0.02)
            await desk.aclose()
            assert [await outcome_here(future) for future in futures] == ["closed"] * 3

        asyncio.run(main())

    def test_by_a_loop_whose_tasks_are_all_cancelled(
        self, desk: Desk, fake: FakeOpenAI, outcome_here: OutcomeHere
    ) -> None:
        fake.fail("/moderations", "hang")

        async def main() -> None:
            future = desk.ask(Question("hello"))
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            assert await outcome_here(future) == "closed"

        asyncio.run(main())

    def test_by_a_test_client_with_a_loop_for_every_request(self, desk: Desk) -> None:
        client = TestClient(app_of(desk))
        for n in range(3):
            assert client.get(f"/{n}").text == "['hate']"

    def test_by_a_test_client_with_one_loop(self, desk: Desk, fake: FakeOpenAI) -> None:
        with TestClient(app_of(desk)) as client:
            for n in range(3):
                assert client.get(f"/{n}").text == "['hate']"
        assert {seen.connection for seen in fake.requests} == {1}

    def test_by_uvicorn(self, desk: Desk) -> None:
        config = uvicorn.Config(app_of(desk), port=0, log_level="error", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/x", timeout=10) as answer:
            assert answer.read() == b"['hate']"
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()

    def test_by_a_desk_that_is_forgotten(self, fake: FakeOpenAI, outcome: Outcome) -> None:
        settings = DeskSettings(base_url=fake.base_url, api_key="k")
        desk = Desk(settings, cache_key=b"k")
        assert isinstance(outcome(desk.ask(Question("hello"))), Verdict)
        gone = weakref.ref(desk)
        del desk
        gc.collect()
        assert gone() is None

    def test_by_a_desk_that_is_forgotten_while_its_loop_runs(self, fake: FakeOpenAI) -> None:
        async def main() -> None:
            desk = Desk(DeskSettings(base_url=fake.base_url, api_key="k"), cache_key=b"k")
            await ask_of(desk)()
            del desk
            gc.collect()
            await asyncio.sleep(0.05)

        asyncio.run(main())


def app_of(desk: Desk) -> Starlette:
    async def endpoint(request: Request) -> PlainTextResponse:
        verdict = await wait(desk.ask(Question(f"[[hate]] {request.url.path}")))
        return PlainTextResponse(str(sorted(verdict.flags)))

    return Starlette(routes=[Route("/{path}", endpoint)])


def test_a_loop_closed_without_ceremony_leaves_no_question_open(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, outcome: Outcome
) -> None:
    class Silent:
        async def post(self, *_: object) -> None:
            await asyncio.get_running_loop().create_future()

        async def aclose(self) -> None:
            pass

    def open_silent(service: Service) -> Endpoint:
        return Endpoint(cast("Any", Silent()), service.budget)

    with monkeypatch.context() as patch:
        patch.setattr(Service, "open", open_silent)
        loop = asyncio.new_event_loop()

        async def main() -> Future[Verdict]:
            return desk.ask(Question("hello"))

        future = loop.run_until_complete(main())
        loop.close()  # as a careless test would: nothing that runs on it is ended
    asyncio.run(ask_of(desk)())  # the next loop tidies up
    assert outcome(future) == "closed"
    gc.collect()
    assert all(record.name == "asyncio" for record in caplog.records)


def test_starting_without_a_key_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(SettingsError, match="OPENAI_API_KEY"):
        Desk(DeskSettings(), cache_key=b"k").start()


def python(script: str, *arguments: str) -> str:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.stderr == ""
    assert result.returncode == 0
    return result.stdout


def test_nothing_heavy_is_imported_before_the_start() -> None:
    out = python("""
        import sys
        from safety_middleware.moderation import Desk, DeskSettings
        Desk(DeskSettings(), cache_key=b"k")
        print([name for name in ("aiohttp", "openai", "pydantic", "httpx", "ctypes") if name in sys.modules])
    """)
    assert out == "[]\n"


def test_a_process_that_never_closes_its_desk_ends_quietly(fake: FakeOpenAI) -> None:
    out = python(
        """
        import sys
        from safety_middleware.moderation import Desk, DeskSettings, Question
        desk = Desk(DeskSettings(base_url=sys.argv[1], api_key="k"), cache_key=b"k")
        print(sorted(desk.ask(Question("[[hate]]")).result(10).flags))
        """,
        fake.base_url,
    )
    assert out == "['hate']\n"


def test_a_forked_child_has_a_thread_of_its_own_and_the_parent_keeps_working(
    fake: FakeOpenAI,
) -> None:
    out = python(
        """
        import asyncio, gc, os, sys, threading
        from safety_middleware.moderation import Desk, DeskSettings, Question
        from safety_middleware.verdict import wait

        desk = Desk(DeskSettings(base_url=sys.argv[1], api_key="k"), cache_key=b"k")

        def ask(text):
            print(text, sorted(desk.ask(Question("[[hate]] " + text)).result(10).flags), flush=True)

        async def here(text):
            print(text, sorted((await wait(desk.ask(Question("[[hate]] " + text)))).flags), flush=True)

        ask("parent")
        for n in range(2):
            pid = os.fork()
            if not pid:
                assert threading.active_count() == 1
                ask("child")
                assert threading.active_count() == 2
                asyncio.run(here("child"))
                del desk
                gc.collect()
                sys.exit(0)
            assert os.waitpid(pid, 0)[1] == 0
            ask("parent afterwards " + str(n))
        """,
        fake.base_url,
    )
    assert out.splitlines() == [
        "parent ['hate']",
        *["child ['hate']", "child ['hate']", "parent afterwards 0 ['hate']"],
        *["child ['hate']", "child ['hate']", "parent afterwards 1 ['hate']"],
    ]
    parents = {seen.connection for seen in fake.requests if "parent" in seen.body["input"]}
    assert len(parents) == 1  # no child has closed it or spoken on it


def test_a_child_forked_inside_a_running_loop_leaves_that_loop_alone(fake: FakeOpenAI) -> None:
    out = python(
        """
        import asyncio, os, sys
        from safety_middleware.moderation import Desk, DeskSettings, Question
        from safety_middleware.verdict import wait

        desk = Desk(DeskSettings(base_url=sys.argv[1], api_key="k"), cache_key=b"k")

        async def main():
            await wait(desk.ask(Question("before")))
            pid = os.fork()
            if not pid:
                # asyncio itself knows that no loop runs in the child
                ok = desk.ask(Question("[[hate]] child")).result(10).flags == {"hate"}
                os._exit(0 if ok else 1)
            assert (await asyncio.to_thread(os.waitpid, pid, 0))[1] == 0
            print(sorted((await wait(desk.ask(Question("[[hate]] parent")))).flags))

        asyncio.run(main())
        """,
        fake.base_url,
    )
    assert out == "['hate']\n"


def test_questions_asked_while_the_desk_is_closed_again_and_again_are_all_answered(
    desk: Desk, fake: FakeOpenAI, outcome: Outcome
) -> None:
    fake.moderation_latency = 0.002
    stop = time.monotonic() + 1.0
    outcomes: list[object] = []

    def visitor(name: int) -> None:
        n = 0
        while time.monotonic() < stop:
            n += 1
            outcomes.append(outcome(desk.ask(Question(f"{name} {n}"))))

    visitors = [threading.Thread(target=visitor, args=(name,)) for name in range(4)]
    for thread in visitors:
        thread.start()
    while time.monotonic() < stop:
        desk.close()
    for thread in visitors:
        thread.join(20)
        assert not thread.is_alive()
    assert outcomes
    assert all(isinstance(o, Verdict) or o in {"closed", "breaker_open"} for o in outcomes)
