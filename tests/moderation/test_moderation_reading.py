"""Reading moderation answers: full ones as the SDK reads them, anything else as no verdict."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import ModerationCreateResponse

from safety_middleware.errors import ModerationUnavailable
from safety_middleware.moderation.reading import NULLABLE, read
from safety_middleware.policy import CATEGORIES

WRONG: list[Any] = [None, "no", 2, -0.1, [], {}]
REQUIRED = [name for name in CATEGORIES if name not in NULLABLE]


def result(**changes: Any) -> dict[str, Any]:
    quiet: dict[str, Any] = {
        "flagged": False,
        "categories": dict.fromkeys(CATEGORIES, False),
        "category_scores": dict.fromkeys(CATEGORIES, 0.01),
        "category_applied_input_types": {name: ["text"] for name in CATEGORIES},
    }
    return quiet | changes


def answer(*results: Any) -> dict[str, Any]:
    return {"id": "modr-1", "model": "omni", "results": list(results)}


def cause(body: bytes, expected: int = 1) -> str:
    with pytest.raises(ModerationUnavailable) as caught:
        read(body, expected)
    return caught.value.cause


def cause_of(value: Any, expected: int = 1) -> str:
    return cause(json.dumps(value).encode(), expected)


flags = st.fixed_dictionaries(
    {name: st.booleans() for name in REQUIRED},
    optional={name: st.none() | st.booleans() for name in NULLABLE},
)
scores = st.fixed_dictionaries({name: st.floats(0, 1) for name in CATEGORIES})


@st.composite
def results(draw: st.DrawFn) -> dict[str, Any]:
    categories = draw(flags)
    return result(
        flagged=any(categories.values()), categories=categories, category_scores=draw(scores)
    )


@given(st.lists(results(), min_size=1, max_size=3))
def test_a_full_answer_reads_as_the_sdk_reads_it(several: list[dict[str, Any]]) -> None:
    body = answer(*several)
    verdicts = read(json.dumps(body).encode(), len(several))
    for verdict, theirs in zip(
        verdicts, ModerationCreateResponse.model_validate(body).results, strict=True
    ):
        assert bool(verdict.flags) is theirs.flagged
        booleans = theirs.categories.model_dump(by_alias=True)
        assert verdict.flags == {name for name, flag in booleans.items() if flag}
        floats = theirs.category_scores.model_dump(by_alias=True)
        assert verdict.scores == floats
        assert verdict.model == "omni"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_nonsense_is_no_verdict(body: bytes) -> None:
    assert cause(body) in {"malformed", "empty"}


@given(st.data())
def test_an_answer_with_one_value_replaced_is_no_verdict(
    data: st.DataObject,
) -> None:
    good = result(flagged=True, categories={**dict.fromkeys(CATEGORIES, False), "violence": True})
    place = data.draw(st.sampled_from(["flagged", "categories", "category_scores"]))
    wrong: Any = data.draw(json_values.filter(lambda value: not isinstance(value, bool)))
    if place != "flagged" and data.draw(st.booleans()):
        name = data.draw(st.sampled_from(REQUIRED))
        value: Any = data.draw(st.sampled_from(WRONG))
        wrong = {**good[place], name: value}
    assert cause_of(answer({**good, place: wrong})) == "malformed"


@pytest.mark.parametrize("body", [b"", b"  \n", b'{"model": "m", "results": []}'])
def test_an_answer_without_results_is_empty(body: bytes) -> None:
    assert cause(body) == "empty"


def test_an_answer_with_too_few_results_is_short() -> None:
    assert cause_of(answer(result()), expected=2) == "short"


def test_an_answer_with_too_many_results_is_malformed() -> None:
    assert cause_of(answer(result(), result())) == "malformed"


@pytest.mark.parametrize(
    "wrong",
    [
        {"flagged": 0},
        {"flagged": True},  # and no category says why
        {"categories": {}},
        {"category_scores": {}},
        {"category_scores": {**dict.fromkeys(CATEGORIES, 0.1), "hate": float("nan")}},
        {"category_scores": {**dict.fromkeys(CATEGORIES, 0.1), "hate": True}},
        {"category_scores": {**dict.fromkeys(CATEGORIES, 0.1), "hate": 1.01}},
        {"category_scores": {**dict.fromkeys(CATEGORIES, 0.1), "hate": None}},
        {"category_scores": dict.fromkeys(REQUIRED, 0.1)},  # illicit is judged, but how surely?
        {"categories": {**dict.fromkeys(CATEGORIES, False), "hate": 1}},
        {"categories": {**dict.fromkeys(CATEGORIES, False), "hate": None}},
    ],
)
def test_a_result_of_another_shape_is_malformed(wrong: dict[str, Any]) -> None:
    assert cause_of(answer(result(**wrong))) == "malformed"


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"\xff\xfe{}",
        b"[" * 100_000,
        b"null",
        b'"flagged"',
        b"1" * 5_000,
        b'{"results": {}, "model": "m"}',
        b'{"results": [1], "model": "m"}',
        b'{"results": [{}]}',
        b'{"error": {"message": "no"}}',
    ],
)
def test_other_bodies_are_malformed(body: bytes) -> None:
    assert cause(body) == "malformed"


def test_nullable_categories_may_be_null_or_missing() -> None:
    categories = {**dict.fromkeys(REQUIRED, False), "illicit": None}
    known = {**dict.fromkeys(REQUIRED, 0.5), "illicit": None}
    [verdict] = read(
        json.dumps(answer(result(categories=categories, category_scores=known))).encode(), 1
    )
    assert verdict.flags == frozenset()
    assert set(verdict.scores) == set(REQUIRED)


def test_a_flagged_category_counts_even_if_flagged_denies_it() -> None:
    categories = {**dict.fromkeys(CATEGORIES, False), "hate": True}
    [verdict] = read(json.dumps(answer(result(categories=categories))).encode(), 1)
    assert verdict.flags == {"hate"}


def test_a_category_we_do_not_know_is_kept() -> None:
    categories = {**dict.fromkeys(CATEGORIES, False), "fraud": True}
    known = {**dict.fromkeys(CATEGORIES, 0), "fraud": 1}
    body = answer(result(flagged=True, categories=categories, category_scores=known))
    [verdict] = read(json.dumps(body).encode(), 1)
    assert verdict.flags == {"fraud"}
    assert verdict.scores["fraud"] == 1.0
