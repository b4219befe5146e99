"""Variable parts of the path are text that the app can read."""

from __future__ import annotations

import pytest

from safety_middleware.content import RawRequest, check, extract
from safety_middleware.decision import Reason
from safety_middleware.errors import BadInput
from safety_middleware.policy import Policy


def test_a_sentence_in_the_path_is_speech() -> None:
    (part,) = extract(RawRequest(path=(("topic", "how are you"),)), Policy()).parts
    assert (part.text, part.where, part.new, part.speech) == (
        "how are you",
        "path:topic",
        True,
        True,
    )


def test_an_id_in_the_path_is_no_speech_and_does_not_lengthen_the_message() -> None:
    request = RawRequest(
        path=(("conversation", "6f1d2c9e-55aa"),),
        content_type="text/plain",
        body=b"how are you today",
    )
    content = extract(request, Policy())
    assert content.new_chars == len("how are you today")
    assert content.speech == "how are you today"
    assert "6f1d2c9e-55aa" in content.scans(lambda _text: True)


def test_one_word_under_a_name_for_what_people_say_is_speech() -> None:
    (part,) = extract(RawRequest(path=(("message", "hello"),)), Policy()).parts
    assert part.speech


def test_long_text_in_the_path_meets_the_cap() -> None:
    content = extract(RawRequest(path=(("topic", "so " * 50),)), Policy(max_input_chars=100))
    refused = check(content, Policy(max_input_chars=100))
    assert refused is not None
    assert (refused.reason, refused.param) == (Reason.INPUT_TOO_LONG, "path:topic")


def test_choices_and_fields_may_name_parts_of_the_path() -> None:
    policy = Policy(choices={"tone": ("kind",)}, fields=("topic",))
    content = extract(RawRequest(path=(("tone", "rude"), ("topic", "a b"))), policy)
    assert [part.where for part in content.parts] == ["path:topic"]
    refused = check(content, policy)
    assert refused is not None
    assert refused.reason is Reason.NOT_A_CHOICE


def test_a_path_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(BadInput):
        extract(RawRequest(path=(("topic", "\udcff"),)), Policy())
