"""Every way of the SDK to make a model call carries the identifier and at most the cap."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from openai import AsyncAzureOpenAI, AsyncOpenAI, AzureOpenAI, OpenAI
from pydantic import BaseModel

from safety_middleware import (
    ContentBlocked,
    Decision,
    NoCurrentTurn,
    SafetyError,
    SettingsError,
)
from safety_middleware.openai import (
    GuardedAsyncHttpClient,
    GuardedHttpClient,
    guard_client,
    safety_headers,
    set_unbound,
)
from safety_middleware.testing import FakeOpenAI
from safety_middleware.turn import Turn, bound

KEY = {"Authorization": "Bearer any"}
SAID: Any = [{"role": "user", "content": "hello"}]


class Word(BaseModel):
    word: str


def use_chat(client: Any) -> Any:
    return client.chat.completions.create(model="m", messages=SAID, max_tokens=10**6)


def use_responses(client: Any) -> Any:
    return client.responses.create(model="m", input="hello", safety_identifier="mine")


def use_extra_body(client: Any) -> Any:
    extra = {"safety_identifier": "mine", "max_output_tokens": 10**6}
    return client.responses.create(model="m", input="hello", extra_body=extra)


def use_images(client: Any) -> Any:
    return client.images.generate(model="m", prompt="hello")


def use_multipart(client: Any) -> Any:
    return client.images.edit(model="m", prompt="hello", image=b"png")


def use_raw(client: Any) -> Any:
    return client.chat.completions.with_raw_response.create(model="m", messages=SAID)


def use_options(client: Any) -> Any:
    return client.with_options(timeout=5).copy(max_retries=1).responses.create(model="m", input="x")


def use_post(client: Any) -> Any:
    return client.post("/responses", body={"model": "m", "input": "x"}, cast_to=object)


CALLS = [
    use_chat,
    use_responses,
    use_extra_body,
    use_images,
    use_multipart,
    use_raw,
    use_options,
    use_post,
]


def marks(fake: FakeOpenAI) -> list[tuple[Any, Any]]:
    """Identifier and cap of each request."""
    names = ("max_tokens", "max_completion_tokens", "max_output_tokens")
    return [
        (
            seen.body.get("safety_identifier"),
            next((seen.body[n] for n in names if n in seen.body), None),
        )
        for seen in fake.requests
    ]


@pytest.mark.parametrize("call", CALLS)
def test_each_method_carries_identifier_and_cap(  # noqa: PLR0917  # fixtures
    call: Callable[[Any], Any],
    client: OpenAI,
    with_async: Callable[[Callable[[AsyncOpenAI], Any]], Any],
    fake: FakeOpenAI,
    turn_of: Callable[..., Turn],
    identifier: str,
) -> None:
    with bound(turn_of(max_output_tokens=200)):
        call(client)
        with_async(call)
    cap = None if call in {use_images, use_multipart} else 200
    assert marks(fake) == [(identifier, cap)] * 2


def test_streams_of_every_kind_carry_identifier_and_cap(
    client: OpenAI, fake: FakeOpenAI, turn_of: Callable[..., Turn], identifier: str
) -> None:
    chat = (
        client.chat.completions
        if hasattr(client.chat.completions, "stream")
        else client.beta.chat.completions
    )
    with bound(turn_of(max_output_tokens=200)):
        plain = client.chat.completions.create(model="m", messages=SAID, stream=True)
        assert [chunk.choices[0].finish_reason for chunk in plain][-1] == "stop"
        assert list(client.responses.create(model="m", input="hello", stream=True))
        with chat.stream(model="m", messages=SAID) as stream:
            assert stream.get_final_completion().choices[0].message.content
        with client.responses.stream(model="m", input="hello") as answer:
            assert answer.get_final_response().output_text
        with client.responses.with_streaming_response.create(model="m", input="x") as raw:
            assert b"".join(raw.iter_bytes())
    assert marks(fake) == [(identifier, 200)] * 5


def test_parsed_answers_carry_identifier_and_cap(
    fake: FakeOpenAI, turn_of: Callable[..., Turn], identifier: str
) -> None:
    fake.reply = '{"word": "hi"}'
    made = OpenAI(base_url=fake.base_url, api_key="any", max_retries=0)
    with guard_client(made) as client, bound(turn_of(max_output_tokens=200)):
        chat = (
            client.chat.completions
            if hasattr(client.chat.completions, "parse")
            else client.beta.chat.completions
        )
        parsed = chat.parse(model="m", messages=SAID, response_format=Word)
        assert parsed.choices[0].message.parsed == Word(word="hi")
        assert client.responses.parse(model="m", input="x", text_format=Word).output_parsed
    made.close()
    assert marks(fake) == [(identifier, 200)] * 2


@pytest.mark.parametrize("kind", [AzureOpenAI, AsyncAzureOpenAI])
def test_azure_clients_keep_their_type_and_paths(
    kind: Any, fake: FakeOpenAI, turn_of: Callable[..., Turn], identifier: str
) -> None:
    async def main() -> None:
        made = kind(azure_endpoint=fake.url, api_key="any", api_version="2025-01-01")
        client = guard_client(made)
        assert type(client) is kind
        with bound(turn_of(max_output_tokens=200)):
            answer = client.chat.completions.create(model="my-gpt", messages=SAID)
            await answer if isinstance(client, AsyncAzureOpenAI) else None
        for each in (made, client):
            closing = each.close()
            await closing if closing is not None else None

    asyncio.run(main())
    assert fake.requests[0].path == "/openai/deployments/my-gpt/chat/completions"
    assert marks(fake) == [(identifier, 200)]


def test_each_retry_carries_them(
    fake: FakeOpenAI, turn_of: Callable[..., Turn], identifier: str
) -> None:
    fake.fail("/responses", status=500, times=1, headers={"retry-after-ms": "1"})
    made = OpenAI(base_url=fake.base_url, api_key="any", max_retries=1)
    turn = turn_of(max_output_tokens=200)
    with guard_client(made) as client, bound(turn):
        use_responses(client)
    made.close()
    assert marks(fake) == [(identifier, 200)] * 2
    assert (turn.guarded_calls, turn.route.seen_guarded) == (2, True)


@pytest.mark.parametrize("inside", [True, False])
def test_other_requests_are_left_alone(
    inside: bool, client: OpenAI, fake: FakeOpenAI, turn_of: Callable[..., Turn]
) -> None:
    turn = turn_of("model")
    with bound(turn if inside else None):
        assert client.models.list().data
        client.moderations.create(input="hello")
    assert fake.requests[-1].body == {"input": "hello"}
    assert turn.guarded_calls == 0


def test_outside_a_turn_requests_are_the_same_byte_by_byte(fake: FakeOpenAI) -> None:
    def sent(client: OpenAI) -> list[tuple[Any, ...]]:
        fake.clear()
        for call in CALLS:
            call(client)
        volatile = {"idempotency-key", "content-type"}
        return [
            (
                s.path,
                s.query,
                {k: v for k, v in s.headers.items() if k.lower() not in volatile},
                s.body,
            )
            for s in fake.requests
        ]

    with OpenAI(base_url=fake.base_url, api_key="any") as plain, guard_client(plain) as guarded:
        assert sent(guarded) == sent(plain)


def test_a_turn_nobody_is_known_in_still_has_its_cap(
    client: OpenAI, fake: FakeOpenAI, turn_of: Callable[..., Turn]
) -> None:
    turn = turn_of(max_output_tokens=200)
    turn.identity = None
    with bound(turn):
        use_post(client)
    assert marks(fake) == [(None, 200)]


def test_a_length_the_app_sent_is_put_right(client: OpenAI, turn_of: Callable[..., Turn]) -> None:
    with bound(turn_of()):
        body = {"model": "m", "input": "x"}
        headers = {"Content-Length": str(len(json.dumps(body)))}
        client.post("/responses", body=body, cast_to=object, options={"headers": headers})


def test_a_turn_that_is_admitted_late_is_admitted_before_its_model_call(
    client: OpenAI, fake: FakeOpenAI, turn_of: Callable[..., Turn], blocked: Decision
) -> None:
    turn = turn_of()
    turn.admit_first = lambda: (turn.decide(blocked), None)[1]
    with bound(turn), pytest.raises(ContentBlocked) as caught:
        use_responses(client)
    assert caught.value.decision is blocked
    assert fake.requests == []


def test_a_body_that_is_no_json_object_is_not_sent(
    client: OpenAI, fake: FakeOpenAI, turn_of: Callable[..., Turn]
) -> None:
    with bound(turn_of()), pytest.raises(SafetyError, match="no JSON object"):
        client.post("/responses", body=["hello"], cast_to=object)
    assert fake.requests == []


# Guarding


def test_the_copy_keeps_what_the_client_was_told(fake: FakeOpenAI) -> None:
    with (
        OpenAI(
            base_url=fake.base_url,
            api_key="k",
            timeout=3.0,
            max_retries=7,
            organization="o",
            default_headers={"x-mine": "1"},
            default_query={"q": "1"},
        ) as made,
        guard_client(made) as client,
    ):
        assert type(client) is OpenAI
        assert client is not made
        assert (client.base_url, client.timeout, client.max_retries) == (made.base_url, 3.0, 7)
        use_responses(client)
    assert (fake.requests[0].headers["x-mine"], fake.requests[0].query) == ("1", "q=1")


def test_a_guarded_client_is_not_guarded_twice(
    client: OpenAI, fake: FakeOpenAI, turn_of: Callable[..., Turn]
) -> None:
    turn = turn_of()
    with bound(turn):
        use_responses(guard_client(guard_client(client)))
    assert turn.guarded_calls == 1


def test_only_clients_of_the_sdk_can_be_guarded() -> None:
    with pytest.raises(TypeError, match="str is no OpenAI client"):
        guard_client("client")  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]


def test_the_apps_own_http_client_keeps_its_settings_and_connections(
    fake: FakeOpenAI, turn_of: Callable[..., Turn], identifier: str
) -> None:
    seen: list[str] = []

    def see(request: Any) -> None:
        seen.append(request.method)

    own = openai.DefaultHttpxClient(event_hooks={"request": [see]}, headers={"x-own": "1"})
    with OpenAI(base_url=fake.base_url, api_key="any", http_client=own) as plain:
        client = guard_client(plain)
        use_responses(plain)
        with bound(turn_of()):
            use_responses(client)
    assert marks(fake) == [("mine", None), (identifier, 4_096)]
    assert [s.connection for s in fake.requests] == [1, 1]
    assert fake.requests[1].headers["x-own"] == "1"
    assert seen == ["POST", "POST"]


def test_an_own_http_client_that_closes_itself_stays_open_for_its_owner(fake: FakeOpenAI) -> None:
    class Closing(openai.DefaultHttpxClient):
        def __del__(self) -> None:
            self.close()

    own = Closing()
    plain = OpenAI(base_url=fake.base_url, api_key="any", http_client=own)
    use_responses(guard_client(plain))
    use_responses(plain)
    assert [s.connection for s in fake.requests] == [1, 1]
    plain.close()


def test_what_a_guarded_client_made_for_itself_is_closed_with_it(fake: FakeOpenAI) -> None:
    async def main() -> None:
        async with AsyncOpenAI(base_url=fake.base_url, api_key="any") as made:
            client = guard_client(made)
            await use_responses(client)
            http: Any = getattr(client, "_client")  # noqa: B009  # the SDK has no public name
            del client
            gc.collect()  # the SDK's clients hold themselves
            before = asyncio.all_tasks()
            del http
            closing = asyncio.all_tasks() - before
            assert len(closing) == 1
            await asyncio.wait(closing)

    asyncio.run(main())


def test_an_own_asynchronous_http_client_is_guarded_too(
    fake: FakeOpenAI, turn_of: Callable[..., Turn], identifier: str
) -> None:
    async def main() -> None:
        own = openai.DefaultAsyncHttpxClient()
        async with AsyncOpenAI(base_url=fake.base_url, api_key="any", http_client=own) as plain:
            with bound(turn_of()):
                await use_responses(guard_client(plain))

    asyncio.run(main())
    assert marks(fake) == [(identifier, 4_096)]


def test_the_http_clients_can_be_handed_to_whatever_takes_one(
    fake: FakeOpenAI, turn_of: Callable[..., Turn], identifier: str
) -> None:
    async def main() -> None:
        http = GuardedAsyncHttpClient(unbound="raise")
        async with AsyncOpenAI(base_url=fake.base_url, api_key="any", http_client=http) as client:
            with bound(turn_of()):
                await use_responses(client)
            with pytest.raises(NoCurrentTurn):
                await use_responses(client)

    asyncio.run(main())
    http = GuardedHttpClient()
    assert isinstance(http, openai.DefaultHttpxClient)
    client = OpenAI(base_url=fake.base_url, api_key="any", http_client=http)
    with client, bound(turn_of()):
        use_responses(client)
    assert marks(fake) == [(identifier, 4_096)] * 2


def test_the_module_level_client_of_the_sdk_can_be_guarded(
    fake: FakeOpenAI, turn_of: Callable[..., Turn], identifier: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with GuardedHttpClient() as http:
        monkeypatch.setattr(openai, "http_client", http)
        monkeypatch.setattr(openai, "base_url", f"{fake.base_url}/")
        monkeypatch.setattr(openai, "api_key", "any")
        monkeypatch.setattr(openai, "_client", None)
        with bound(turn_of()):
            use_responses(openai)
    assert marks(fake) == [(identifier, 4_096)]


# Requests the SDK did not build


@pytest.fixture
def http(fake: FakeOpenAI) -> Iterator[GuardedHttpClient]:
    with GuardedHttpClient(base_url=fake.base_url, headers=KEY) as http:
        yield http


def build(http: Any, path: str, **arguments: Any) -> Any:
    """A request that did not go through ``build_request``."""
    probe = http.build_request("GET", path)
    return type(probe)("POST", probe.url, headers=KEY, **arguments)


def test_a_request_built_elsewhere_is_marked_when_it_is_sent(
    http: GuardedHttpClient, fake: FakeOpenAI, turn_of: Callable[..., Turn], identifier: str
) -> None:
    with bound(turn_of(max_output_tokens=200)):
        http.send(build(http, "/responses", json={"model": "m", "input": "x"})).raise_for_status()
        http.send(build(http, "/audio/speech", json={"input": "x"}))
        http.send(build(http, "/realtime/client_secrets", json={}))

        async def main() -> None:
            async with GuardedAsyncHttpClient(base_url=fake.base_url, headers=KEY) as other:
                await other.send(build(other, "/responses", json={"model": "m", "input": "x"}))
                await other.send(build(other, "/audio/speech", json={}))

        asyncio.run(main())
    assert marks(fake)[0] == marks(fake)[3] == (identifier, 200)
    assert fake.requests[2].headers["openai-safety-identifier"] == identifier


def test_a_request_built_in_another_turn_names_who_sends_it(
    http: GuardedHttpClient, fake: FakeOpenAI, turn_of: Callable[..., Turn], identifier: str
) -> None:
    set_unbound("s1_jobs")
    request = http.build_request("POST", "/responses", json={"model": "m", "input": "x"})
    with bound(turn_of()):
        http.send(request)
    http.send(request)
    assert [who for who, _ in marks(fake)] == [identifier, "s1_jobs"]


def test_outside_a_turn_a_request_built_elsewhere_is_left_alone(
    http: GuardedHttpClient, fake: FakeOpenAI
) -> None:
    http.send(build(http, "/responses", json={"model": "m", "input": "x"}))
    assert marks(fake) == [(None, None)]


# Outside a turn


def test_a_call_outside_a_turn_is_logged_once_for_each_place(
    client: OpenAI, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "safety_middleware"):
        for _ in range(3):
            client.responses.create(model="m", input="secret words")
        client.responses.create(model="m", input="secret words")
    told = [record.getMessage() for record in caplog.records if record.name == "safety_middleware"]
    assert len(told) == 2
    assert all(__file__ in text and "secret" not in text for text in told)


def test_a_call_outside_a_turn_can_be_an_error(fake: FakeOpenAI) -> None:
    made = OpenAI(base_url=fake.base_url, api_key="any")
    with made, guard_client(made, unbound="raise") as client:
        with pytest.raises(NoCurrentTurn, match=r"safety\.bind"):
            use_responses(client)
        assert client.models.list().data


def test_a_call_outside_a_turn_can_carry_an_identifier(client: OpenAI, fake: FakeOpenAI) -> None:
    set_unbound("s1_jobs")
    use_responses(client)
    use_chat(client)
    assert marks(fake) == [("s1_jobs", None), ("s1_jobs", 10**6)]


@pytest.mark.parametrize("unbound", ["", "two words", "naïve", "x" * 65, "a\nb"])
def test_an_impossible_identifier_is_an_error_at_once(unbound: str) -> None:
    with pytest.raises(SettingsError, match="unbound_calls"):
        set_unbound(unbound)
    with pytest.raises(SettingsError, match="unbound_calls"):
        guard_client(OpenAI(api_key="any"), unbound=unbound)


def test_realtime_sessions_get_their_header_from_the_turn(
    turn_of: Callable[..., Turn], identifier: str
) -> None:
    with bound(turn_of()):
        assert safety_headers() == {"OpenAI-Safety-Identifier": identifier}
    with pytest.raises(NoCurrentTurn):
        safety_headers()


def test_importing_the_seam_does_not_import_the_sdk() -> None:
    code = (
        "import sys, safety_middleware.openai as o; assert 'openai' not in sys.modules\n"
        "assert o.GuardedHttpClient and 'openai' in sys.modules\n"
        "from safety_middleware.openai import GuardedAsyncHttpClient\n"
        "try: o.nothing\n"
        "except AttributeError as error: assert 'nothing' in str(error)\n"
        "else: raise SystemExit(1)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
