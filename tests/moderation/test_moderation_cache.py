"""The cache of verdicts and its keys."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_middleware.moderation import Question
from safety_middleware.moderation.cache import Cache, Keys
from safety_middleware.verdict import Verdict

VERDICT = Verdict(frozenset({"hate"}), {"hate": 0.9, "violence": 0.1}, "omni")
DATA = "data:image/png;base64,AAAA"

texts = st.text(st.characters(), max_size=8)
questions = st.builds(
    Question, texts, st.lists(texts.map("data:,{}".format), max_size=3).map(tuple)
)


@given(questions, questions)
def test_keys_are_equal_only_for_equal_contents(one: Question, other: Question) -> None:
    keys = Keys(b"secret", "omni")
    assert (keys.of(one) == keys.of(other)) == (one == other)


def test_keys_depend_on_secret_and_model_and_hold_no_text() -> None:
    question = Question("hello")
    keys = [
        Keys(secret, model).of(question)
        for secret, model in itertools.product([b"one", b"two"], ["omni", "text"])
    ]
    assert len(set(keys)) == 4
    assert all(key is not None and len(key) == 16 for key in keys)


def test_an_image_known_by_its_address_gives_no_key() -> None:
    keys = Keys(b"secret", "omni")
    assert keys.of(Question("x", (DATA, "https://example.com/cat.png"))) is None
    assert keys.of(Question("x", ("DATA:image/png;base64,AAAA",))) is not None


def test_lone_surrogates_have_keys() -> None:
    keys = Keys(b"secret", "omni")
    assert keys.of(Question("\ud800")) != keys.of(Question("\udfff"))


def test_a_verdict_comes_back_as_it_was() -> None:
    cache = Cache(10, 60.0)
    cache.put(b"a", VERDICT)
    cache.put(b"b", VERDICT)
    for key in (b"a", b"b"):
        known = cache.get(key)
        assert known == VERDICT
    assert known is not None
    assert dict(known.scores) == VERDICT.scores
    assert repr(known.scores) == repr(VERDICT.scores)
    assert len(known.scores) == 2
    with pytest.raises(KeyError):
        known.scores["illicit"]


def test_verdicts_of_different_models_do_not_mix() -> None:
    cache = Cache(10, 60.0)
    other = Verdict(frozenset(), {"spam": 0.5}, "else")
    cache.put(b"a", VERDICT)
    cache.put(b"b", other)
    cache.put(b"c", VERDICT)
    assert [cache.get(key) for key in (b"a", b"b", b"c")] == [VERDICT, other, VERDICT]


def test_the_least_recently_used_goes_first() -> None:
    cache = Cache(2, 60.0)
    for key in (b"a", b"b"):
        cache.put(key, VERDICT)
    assert cache.get(b"a")
    cache.put(b"c", VERDICT)
    assert [cache.get(key) is not None for key in (b"a", b"b", b"c")] == [True, False, True]


def test_a_verdict_is_forgotten_after_its_lifetime() -> None:
    now = 0.0
    cache = Cache(10, 60.0, lambda: now)
    cache.put(b"a", VERDICT)
    now = 59.9
    assert cache.get(b"a")
    now = 60.0
    assert cache.get(b"a") is None
    assert cache.get(b"a") is None


def test_size_zero_remembers_nothing() -> None:
    cache = Cache(0, 60.0)
    cache.put(b"a", VERDICT)
    assert cache.get(b"a") is None
