"""The fake's /moderations, through the SDK with strict validation."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError, OpenAI
from openai.types import Moderation, ModerationMultiModalInputParam

from safety_middleware.testing import CATEGORIES, WORDS, FakeOpenAI


def scores(moderation: Moderation) -> dict[str, float]:
    return moderation.category_scores.model_dump(by_alias=True)


def flags(moderation: Moderation) -> set[str]:
    categories: dict[str, bool] = moderation.categories.model_dump(by_alias=True)
    return {category for category, flagged in categories.items() if flagged}


def image(url: str) -> ModerationMultiModalInputParam:
    return {"type": "image_url", "image_url": {"url": url}}


def test_a_harmless_text_is_not_flagged(client: OpenAI) -> None:
    answer = client.moderations.create(input="How do I bake bread?")
    (moderation,) = answer.results
    assert not moderation.flagged
    assert flags(moderation) == set()
    assert set(scores(moderation)) == set(CATEGORIES)
    assert answer.model == "omni-moderation-latest"


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_marker_flags_exactly_its_category(client: OpenAI, category: str) -> None:
    (moderation,) = client.moderations.create(input=f"so [[{category}]] it is").results
    assert moderation.flagged
    assert flags(moderation) == {category}
    assert scores(moderation)[category] == 0.97


def test_a_marker_can_name_its_score(client: OpenAI) -> None:
    (moderation,) = client.moderations.create(
        input="[[hate:0.93]] [[sexual:.2]] [[hate:1]]"
    ).results
    assert flags(moderation) == {"hate"}
    assert scores(moderation)["hate"] == 1.0
    assert scores(moderation)["sexual"] == 0.2


@pytest.mark.parametrize("text", ["[[gossip]]", "[[hate:2]]", "[hate]", "UNSAFELY", "unsafe"])
def test_what_only_resembles_a_marker_is_not_flagged(client: OpenAI, text: str) -> None:
    assert not client.moderations.create(input=text).results[0].flagged


@pytest.mark.parametrize("word", WORDS)
def test_the_documented_words_are_flagged(client: OpenAI, word: str) -> None:
    category, score = WORDS[word]
    (moderation,) = client.moderations.create(input=f"This is {word}.").results
    assert flags(moderation) == {category}
    assert scores(moderation)[category] == score


def test_strings_get_one_result_each_in_order(client: OpenAI) -> None:
    results = client.moderations.create(input=["a", "[[violence]]", "c"]).results
    assert [moderation.flagged for moderation in results] == [False, True, False]


def test_the_parts_of_a_message_get_one_result(client: OpenAI) -> None:
    parts: list[ModerationMultiModalInputParam] = [
        {"type": "text", "text": "[[hate]]"},
        image("https://example.com/[[violence]].png"),
    ]
    (moderation,) = client.moderations.create(input=parts).results
    assert flags(moderation) == {"hate", "violence"}
    assert moderation.category_applied_input_types.violence == ["text", "image"]
    assert moderation.category_applied_input_types.hate == ["text"]


def test_a_data_url_is_judged_by_its_bytes(client: OpenAI) -> None:
    data = base64.b64encode(b"\x89PNG [[sexual]]").decode()
    for url in (f"data:image/png;base64,{data}", "data:image/svg+xml,%5B%5Bsexual%5D%5D"):
        (moderation,) = client.moderations.create(input=[image(url)]).results
        assert flags(moderation) == {"sexual"}
        assert moderation.category_applied_input_types.harassment == []


def test_images_are_not_scored_for_categories_of_texts(client: OpenAI) -> None:
    (moderation,) = client.moderations.create(input=[image("https://example.com/[[hate]]")]).results
    assert not moderation.flagged


@pytest.mark.parametrize(
    "value",
    [
        [],
        ["a", 1],
        [["a"]],
        [[{"type": "text", "text": "a"}]],
        [{"type": "text"}],
        [image("data:image/png;base64,A")],
        [image("data:image/png;base64,\xe9")],
        7,
        None,
    ],
)
def test_input_of_another_form_is_refused(client: OpenAI, value: Any) -> None:
    with pytest.raises(BadRequestError) as refusal:
        client.moderations.create(input=value)
    assert refusal.value.param == "input"
    assert refusal.value.type == "invalid_request_error"


def test_the_async_client_gets_the_same(with_async: Any) -> None:
    async def call(client: AsyncOpenAI) -> bool:
        return (await client.moderations.create(input="[[illicit]]")).results[0].flagged

    assert with_async(call) is True


def test_the_model_asked_for_is_named(client: OpenAI, fake: FakeOpenAI) -> None:
    assert client.moderations.create(input="a", model="omni-x").model == "omni-x"
    assert fake.calls("/moderations")[0].body == {"input": "a", "model": "omni-x"}
