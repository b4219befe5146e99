"""What a short budget means for turns, over real sockets to the service."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from safety_middleware.errors import ModerationUnavailable
from safety_middleware.guard import Cleared, Guard, Sampling
from safety_middleware.guard.steps import StartModeration
from safety_middleware.moderation import Priority, Question
from safety_middleware.policy import Policy, Tier
from safety_middleware.standing import Tiers
from safety_middleware.store import Record
from safety_middleware.testing import FakeOpenAI
from safety_middleware.turn import Route as TurnRoute
from safety_middleware.turn import Turn
from safety_middleware.verdict import Verdict
from safety_middleware.wordlist import Wordlist
from safety_middleware_starlette import SafetyMiddleware

OFF: dict[str, Any] = {"limits": None, "anonymous_limits": None, "address_limits": None}

#: Says a text, from a client address; gives the status and the record.
Say: TypeAlias = Callable[..., tuple[int, Record]]


@pytest.fixture
def chat(fake: FakeOpenAI, tmp_path: Path) -> Iterator[Callable[..., Say]]:
    """Opens a guarded app with such settings."""
    with ExitStack() as stack:

        def make(**settings: Any) -> Say:
            records: list[Future[Record]] = []

            def keep(record: Record) -> None:
                records[-1].set_result(record)

            app = Starlette(routes=[Route("/chat", answer, methods=["POST"])])
            app.add_middleware(
                SafetyMiddleware,
                secret="s" * 64,
                openai_api_key="sk-key",
                openai_base_url=fake.base_url,
                store=f"sqlite:///{tmp_path}/safety.db",
                trusted_proxies=1,
                hold="handler",
                on_decision=keep,
                **{**OFF, **settings},
            )
            client = stack.enter_context(TestClient(app))

            def say(text: str, address: str = "192.0.2.7") -> tuple[int, Record]:
                records.append(Future())
                headers = {"x-forwarded-for": address}
                status = client.post("/chat", json={"message": text}, headers=headers).status_code
                return status, records[-1].result(5)

            return say

        yield make


async def answer(_: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


def test_a_required_check_without_room_is_refused_and_says_why(chat: Callable[..., Say]) -> None:
    say = chat(moderation_requests=1, moderation_timeout=0.3)
    assert say("one")[0] == 200
    status, record = say("two")
    assert (status, record.reason, record.detail) == (503, "moderation_unavailable", "budget")
    assert record.skipped["moderation"] == "budget"
    assert say("one")[0] == 200


def test_a_sample_without_room_is_let_through_on_record(
    chat: Callable[..., Say], fake: FakeOpenAI
) -> None:
    say = chat(moderation_tokens=500, sample=0.999_999_999)
    assert say("a" * 1_000)[0] == 200
    status, record = say("b" * 1_000)
    assert (status, record.action, record.skipped["moderation"]) == (200, "allow", "budget")
    assert "moderation" not in record.checked
    assert len(fake.calls("/moderations")) == 1


def test_an_address_that_had_its_share_leaves_the_rest_to_others(chat: Callable[..., Say]) -> None:
    say = chat(moderation_requests=100, address_limits="1000/minute")
    assert [say(f"text {n}")[0] for n in range(6)] == [200] * 5 + [503]
    status, record = say("text 7")
    assert (status, record.skipped["moderation"]) == (503, "share")
    assert say("text 7", "198.51.100.1")[0] == 200


@pytest.mark.parametrize(
    ("tier", "sample", "priority"),
    [
        ("watched", None, Priority.WATCHED),
        ("watched", 0.5, Priority.WATCHED),
        ("new", None, Priority.NEW),
        ("known", None, Priority.KNOWN),
        ("known", 0.5, Priority.SAMPLE),
        ("trusted", None, Priority.SAMPLE),
        ("trusted", 1.0, Priority.KNOWN),
    ],
)
def test_the_priority_follows_from_the_tier_and_the_sampling(
    tier: Tier, sample: float | None, priority: Priority
) -> None:
    def ask(_: Question) -> Future[Verdict]:
        raise NotImplementedError

    sampling = Sampling(b"k" * 32, lambda _: None)
    guard = Guard(Wordlist(["gadzooks"]), Cleared(b"k" * 32), ask, sampling, Tiers())
    turn = Turn(TurnRoute("/chat", Policy(sample=sample)), None, tier=tier)
    assert guard._priority(turn) is priority  # pyright: ignore[reportPrivateUsage]  # the whole of it


def test_a_sample_asked_again_from_another_thread_is_let_through_as_well() -> None:
    cut: Future[Verdict] = Future()

    def elsewhere(_: Question) -> Future[Verdict]:
        return cut

    sampling = Sampling(b"k" * 32, lambda _: None)
    guard = Guard(Wordlist(["gadzooks"]), Cleared(b"k" * 32), elsewhere, sampling, Tiers())
    turn = Turn(TurnRoute("/chat", Policy()), None)
    asking = StartModeration(Question("hello"), Priority.SAMPLE, "u1_a", "a1_a")
    decided = guard._ask_again(turn, asking)  # pyright: ignore[reportPrivateUsage]  # asked by the seam
    cut.set_exception(ModerationUnavailable("budget"))
    assert decided.result(0).allowed
