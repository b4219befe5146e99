"""The order in which pieces wait, and what the budget lets go or cuts."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from safety_middleware.moderation import DeskSettings, Priority, Question
from safety_middleware.moderation.asks import Ask, Piece, Waiting
from safety_middleware.moderation.budget import Budget
from safety_middleware.moderation.parts import mixed
from safety_middleware.verdict import Verdict

FINE = Verdict(frozenset(), {})


def piece_of(priority: Priority, chars: int = 3, *, alone: bool = False) -> Piece:
    ask = Ask(None, Question(""), priority, 60.0)
    return Piece(ask, mixed("x" * chars, "data:") if alone else "x" * chars)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(list(Priority)),
            st.integers(1, 1_200),
            st.booleans(),
            st.floats(0, 30) | st.just(0.0),
            st.booleans(),
        ),
        max_size=60,
    )
)
def test_nothing_is_lost_nothing_required_is_cut_and_nobody_is_overtaken_from_behind(
    steps: Sequence[tuple[Priority, int, bool, float, bool]],
) -> None:
    now = 0.0
    budget = Budget(5, 1_000, clock=lambda: now)
    waiting = Waiting(DeskSettings(batch_texts=4, batch_chars=2_000), budget)
    left: set[Piece] = set()
    for priority, chars, alone, pause, take in steps:
        now += pause
        piece = piece_of(priority, chars, alone=alone)
        if waiting.add(piece):
            left.add(piece)
        else:
            assert not priority.required
        if not take:
            continue
        batch, cut = waiting.take()
        assert {*batch, *cut} <= left
        left -= {*batch, *cut}
        assert not any(piece.ask.priority.required for piece in cut)
        assert len(batch) <= 1 or not any(piece.alone for piece in batch)
        behind = min((piece.ask.priority for piece in left), default=Priority.SAMPLE)
        assert all(piece.ask.priority <= behind for piece in batch)
        if not batch and left:
            assert waiting.short is waiting.first()
            assert all(piece.ask.priority.required for piece in left)
    assert len(waiting) == len(left)


def test_what_nobody_waits_for_any_more_is_dropped_wherever_it_stands() -> None:
    waiting = Waiting(DeskSettings(), Budget())
    waiting.add(piece_of(Priority.WATCHED))
    for _ in range(1_000):
        piece = piece_of(Priority.NEW)
        waiting.add(piece)
        piece.ask.future.set_result(FINE)
    assert len(waiting) <= 128


def test_an_optional_piece_alone_is_cut_without_anyone_waiting() -> None:
    waiting = Waiting(DeskSettings(), Budget(tokens=10))
    piece = piece_of(Priority.SAMPLE, 400)
    assert waiting.add(piece)
    assert waiting.take() == ([], [piece])
    assert waiting.short is None
    assert waiting.take() == ([], [])


def test_a_question_that_moves_up_goes_before_those_it_passed() -> None:
    waiting = Waiting(DeskSettings(batch_texts=1), Budget())
    first, second = piece_of(Priority.NEW), piece_of(Priority.REPLY)
    waiting.add(first)
    waiting.add(second)
    second.ask.priority = Priority.WATCHED
    waiting.sort()
    assert waiting.take()[0] == [second]
    assert waiting.take()[0] == [first]
