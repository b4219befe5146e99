from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from safety_middleware import (
    Action,
    ContentBlocked,
    Decision,
    Policy,
    Reason,
    Refusal,
    Safety,
    Settings,
    SettingsError,
    Turn,
    current_turn,
)
from safety_middleware.content import RawRequest
from safety_middleware.flow import run
from safety_middleware.guard import Outcome
from safety_middleware.identity import Kind
from safety_middleware.marks import Mark
from safety_middleware.safety import engine as engine_of
from safety_middleware.store import Record
from safety_middleware.testing import FakeOpenAI
from safety_middleware.turn import Route, bound, find_turn
from safety_middleware.wordlist import Wordlist

MakeEngine = Callable[..., Safety]
SECRET = "0123456789abcdef" * 4
BLOCKED = Decision(Action.REFUSE, Reason.CONTENT_BLOCKED, param="input", detail="violence")
OK = Outcome(200, "POST")


@pytest.fixture
def safety(engine: MakeEngine) -> Safety:
    safety = engine()
    safety.start()
    return safety


def turn_of(safety: Safety, **fields: Any) -> Turn:
    identity, _ = safety.identify(user="ada")
    return Turn(Route("/chat", Policy(**fields)), identity)


class TestStarting:
    def test_without_a_key_to_moderate_with_it_does_not_start(self, engine: MakeEngine) -> None:
        safety = engine(openai_api_key=None)
        with pytest.raises(SettingsError, match=r"openai_api_key: .* Set OPENAI_API_KEY"):
            safety.start()
        assert not safety.started
        assert not Path(".safety").exists(), "nothing was opened before the error"

    @pytest.mark.parametrize(
        "settings", [{"moderation_client": object()}, {"policy": Policy(moderation=False)}]
    )
    def test_none_is_needed_where_nothing_uses_it(
        self, engine: MakeEngine, settings: dict[str, Any]
    ) -> None:
        if "moderation_client" in settings:
            pytest.importorskip("openai")
            from openai import OpenAI

            settings = {"moderation_client": OpenAI(api_key="sk-x")}
        safety = engine(openai_api_key=None, **settings)
        safety.start()
        assert safety.started

    @pytest.mark.parametrize("marked", [False, True])
    def test_one_route_that_moderates_needs_it(self, engine: MakeEngine, *, marked: bool) -> None:
        routes = {} if marked else {"/chat": Policy(moderation=True)}
        safety = engine(openai_api_key=None, policy=Policy(moderation=False), routes=routes)
        if marked:
            safety.routes.of_template("/x", Mark(Policy(moderation=True)))
        with pytest.raises(SettingsError, match="openai_api_key"):
            safety.start()

    def test_the_key_may_be_the_sdks_own_variable(
        self, engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
        engine(openai_api_key=None).start()

    def test_threads_that_start_it_together_get_one_engine(self, engine: MakeEngine) -> None:
        safety = engine()
        barrier, seen = threading.Barrier(4), set[int]()

        def start() -> None:
            barrier.wait()
            safety.start()
            seen.add(id(safety.store))

        threads = [threading.Thread(target=start) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(seen) == 1

    def test_in_production_a_secret_is_demanded(self, engine: MakeEngine) -> None:
        with pytest.raises(SettingsError, match=r"production is on.*token_hex.*SAFETY_SECRET"):
            engine(secret=None, production=True).start()

    def test_in_development_one_is_generated_kept_and_warned_about(
        self, engine: MakeEngine, caplog: pytest.LogCaptureFixture
    ) -> None:
        identities: list[object] = []
        for _ in range(2):
            safety = engine(secret=None)
            safety.start()
            identities.append(safety.identify(user="ada"))
        assert identities[0] == identities[1]
        assert caplog.text.count("set SAFETY_SECRET before production") == 2
        secret = Path(".safety/secret")
        assert stat.S_IMODE(secret.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
        assert secret.read_text().strip() not in caplog.text

    @pytest.mark.parametrize(
        "settings",
        [
            {"limits_storage": "memcached://host:11211"},
            {"store": "mysql://host/db"},
            {"wordlist": "nowhere.txt"},
        ],
    )
    def test_what_cannot_be_opened_is_told_at_the_start(
        self, engine: MakeEngine, settings: dict[str, Any]
    ) -> None:
        safety = engine(**settings)
        with pytest.raises(SettingsError):
            safety.start()
        assert not safety.started

    def test_a_list_of_ones_own_is_used(self, engine: MakeEngine, tmp_path: Path) -> None:
        (tmp_path / "words.txt").write_text("gadzooks\n")
        for words in ("words.txt", Path("words.txt"), Wordlist(["gadzooks"])):
            safety = engine(wordlist=words, openai_api_key="sk-x")
            safety.start()
            found = admitted(safety, "gadzooks")
            assert found.reason is Reason.CONTENT_BLOCKED

    def test_shared_limits_are_opened_for_both_worlds(self, engine: MakeEngine) -> None:
        safety = engine(limits_storage="redis://127.0.0.1:1/0")
        safety.start()
        assert type(safety.limiter).__name__ == "SharedLimiter"
        assert type(safety.async_limiter).__name__ == "AsyncSharedLimiter"
        assert safety.hit(()).allowed

    def test_it_can_be_closed_before_it_was_started_and_twice(self, engine: MakeEngine) -> None:
        safety = engine()
        safety.close()
        asyncio.run(safety.aclose())
        safety.start()
        asyncio.run(safety.aclose())
        safety.close()
        gc.collect()

    def test_settings_come_from_environment_and_file_where_none_are_given(
        self, clean_environment: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SAFETY_TRUSTED_PROXIES", "2")
        assert Safety().settings.trusted_proxies == 2


class Ports:
    """The engine's ports with a request at hand, as an adapter has them."""

    def __init__(self, safety: Safety, text: str) -> None:
        self.load_standing = safety.load_standing
        self.ask = safety.ask
        self.hit = safety.hit
        self._body = json.dumps({"message": text}).encode()

    def read_body(self, limit: int) -> RawRequest:
        return RawRequest(content_type="application/json", body=self._body)

    def wait(self, admitted: Future[Decision]) -> Decision:
        return admitted.result(10)


def admitted(safety: Safety, text: str, turn: Turn | None = None) -> Decision:
    turn = turn or turn_of(safety, hold="handler")
    identity, address = safety.identify(user="ada")
    return run(safety.guard.admit(turn, identity, address), Ports(safety, text))


@pytest.fixture
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        yield fake


class TestEndToEnd:
    def test_a_turn_is_moderated_settled_and_recorded(
        self, engine: MakeEngine, fake: FakeOpenAI
    ) -> None:
        seen: list[Record] = []
        safety = engine(openai_base_url=fake.base_url, on_decision=seen.append)
        safety.start()
        for text, reason in (("hello", Reason.OK), ("[[violence]]", Reason.CONTENT_BLOCKED)):
            turn = turn_of(safety, hold="handler")
            assert admitted(safety, text, turn).reason is reason
            safety.finish(turn, OK)
        safety.close()
        assert [record.reason for record in seen] == ["ok", "content_blocked"]
        assert {record.id for record in safety.store.latest()} == {record.id for record in seen}
        standing = safety.load_standing(safety.identify(user="ada")[0])
        assert len(standing.strikes) == 1
        safety.close()

    def test_no_text_and_no_raw_id_is_stored(self, engine: MakeEngine, fake: FakeOpenAI) -> None:
        safety = engine(openai_base_url=fake.base_url)
        safety.start()
        turn = turn_of(safety, hold="handler")
        admitted(safety, "a private matter", turn)
        safety.finish(turn, OK)
        safety.close()
        with sqlite3.connect(".safety/safety.db") as database:
            dump = "\n".join(database.iterdump())
        database.close()
        assert turn.id in dump
        assert "private" not in dump
        assert "ada" not in dump


class TestIdentifying:
    def test_a_user_beats_a_session_beats_the_address(self, safety: Safety) -> None:
        user, at = safety.identify(user="ada", session="s", address="192.0.2.7")
        session, _ = safety.identify(user="", session="s", address="192.0.2.7")
        nobody, again = safety.identify(session="", address="192.0.2.7")
        assert [i.kind for i in (user, session, nobody)] == [Kind.USER, Kind.SESSION, Kind.ADDRESS]
        assert at == again == nobody

    def test_ids_are_the_same_as_text(self, safety: Safety) -> None:
        assert safety.identify(user=7) == safety.identify(user="7")
        assert safety.identify(user=UUID(int=7)) == safety.identify(user=str(UUID(int=7)))

    def test_what_is_no_id_is_an_error(self, safety: Safety) -> None:
        with pytest.raises(SettingsError, match="bool"):
            safety.identify(user=True)


class TestBinding:
    def test_it_carries_identity_and_caps_and_lets_everything_through(
        self, engine: MakeEngine
    ) -> None:
        safety = engine(policy=Policy(max_images=1))
        with safety.bind("ada", max_output_tokens=9) as turn:
            assert current_turn() is turn
            assert safety.started
            assert turn.max_output_tokens == 9
            assert turn.policy.max_images == 1
            assert turn.identity == safety.identify(user="ada")[0]
            assert turn.decided == Decision()
        assert find_turn() is None

    def test_it_ends_with_its_block_whatever_happens_there(self, safety: Safety) -> None:
        with pytest.raises(LookupError), safety.bind(1):
            raise LookupError
        assert find_turn() is None

    def test_inside_another_it_takes_what_it_is_not_given(self, safety: Safety) -> None:
        with safety.bind("ada", max_output_tokens=9) as outer:
            with safety.bind() as inner:
                assert inner.identity == outer.identity
                assert inner.max_output_tokens == 9
            with safety.bind("bob", max_output_tokens=5) as inner:
                assert inner.identity != outer.identity
                assert inner.max_output_tokens == 5
            assert current_turn() is outer

    def test_without_a_user_and_outside_a_turn_it_is_an_error(self, safety: Safety) -> None:
        with pytest.raises(SettingsError, match="bind"), safety.bind():
            pass
        with (
            bound(Turn(Route("/chat", Policy()), None)),
            pytest.raises(SettingsError),
            safety.bind(""),
        ):
            pass

    def test_an_unknown_or_impossible_cap_is_an_error(self, safety: Safety) -> None:
        with pytest.raises(SettingsError), safety.bind("ada", max_output_tokens=0):
            pass

    def test_inside_a_request_it_is_no_way_around_the_verdict(self, safety: Safety) -> None:
        request = turn_of(safety)
        request.hold = "model"
        ended: list[str] = []
        with bound(request), safety.bind("bob") as turn:
            assert turn.decided is None
            assert turn.hold == "model"
            turn.on_refused(lambda: ended.append("call"))
            request.decide(BLOCKED)
            assert turn.refusal == BLOCKED
            assert ended == ["call"]
        with bound(request), safety.bind("bob") as turn, pytest.raises(ContentBlocked):
            turn.on_refused(lambda: None)

    def test_the_calls_of_a_bind_count_for_the_turn_around_it(self, safety: Safety) -> None:
        request = turn_of(safety)
        with bound(request), safety.bind("bob") as turn:
            turn.guarded_calls = 2
            turn.route.seen_guarded = True
        assert request.guarded_calls == 2
        assert request.route.seen_guarded


class TestRefusing:
    def test_the_default_tells_the_limits(self, safety: Safety) -> None:
        turn = turn_of(safety)
        turn.findings.headers = (("RateLimit", "x"),)
        refusal = safety.refusal(turn, BLOCKED, None)
        assert refusal.status == 400
        assert ("RateLimit", "x") in refusal.headers
        assert json.loads(refusal.body)["error"]["request_id"] == turn.id

    def test_a_renderer_of_ones_own_is_asked(self, engine: MakeEngine) -> None:
        own = Refusal(418, (), b"no")

        def render(decision: Decision, request_id: str) -> Refusal:
            return own

        safety = engine(refusal=render)
        safety.start()
        assert safety.refusal(turn_of(safety), BLOCKED, None) is own

    def test_one_that_fails_is_replaced_by_ours(
        self, engine: MakeEngine, caplog: pytest.LogCaptureFixture
    ) -> None:
        def failing(decision: Decision, request_id: str) -> Refusal:
            raise ValueError

        safety = engine(refusal=failing)
        safety.start()
        assert safety.refusal(turn_of(safety), BLOCKED, None).status == 400
        assert "refusal renderer failed" in caplog.text

    def test_care_has_the_operators_words(self, engine: MakeEngine) -> None:
        safety = engine(care={"message": "Talk to us.", "resources": []})
        safety.start()
        refusal = safety.refusal(turn_of(safety), Decision(Action.REFUSE, Reason.CARE), None)
        assert json.loads(refusal.body)["care"]["message"] == "Talk to us."


class TestFinishing:
    def test_a_turn_that_asked_for_nothing_is_settled_now(self, safety: Safety) -> None:
        turn = turn_of(safety)
        safety.finish(turn, OK)
        assert safety.store.flush()
        assert [record.id for record in safety.store.latest()] == [turn.id]

    def test_one_whose_verdict_is_out_is_settled_when_it_has_been_judged(
        self, safety: Safety
    ) -> None:
        turn = turn_of(safety, observe=True)
        turn.judged = Future()
        safety.finish(turn, OK)
        assert safety.store.flush()
        assert safety.store.latest() == []
        turn.findings.add(BLOCKED)
        turn.judged.set_result(None)
        assert safety.store.flush()
        assert [record.reason for record in safety.store.latest()] == ["content_blocked"]

    def test_strikes_and_clean_turns_are_counted(self, safety: Safety) -> None:
        identity, _ = safety.identify(user="ada")
        turn = turn_of(safety)
        turn.findings.checked.append("moderation")
        safety.finish(turn, OK)
        assert safety.load_standing(identity).clean_turns == 1


class TestDegraded:
    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        now = [1000.0]
        monkeypatch.setattr("safety_middleware.safety.time.monotonic", lambda: now[0])
        return now

    @pytest.fixture
    def told(self) -> list[tuple[str, str]]:
        return []

    @pytest.fixture
    def degraded(
        self, engine: MakeEngine, told: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
    ) -> Callable[[str, str], None]:
        def tell(service: str, cause: str) -> None:
            told.append((service, cause))

        def at_once(hook: Callable[..., None], *event: str) -> None:
            hook(*event)

        safety = engine(on_degraded=tell)
        monkeypatch.setattr(safety.hooks, "call", at_once)
        return safety.degraded

    def test_the_same_failure_is_told_once_a_minute(
        self,
        degraded: Callable[[str, str], None],
        told: list[tuple[str, str]],
        clock: list[float],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        for _ in range(5):
            degraded("store", "disk")
            degraded("moderation", "timeout")
        assert told == [("store", "disk"), ("moderation", "timeout")]
        assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
        clock[0] += 60
        degraded("store", "disk")
        assert len(told) == 3

    @pytest.mark.usefixtures("clock")
    def test_the_last_word_is_always_true(
        self,
        degraded: Callable[[str, str], None],
        told: list[tuple[str, str]],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        with caplog.at_level(logging.INFO):
            for cause in ("timeout", "http_500", "timeout", "recovered", "recovered", "timeout"):
                degraded("moderation", cause)
        assert [cause for _, cause in told] == ["timeout", "http_500", "recovered", "timeout"]
        assert [record.levelname for record in caplog.records][2] == "INFO"


class TestTheEngineOfAMiddleware:
    def test_keywords_and_configuration_make_one(self, clean_environment: Path) -> None:
        safety = engine_of(None, {"max_images": 1}, {"SAFETY_TRUSTED_PROXIES": 2})
        assert (safety.settings.policy.max_images, safety.settings.trusted_proxies) == (1, 2)

    def test_a_ready_one_is_taken_as_it_is(self, safety: Safety) -> None:
        assert engine_of(safety, {}) is safety

    def test_both_together_are_an_error(self, safety: Safety) -> None:
        with pytest.raises(SettingsError, match="max_images: was given beside safety="):
            engine_of(safety, {"max_images": 1})


def test_settings_are_what_was_given(engine: MakeEngine) -> None:
    settings = Settings(secret=SECRET, openai_api_key="sk-x")
    assert Safety(settings).settings is settings
    assert "SAFETY_SECRET" not in os.environ
