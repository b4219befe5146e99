"""Cutting long texts, and joining what is said of the parts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from safety_middleware.moderation import Question
from safety_middleware.moderation.parts import (
    ASCII_CHARS,
    OTHER_CHARS,
    OVERLAP,
    cut,
    is_blank,
    merge,
    mixed,
)
from safety_middleware.verdict import Verdict

# lengths around the edges, made of a short run so that Hypothesis stays quick
lengths = st.integers(0, 3 * ASCII_CHARS)


@given(lengths, st.sampled_from(["x", "é", "語", "😀"]))
def test_every_stretch_of_an_overlap_stands_whole_in_some_part(length: int, char: str) -> None:
    text = "".join(f"{n:06d}{char}" for n in range(length // 7 + 1))
    parts = cut(text)
    size = ASCII_CHARS if text.isascii() else OTHER_CHARS
    assert all(0 < len(part) <= size for part in parts)
    end = 0
    for part in parts:
        start = text.index(part)
        assert end == 0 or end - start == OVERLAP
        end = start + len(part)
    assert end == len(text)


@given(st.text(st.characters(categories=["Cs", "Ll", "So"])))
def test_parts_can_always_be_sent(text: str) -> None:
    for part in cut(text):
        part.encode()


def test_surrogates_become_what_they_stand_for() -> None:
    assert cut("a\ud83d\ude00b\ud800c") == ["a😀b\ufffdc"]


def test_blank_parts_are_not_sent() -> None:
    assert cut(" \n\t") == []
    text = " " * (3 * ASCII_CHARS) + "end"
    assert [part.strip() for part in cut(text)] == ["end"]


def test_a_question_is_blank_without_words_and_images() -> None:
    assert is_blank(Question("  \n"))
    assert is_blank(Question(""))
    assert not is_blank(Question("", ("data:,x",)))
    assert not is_blank(Question("x"))


def test_an_image_goes_with_its_text() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:,x"}}
    assert mixed("look", "data:,x") == [{"type": "text", "text": "look"}, image]
    assert mixed(None, "data:,x") == [image]


def test_the_whole_is_as_bad_as_its_worst_part() -> None:
    one = Verdict(frozenset({"hate"}), {"hate": 0.9, "sexual": 0.1}, "omni")
    other = Verdict(frozenset({"violence"}), {"hate": 0.2, "violence": 0.8}, "omni")
    assert merge([one]) is one
    assert merge([one, other]) == Verdict(
        frozenset({"hate", "violence"}), {"hate": 0.9, "sexual": 0.1, "violence": 0.8}, "omni"
    )
