"""The fake's /responses, through the SDK with strict validation."""

from __future__ import annotations

from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError, OpenAI
from pydantic import BaseModel

from safety_middleware.testing import FakeOpenAI


def test_a_response_echoes_what_it_was_asked_with(client: OpenAI) -> None:
    response = client.responses.create(
        model="gpt-x",
        input="hello",
        safety_identifier="u1_abc",
        instructions="Be kind.",
        metadata={"a": "b"},
    )
    assert response.output_text.startswith("You said: hello ")
    assert response.status == "completed"
    assert response.safety_identifier == "u1_abc"
    assert response.instructions == "Be kind."
    assert response.metadata == {"a": "b"}
    assert response.usage
    assert response.usage.output_tokens == 40


def test_a_cap_makes_it_incomplete(client: OpenAI) -> None:
    response = client.responses.create(model="m", input="hello", max_output_tokens=2)
    assert response.output_text.split() == ["You", "said:"]
    assert response.status == "incomplete"
    assert response.incomplete_details
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.max_output_tokens == 2


def test_a_stream_has_its_events_in_order(client: OpenAI, fake: FakeOpenAI) -> None:
    fake.reply = ["a ", "b"]
    events = list(client.responses.create(model="m", input="hello", stream=True))
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(10))
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == "a b"
    assert fake.requests[0].tokens_sent == 2


def test_a_capped_stream_ends_incomplete(client: OpenAI) -> None:
    stream = client.responses.create(model="m", input="hello", stream=True, max_output_tokens=2)
    *_, last = stream
    assert last.type == "response.incomplete"


def test_the_stream_helper_accumulates(client: OpenAI) -> None:
    with client.responses.stream(model="m", input="hello") as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert final.output_text == "".join(deltas)


class Bread(BaseModel):
    grams: int


def test_parse_reads_structured_replies(client: OpenAI, fake: FakeOpenAI) -> None:
    fake.reply = '{"grams": 500}'
    parsed = client.responses.parse(model="m", input="hello", text_format=Bread)
    assert parsed.output_parsed == Bread(grams=500)


def test_moderated_responses_carry_their_verdicts(client: OpenAI, fake: FakeOpenAI) -> None:
    fake.reply = "[[violence]]"
    moderation: Any = {"model": "omni-moderation-latest"}
    content: Any = [
        {"type": "input_text", "text": "[[hate]]"},
        {"type": "input_image", "image_url": "https://x/[[sexual]]", "detail": "auto"},
        {"type": "input_file", "file_id": "file-1"},
    ]
    response = client.responses.create(
        model="m", input=[{"role": "user", "content": content}], moderation=moderation
    )
    assert response.moderation
    assert response.moderation.input.type == "moderation_result"
    assert response.moderation.input.categories["hate"]
    assert response.moderation.input.categories["sexual"]
    assert response.moderation.output.type == "moderation_result"
    assert response.moderation.output.flagged


def test_the_last_input_is_what_the_request_is_about(client: OpenAI, fake: FakeOpenAI) -> None:
    client.responses.create(
        model="m",
        input=[{"role": "user", "content": "first"}, {"role": "user", "content": "second"}],
    )
    assert fake.requests[0].text == "second"


def test_the_async_client_streams(with_async: Any) -> None:
    async def call(client: AsyncOpenAI) -> str:
        async with client.responses.stream(model="m", input="hello") as stream:
            return (await stream.get_final_response()).output_text

    assert str(with_async(call)).startswith("You said: hello")


def test_beta_requests_are_the_same(client: OpenAI, fake: FakeOpenAI) -> None:
    client.beta.responses.create(model="m", input="hello")
    assert fake.calls("/responses")[0].query == "beta=true"


@pytest.mark.parametrize("wrong", [{"input": ""}, {"max_output_tokens": -1}])
def test_impossible_requests_are_refused(client: OpenAI, wrong: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"model": "m", "input": "hello", **wrong}
    with pytest.raises(BadRequestError):
        client.responses.create(**arguments)
