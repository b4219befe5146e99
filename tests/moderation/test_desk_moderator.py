"""A moderator of the operator's own."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, TypeAlias

import pytest

from safety_middleware.errors import ModerationUnavailable, SettingsError
from safety_middleware.moderation import Desk, Moderator, Priority, Question
from safety_middleware.verdict import Verdict

MakeDesk: TypeAlias = Callable[..., Desk]
#: Asks all questions at once; gives verdicts, or the causes why there is none.
Ask: TypeAlias = Callable[..., list[Any]]
#: Waits for a verdict, or the cause why there is none.
Outcome: TypeAlias = Callable[[Future[Verdict]], Any]

NOWHERE = "http://nowhere.invalid/v1"
FINE = Verdict(frozenset(), {"spam": 0.01}, "own")


class Spam:
    """Flags what sells, and counts what it is asked."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.asked: list[Question] = []
        self.cancelled = 0
        self._seconds = seconds

    async def moderate(self, question: Question) -> Verdict:
        self.asked.append(question)
        try:
            await asyncio.sleep(self._seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return Verdict(frozenset({"spam"}), {"spam": 0.9}) if "buy" in question.text else FINE


class Failing:
    """Answers, or raises, what it is given."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    async def moderate(self, question: Question) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def test_it_judges_whole_questions_once(make: MakeDesk, ask: Ask) -> None:
    moderator = Spam(0.05)
    desk = make(NOWHERE, client=moderator)
    long = "word " * 20_000
    image = "data:image/png;base64,AAAA"
    questions = [
        Question("buy!"),
        Question("buy!"),
        Question(long),
        Question("see", (image, image)),
    ]
    verdicts = ask(desk, *questions)
    assert [sorted(verdict.flags) for verdict in verdicts] == [["spam"], ["spam"], [], []]
    assert sorted(moderator.asked, key=lambda q: len(q.text)) == [
        questions[3],
        questions[0],
        questions[2],
    ]
    assert ask(desk, Question("buy!"))[0].scores == {"spam": 0.9}
    assert len(moderator.asked) == 3


def test_its_time_is_bounded(make: MakeDesk, ask: Ask) -> None:
    moderator = Spam(60)
    desk = make(NOWHERE, client=moderator, timeout=0.2)
    assert ask(desk, Question("hello")) == ["timeout"]
    desk.close()  # waits for what is being cancelled
    assert moderator.cancelled == 1


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (ModerationUnavailable("busy"), "busy"),
        (ZeroDivisionError("secret"), "error"),
        (TimeoutError(), "timeout"),
        (None, "malformed"),
        (True, "malformed"),
        (Verdict(frozenset(), {"spam": math.nan}), "malformed"),
        (Verdict(frozenset(), {"spam": 1.5}), "malformed"),
        (Verdict(frozenset(), {"spam": "much"}), "error"),  # type: ignore[dict-item]  # on purpose
        (Verdict(frozenset(), None), "malformed"),  # type: ignore[arg-type]  # on purpose
        (Verdict("spam", {}), "malformed"),  # type: ignore[arg-type]  # on purpose
    ],
)
def test_nonsense_is_never_not_flagged(make: MakeDesk, ask: Ask, answer: Any, cause: str) -> None:
    assert ask(make(NOWHERE, client=Failing(answer)), Question("hello")) == [cause]


def test_the_breaker_spares_it(make: MakeDesk, outcome: Outcome) -> None:
    told: list[str] = []

    def hook(service: str, cause: str) -> None:
        told.append(f"{service}: {cause}")

    desk = make(NOWHERE, client=Failing(OSError()), on_degraded=hook)
    for text in "abcde":
        assert outcome(desk.ask(Question(text))) == "error"
    assert outcome(desk.ask(Question("f"))) == "breaker_open"
    assert told == ["moderation: breaker_open"]


def test_it_is_asked_within_the_budget(make: MakeDesk, outcome: Outcome) -> None:
    moderator = Spam()
    desk = make(NOWHERE, client=moderator, requests=2, timeout=0.2)
    outcomes = [outcome(desk.ask(Question(t), priority=Priority.WATCHED)) for t in "abc"]
    assert outcomes == [FINE, FINE, "budget"]


def test_one_that_is_not_asynchronous_is_an_error_at_start(make: MakeDesk) -> None:
    class Blocking:
        def moderate(self, question: Question) -> Verdict:
            raise NotImplementedError

    with pytest.raises(SettingsError, match="async def moderate"):
        make(NOWHERE, client=Blocking()).start()


def test_any_class_of_that_shape_is_one() -> None:
    moderator: Moderator = Spam()
    assert asyncio.run(moderator.moderate(Question("hello"))) == FINE


def test_its_verdicts_are_awaited_without_a_thread(make: MakeDesk) -> None:
    desk = make(NOWHERE, client=Spam())

    async def main() -> Awaitable[Verdict]:
        return asyncio.wrap_future(desk.ask(Question("buy")))

    async def whole() -> Verdict:
        return await (await main())

    assert asyncio.run(whole()).flags == {"spam"}
