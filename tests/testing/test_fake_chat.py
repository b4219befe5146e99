"""The fake's /chat/completions, through the SDK with strict validation."""

from __future__ import annotations

from typing import Any

import pytest
from openai import AsyncOpenAI, AzureOpenAI, BadRequestError, OpenAI
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam
from pydantic import BaseModel

from safety_middleware.testing import FakeOpenAI

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]
MODERATED: Any = {"model": "omni-moderation-latest"}


def text_of(chunks: list[ChatCompletionChunk], index: int = 0) -> str:
    choices = [c for chunk in chunks for c in chunk.choices if c.index == index]
    return "".join(choice.delta.content or "" for choice in choices)


def test_the_default_reply_echoes_and_has_the_length_asked_for(client: OpenAI) -> None:
    completion = client.chat.completions.create(model="gpt-x", messages=HELLO)
    text = completion.choices[0].message.content or ""
    assert text.startswith("You said: hello ")
    assert len(text.split()) == 40
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage
    assert completion.usage.completion_tokens == 40
    assert completion.model == "gpt-x"


def test_the_same_request_gets_the_same_reply(client: OpenAI) -> None:
    first, second = (
        client.chat.completions.create(model="m", messages=HELLO).choices for _ in range(2)
    )
    assert first == second


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize(("cap", "reason"), [(1, "length"), (3, "stop"), (4, "stop")])
def test_caps_are_honoured(
    client: OpenAI, fake: FakeOpenAI, name: str, cap: int, reason: str
) -> None:
    fake.reply = "one two three"
    caps: dict[str, Any] = {name: cap}
    create: Any = client.chat.completions.create
    (choice,) = create(model="m", messages=HELLO, **caps).choices
    assert choice.finish_reason == reason
    assert len(choice.message.content.split()) == min(cap, 3)
    chunks = list(create(model="m", messages=HELLO, stream=True, **caps))
    assert chunks[-1].choices[0].finish_reason == reason
    assert text_of(chunks) == choice.message.content


def test_a_stream_has_a_role_its_tokens_and_a_reason(client: OpenAI, fake: FakeOpenAI) -> None:
    fake.reply = ["Hel", "lo \ud83d\ude00", "\n"]
    stream = client.chat.completions.create(model="m", messages=HELLO, stream=True)
    choices = [chunk.choices[0] for chunk in stream]
    assert choices[0].delta.role == "assistant"
    assert [choice.delta.content for choice in choices[1:-1]] == ["Hel", "lo \U0001f600", "\n"]
    assert [choice.finish_reason for choice in choices] == [None] * 4 + ["stop"]
    assert fake.requests[0].tokens_sent == 3
    assert fake.requests[0].status == 200


def test_replies_can_depend_on_the_request(client: OpenAI, fake: FakeOpenAI) -> None:
    fake.reply = lambda body: [body["messages"][0]["content"].upper(), "!"]
    completion = client.chat.completions.create(model="m", messages=HELLO)
    assert completion.choices[0].message.content == "HELLO!"
    assert fake.calls("/chat/completions")[0].text == "hello"


def test_every_choice_can_say_something_else(client: OpenAI, fake: FakeOpenAI) -> None:
    fake.reply = {0: "a b c", 1: lambda _: ["x"]}
    whole = client.chat.completions.create(model="m", messages=HELLO, n=3)
    assert [choice.message.content for choice in whole.choices] == ["a b c", "x", ""]
    chunks = list(client.chat.completions.create(model="m", messages=HELLO, n=3, stream=True))
    assert [text_of(chunks, index) for index in range(3)] == ["a b c", "x", ""]
    assert fake.requests[1].tokens_sent == 4


def test_usage_comes_last_when_asked_for(client: OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="m", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[-1].usage
    assert chunks[-1].usage.total_tokens == 41
    assert chunks[-1].choices == []
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_moderated_completions_carry_their_verdicts(client: OpenAI, fake: FakeOpenAI) -> None:
    fake.reply = {0: "fine", 1: "[[violence]]"}
    messages: list[ChatCompletionMessageParam] = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "[[hate]]"},
                {"type": "image_url", "image_url": {"url": "https://x/[[sexual]]"}},
            ],
        }
    ]
    whole = client.chat.completions.create(model="m", messages=messages, n=2, moderation=MODERATED)
    assert whole.moderation
    assert whole.moderation.input.type == "moderation_results"
    assert whole.moderation.output.type == "moderation_results"
    (of_input,) = whole.moderation.input.results
    assert of_input.categories["hate"]
    assert of_input.categories["sexual"]
    assert [result.flagged for result in whole.moderation.output.results] == [False, True]
    chunks = list(
        client.chat.completions.create(
            model="m", messages=messages, n=2, moderation=MODERATED, stream=True
        )
    )
    assert chunks[-1].choices == []
    assert chunks[-1].moderation
    assert chunks[-1].moderation.model_dump() == whole.moderation.model_dump()


def test_the_stream_helper_accumulates(client: OpenAI) -> None:
    with client.chat.completions.stream(model="m", messages=HELLO) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert (final.choices[0].message.content or "").startswith("You said: hello")


class Bread(BaseModel):
    grams: int


def test_parse_reads_structured_replies(client: OpenAI, fake: FakeOpenAI) -> None:
    fake.reply = '{"grams": 500}'
    parsed = client.chat.completions.parse(model="m", messages=HELLO, response_format=Bread)
    assert parsed.choices[0].message.parsed == Bread(grams=500)


def test_the_async_client_streams(with_async: Any) -> None:
    async def call(client: AsyncOpenAI) -> str:
        stream = await client.chat.completions.create(model="m", messages=HELLO, stream=True)
        return text_of([chunk async for chunk in stream])

    assert str(with_async(call)).startswith("You said: hello")


def test_azure_clients_are_served(fake: FakeOpenAI) -> None:
    with AzureOpenAI(azure_endpoint=fake.url, api_key="any", api_version="2026-10-01") as client:
        client.chat.completions.create(model="deployed", messages=HELLO)
    (seen,) = fake.calls("/chat/completions")
    assert seen.path == "/openai/deployments/deployed/chat/completions"
    assert seen.query == "api-version=2026-10-01"


@pytest.mark.parametrize(
    "wrong",
    [
        {"messages": []},
        {"messages": "hello"},
        {"n": 0},
        {"n": 129},
        {"n": "2"},
        {"max_tokens": 0},
        {"max_completion_tokens": "5"},
        {"max_tokens": True},
    ],
)
def test_impossible_requests_are_refused(client: OpenAI, wrong: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"model": "m", "messages": HELLO, **wrong}
    with pytest.raises(BadRequestError):
        client.chat.completions.create(**arguments)
