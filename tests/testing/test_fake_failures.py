"""Every way in which the fake can fail, as the SDK meets it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from openai import (
    APIConnectionError,
    APIError,
    APIResponseValidationError,
    APIStatusError,
    APITimeoutError,
    InternalServerError,
    OpenAI,
    RateLimitError,
)
from openai.types.chat import ChatCompletionMessageParam

from safety_middleware.testing import FakeOpenAI, Kind

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]


def stream_text(client: OpenAI) -> list[str]:
    stream = client.chat.completions.create(model="m", messages=HELLO, stream=True)
    return [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]


def test_a_status_comes_with_the_envelope_and_heals(client: OpenAI, fake: FakeOpenAI) -> None:
    with (
        fake.fail(
            "/moderations",
            status=403,
            code="misalignment_policy_violation",
            message="No.",
            param="p",
        ),
        pytest.raises(APIStatusError) as failure,
    ):
        client.moderations.create(input="a")
    error = failure.value
    assert (error.status_code, error.code, error.param) == (
        403,
        "misalignment_policy_violation",
        "p",
    )
    assert error.type == "permission_error"
    assert error.request_id == fake.requests[0].request_id
    assert client.moderations.create(input="a").results


def test_a_rate_limit_says_when_to_come_back(client: OpenAI, fake: FakeOpenAI) -> None:
    fake.fail(status=429, retry_after=1.5, headers={"retry-after-ms": "10"}, type="tokens")
    with pytest.raises(RateLimitError) as failure:
        client.moderations.create(input="a")
    assert failure.value.response.headers["retry-after"] == "1.5"
    assert failure.value.response.headers["retry-after-ms"] == "10"
    assert (failure.value.code, failure.value.type) == ("rate_limit_exceeded", "tokens")


def test_the_sdk_retries_a_failure_that_happens_once(client: OpenAI, fake: FakeOpenAI) -> None:
    fake.fail("/moderations", status=500, headers={"retry-after-ms": "1"}, times=1)
    client.with_options(max_retries=1).moderations.create(input="a")
    assert [seen.status for seen in fake.requests] == [500, 200]
    assert fake.requests[1].headers["X-Stainless-Retry-Count"] == "1"


def test_only_the_requests_meant_fail(client: OpenAI, fake: FakeOpenAI) -> None:
    fake.fail("/moderations", when=lambda seen: "bad" in seen.text)
    fake.fail("/models")
    client.moderations.create(input="good")
    with pytest.raises(InternalServerError):
        client.moderations.create(input=["quite", "bad"])
    fake.heal("/moderations")
    client.moderations.create(input="bad")
    with pytest.raises(InternalServerError):
        client.models.list()
    fake.heal()
    client.models.list()


def test_the_newest_failure_decides(client: OpenAI, fake: FakeOpenAI) -> None:
    older = fake.fail(status=500)
    with fake.fail(status=503) as newer, pytest.raises(APIStatusError) as failure:
        client.moderations.create(input="a")
    assert failure.value.status_code == 503
    newer.heal()
    older.heal()
    client.moderations.create(input="a")


def test_a_failure_can_be_slow(client: OpenAI, fake: FakeOpenAI) -> None:
    fake.fail(delay=0.05)
    begun = time.monotonic()
    with pytest.raises(InternalServerError):
        client.moderations.create(input="a")
    assert time.monotonic() - begun >= 0.05


def test_a_hanging_call_ends_when_the_client_gives_up(client: OpenAI, fake: FakeOpenAI) -> None:
    with fake.fail(kind="hang"), pytest.raises(APITimeoutError):
        client.with_options(timeout=0.3).moderations.create(input="a")
    seen = fake.wait_for(lambda: [seen for seen in fake.requests if seen.aborted])[0]
    assert seen.status is None


@pytest.mark.parametrize("kind", ["reset", "truncated", "unfinished"])
def test_broken_connections_are_connection_errors(
    client: OpenAI, fake: FakeOpenAI, kind: Kind
) -> None:
    with fake.fail(kind=kind), pytest.raises(APIConnectionError):
        client.moderations.create(input="a")
    fake.wait_for(lambda: fake.requests[0].finished)
    (seen,) = fake.requests
    assert not seen.aborted
    assert client.moderations.create(input="a").results


def broken(client: OpenAI) -> type[Exception]:
    with pytest.raises((APIResponseValidationError, json.JSONDecodeError)) as failure:
        client.moderations.create(input="a")
    return failure.type


def test_malformed_json_is_no_json(client: OpenAI, fake: FakeOpenAI) -> None:
    fake.fail(kind="malformed")
    assert broken(client) is json.JSONDecodeError


@pytest.mark.parametrize("kind", ["wrong_shape", "html"])
def test_other_shapes_fail_strict_validation(client: OpenAI, fake: FakeOpenAI, kind: Kind) -> None:
    fake.fail(kind=kind)
    assert broken(client) is APIResponseValidationError


def test_results_can_be_missing_or_too_few(client: OpenAI, fake: FakeOpenAI) -> None:
    with fake.fail(kind="empty"):
        assert client.moderations.create(input=["a", "b"]).results == []
        assert client.chat.completions.create(model="m", messages=HELLO).choices == []
        assert client.responses.create(model="m", input="a").output == []
    with fake.fail(kind="short"):
        assert len(client.moderations.create(input=["a", "b"]).results) == 1


def test_events_are_plain_errors_where_nothing_is_streamed(
    client: OpenAI, fake: FakeOpenAI
) -> None:
    fake.fail(kind="error_event", status=400, code="invalid_prompt")
    with pytest.raises(APIStatusError) as failure:
        client.chat.completions.create(model="m", messages=HELLO)
    assert failure.value.code == "invalid_prompt"


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("error_event", APIError),
        ("truncated", Exception),
        ("reset", Exception),
        ("malformed", json.JSONDecodeError),
        ("wrong_shape", APIResponseValidationError),
    ],
)
def test_a_stream_breaks_after_the_tokens_asked_for(
    client: OpenAI, fake: FakeOpenAI, kind: Kind, error: type[Exception]
) -> None:
    fake.token_interval = 0.005  # lets what was sent arrive before a reset discards it
    fake.fail(kind=kind, after_tokens=3, code="cyber_policy", param="safety_identifier")
    stream = client.chat.completions.create(model="m", messages=HELLO, stream=True)
    got: list[str] = []
    with pytest.raises(error) as failure:
        got.extend(chunk.choices[0].delta.content or "" for chunk in stream)
    stream.close()
    if isinstance(failure.value, APIError) and kind == "error_event":
        assert failure.value.param == "safety_identifier"
    fake.wait_for(lambda: fake.requests[0].finished)
    (seen,) = fake.requests
    assert (seen.tokens_sent, seen.status, seen.aborted) == (3, 200, False)


def test_an_error_can_be_the_first_event(client: OpenAI, fake: FakeOpenAI) -> None:
    fake.fail(kind="error_event", code="cyber_policy_violation")
    with pytest.raises(APIError) as failure:
        stream_text(client)
    assert failure.value.code == "cyber_policy_violation"
    assert not isinstance(failure.value, APIStatusError)


@pytest.mark.parametrize("kind", ["unfinished", "short", "failed_event"])
def test_a_cut_stream_ends_silently(client: OpenAI, fake: FakeOpenAI, kind: Kind) -> None:
    fake.fail(kind=kind, after_tokens=2)
    assert stream_text(client) == ["", "You ", "said: "]


def test_an_empty_stream_has_no_event(client: OpenAI, fake: FakeOpenAI) -> None:
    fake.fail(kind="empty")
    assert stream_text(client) == []


def test_a_trickling_answer_outlasts_a_read_timeout(client: OpenAI, fake: FakeOpenAI) -> None:
    fake.fail("/v1/moderations", "trickle")
    begun = time.monotonic()
    answer = client.with_options(timeout=0.5).moderations.create(input="[[hate]]")
    assert answer.results[0].flagged
    assert time.monotonic() - begun > 1


def test_a_stream_can_stall(client: OpenAI, fake: FakeOpenAI) -> None:
    fake.fail(kind="hang", after_tokens=1)
    stream = client.with_options(timeout=0.3).chat.completions.create(
        model="m", messages=HELLO, stream=True
    )
    with stream, pytest.raises(Exception, match="timed out"):
        list(stream)
    assert fake.wait_for(lambda: fake.requests[0].aborted)


def response_events(client: OpenAI) -> list[Any]:
    return list(client.responses.create(model="m", input="hello", stream=True))


def test_a_flat_error_event_is_an_event(client: OpenAI, fake: FakeOpenAI) -> None:
    fake.fail(kind="flat_error_event", code="bio_policy", message="No.", after_tokens=1)
    last = response_events(client)[-1]
    assert (last.type, last.code, last.message) == ("error", "bio_policy", "No.")


def test_a_response_can_fail_in_its_own_event(client: OpenAI, fake: FakeOpenAI) -> None:
    fake.fail(kind="failed_event", code="bio_policy", message="No.")
    events = response_events(client)
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.failed",
    ]
    assert events[-1].response.status == "failed"
    assert events[-1].response.error.code == "bio_policy"
