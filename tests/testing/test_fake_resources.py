"""The fake's images, models, safety cases, and what every answer has."""

from __future__ import annotations

import http.client
import json
from typing import Any

import pytest
from openai import AuthenticationError, BadRequestError, NotFoundError, OpenAI

from safety_middleware.testing import FakeOpenAI


def test_images_are_generated_and_the_identifier_comes_back(client: OpenAI) -> None:
    answer = client.images.generate(prompt="a cat", n=2, safety_identifier="u1_a", user="bob")
    assert answer.data
    assert len(answer.data) == 2
    assert (answer.data[0].b64_json or "").startswith("iVBOR")
    assert answer.safety_identifier == "u1_a"
    assert answer.usage
    assert answer.usage.input_tokens_details.text_tokens == 2


def test_an_empty_identifier_gives_way_to_the_user(client: OpenAI) -> None:
    answer = client.images.generate(prompt="a cat", safety_identifier="", user="bob")
    assert answer.safety_identifier == "bob"
    assert client.images.generate(prompt="a cat").safety_identifier is None


def test_image_streams_send_parts_and_the_whole(client: OpenAI) -> None:
    events = list(client.images.generate(prompt="a cat", stream=True, partial_images=2))
    assert [event.type for event in events] == [
        "image_generation.partial_image",
        "image_generation.partial_image",
        "image_generation.completed",
    ]


def test_edits_are_forms(client: OpenAI, fake: FakeOpenAI) -> None:
    answer = client.images.edit(
        image=[("a.png", b"\x89PNG\r\n1"), ("b.png", b"\x89PNG\r\n2")],
        prompt="add a hät",
        safety_identifier="u1_a",
        n=1,
    )
    assert answer.safety_identifier == "u1_a"
    (seen,) = fake.calls("/images/edits")
    assert seen.body["image[]"] == [b"\x89PNG\r\n1", b"\x89PNG\r\n2"]
    assert seen.body["prompt"] == "add a hät"
    assert seen.text == "add a hät"
    events = list(client.images.edit(image=b"\x89PNG", prompt="p", stream=True))
    assert [event.type for event in events] == ["image_edit.completed"]


@pytest.mark.parametrize(
    "wrong", [{"prompt": ""}, {"n": 11}, {"n": 0}, {"n": -1}, {"stream": True, "partial_images": 4}]
)
def test_impossible_images_are_refused(client: OpenAI, wrong: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"prompt": "a cat", **wrong}
    with pytest.raises(BadRequestError):
        client.images.generate(**arguments)


def test_an_edit_needs_an_image(client: OpenAI) -> None:
    with pytest.raises(BadRequestError) as refusal:
        client.post("/images/edits", body={"prompt": "p"}, cast_to=object)
    assert refusal.value.param == "image"


def test_models_can_be_listed_and_looked_up(client: OpenAI) -> None:
    assert "omni-moderation-latest" in [model.id for model in client.models.list()]
    assert client.models.retrieve("gpt-x").id == "gpt-x"


def test_safety_cases_can_be_looked_up(client: OpenAI, fake: FakeOpenAI) -> None:
    fake.add_case("C-1", "u1_abc", "deactivation", reason="Because.")
    case = client.safety.cases.retrieve("C-1")
    assert case.entity_identifier == "u1_abc"
    assert case.notice.type == "deactivation"
    assert case.reason == "Because."
    with pytest.raises(NotFoundError):
        client.safety.cases.retrieve("C-2")


def test_every_answer_has_the_headers_of_the_api(client: OpenAI, fake: FakeOpenAI) -> None:
    fake.headers["x-ratelimit-remaining-requests"] = "7"
    for raw in (
        client.moderations.with_raw_response.create(input="a"),
        client.models.with_raw_response.list(),
        client.responses.with_raw_response.create(model="m", input="a", stream=True),
    ):
        assert raw.headers["x-ratelimit-remaining-requests"] == "7"
        assert raw.headers["x-ratelimit-limit-tokens"] == "2000000"
        assert raw.headers["openai-version"] == "2020-10-01"
        assert int(raw.headers["openai-processing-ms"]) >= 0
        raw.http_response.close()
    assert raw.headers["x-request-id"] == fake.requests[-1].request_id


def test_a_key_is_required_and_any_will_do(client: OpenAI, fake: FakeOpenAI) -> None:
    with pytest.raises(AuthenticationError) as refusal:
        client.with_options(default_headers={"Authorization": "Basic x"}).models.list()
    assert refusal.value.code == "invalid_api_key"
    assert fake.requests[0].status == 401


def test_an_unknown_address_is_not_found(client: OpenAI, fake: FakeOpenAI) -> None:
    with pytest.raises(NotFoundError):
        client.embeddings.create(model="m", input="a")
    with pytest.raises(NotFoundError):
        client.get("/nothing", cast_to=object)
    assert [seen.status for seen in fake.requests] == [404, 404]


@pytest.mark.parametrize(
    ("content_type", "body", "read"),
    [
        ("application/json", b'{"input":', b'{"input":'),
        ("application/json", b'"input"', "input"),
        ("text/plain", b"{}", b"{}"),
        ("multipart/form-data; boundary=x", b"no form", {}),
        ("", b"", b""),
    ],
)
def test_bodies_that_cannot_be_used_are_logged_and_refused(
    fake: FakeOpenAI, content_type: str, body: bytes, read: Any
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", fake.port)
    headers = {"Authorization": "Bearer any", "Content-Type": content_type}
    connection.request("POST", "/v1/moderations", body, headers)
    response = connection.getresponse()
    assert response.status == 400
    assert json.loads(response.read())["error"]["param"] == "input"
    connection.close()
    assert fake.requests[0].body == read
    assert fake.requests[0].text == ""
