"""Which requests are model calls, and what is set in them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_middleware import SafetyError
from safety_middleware.openai._endpoints import SAFETY_HEADER, Endpoint, endpoint_of
from safety_middleware.openai._rewrite import Marks

BASE = "https://api.openai.com/v1"
AZURE = "https://x.openai.azure.com/openai/deployments/my-gpt"


@pytest.mark.parametrize(
    ("url", "identifier", "caps"),
    [
        (f"{BASE}/chat/completions", "body", ("max_completion_tokens", "max_tokens")),
        (
            f"{AZURE}/chat/completions?api-version=1",
            "body",
            ("max_completion_tokens", "max_tokens"),
        ),
        (f"{BASE}/responses", "body", ("max_output_tokens",)),
        (f"{BASE}/responses?beta=true", "body", ("max_output_tokens",)),
        (f"{BASE}/responses/", "body", ("max_output_tokens",)),
        (f"{BASE}/responses/compact", None, ()),
        (f"{BASE}/completions", None, ("max_tokens",)),
        (f"{AZURE}/completions", None, ("max_tokens",)),
        (f"{BASE}/images/generations", "body", ()),
        (f"{BASE}/images/edits", "body", ()),
        (f"{BASE}/images/variations", None, ()),
        (f"{BASE}/decisions", "body", ()),
        (f"{BASE}/live/sessions", "session", ()),
        (f"{BASE}/live/sessions/s_1/accept", "body", ()),
        (f"{BASE}/live/sessions/s_1/fork", None, ()),
        (f"{BASE}/realtime/client_secrets", "header", ()),
        (f"{BASE}/realtime/calls/c_1/accept", "header", ()),
        (f"{BASE}/threads/runs", None, ("max_completion_tokens",)),
        (f"{BASE}/threads/t_1/runs", None, ("max_completion_tokens",)),
        (f"{BASE}/threads/t_1/runs/r_1/submit_tool_outputs", None, ()),
        (f"{BASE}/audio/speech", None, ()),
        (f"{BASE}/videos", None, ()),
        (f"{BASE}/videos/v_1/remix", None, ()),
        ("responses", "body", ("max_output_tokens",)),
    ],
)
def test_a_model_call_is_known_by_the_end_of_its_path(
    url: str, identifier: str | None, caps: tuple[str, ...]
) -> None:
    endpoint = endpoint_of("post", url)
    assert endpoint is not None
    assert (endpoint.identifier, endpoint.caps) == (identifier, caps)


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("GET", f"{BASE}/responses/resp_1"),
        ("GET", f"{BASE}/chat/completions"),
        ("DELETE", f"{BASE}/responses"),
        ("POST", f"{BASE}/responses/resp_1/cancel"),
        ("POST", f"{BASE}/responses/input_tokens"),
        ("POST", f"{BASE}/chat/completions/chatcmpl_1"),
        ("POST", f"{BASE}/moderations"),
        ("POST", f"{BASE}/embeddings"),
        ("POST", f"{BASE}/files?x=/responses"),
        ("POST", f"{BASE}/threads/t_1/messages"),
        ("POST", f"{BASE}/threads"),
        ("POST", "/"),
        ("POST", ""),
    ],
)
def test_everything_else_is_no_model_call(method: str, url: str) -> None:
    assert endpoint_of(method, url) is None


def rewritten(path: str, body: object, cap: int | None = 100) -> dict[str, Any]:
    """The *body* of a request to *path* as it leaves, the same whichever form it came in."""
    endpoint = endpoint_of("POST", path)
    assert endpoint is not None
    marks = Marks("u1_x", cap)
    as_bytes: dict[str, Any] = {"content": json.dumps(body).encode()}
    as_value: dict[str, Any] = {"json": body}
    marks.apply(endpoint, as_bytes)
    marks.apply(endpoint, as_value)
    sent: dict[str, Any] = json.loads(as_bytes["content"])
    assert as_value["json"] == sent
    return sent


@pytest.mark.parametrize(
    ("path", "asked", "sent"),
    [
        ("/chat/completions", {}, {"max_completion_tokens": 100}),
        ("/chat/completions", {"max_completion_tokens": 7}, {"max_completion_tokens": 7}),
        ("/chat/completions", {"max_completion_tokens": 700}, {"max_completion_tokens": 100}),
        ("/chat/completions", {"max_tokens": 7}, {"max_tokens": 7}),
        ("/chat/completions", {"max_tokens": 700}, {"max_tokens": 100}),
        (
            "/chat/completions",
            {"max_tokens": None},
            {"max_tokens": None, "max_completion_tokens": 100},
        ),
        (
            "/chat/completions",
            {"max_tokens": 700, "max_completion_tokens": 70},
            {"max_tokens": 100, "max_completion_tokens": 70},
        ),
        ("/responses", {}, {"max_output_tokens": 100}),
        ("/responses", {"max_output_tokens": 1e3}, {"max_output_tokens": 100}),
        ("/responses", {"max_output_tokens": "900"}, {"max_output_tokens": 100}),
        ("/responses", {"max_output_tokens": True}, {"max_output_tokens": 100}),
        ("/responses", {"max_output_tokens": {"a": 1}}, {"max_output_tokens": 100}),
        ("/responses", {"max_output_tokens": 10**60}, {"max_output_tokens": 100}),
        ("/images/generations", {"n": 2}, {"n": 2}),
        ("/decisions", {"safety_identifier": "mine"}, {}),
    ],
)
def test_the_identifier_is_set_and_the_cap_never_raised(
    path: str, asked: dict[str, Any], sent: dict[str, Any]
) -> None:
    assert rewritten(path, {"model": "m", **asked}) == {
        "model": "m",
        **sent,
        "safety_identifier": "u1_x",
    }


def test_legacy_completions_get_the_cap_they_know_and_nothing_else() -> None:
    assert rewritten("/completions", {"prompt": "x"}) == {"prompt": "x", "max_tokens": 100}


def test_without_a_cap_only_the_identifier_is_set() -> None:
    sent = rewritten("/responses", {"max_output_tokens": 10**6}, cap=None)
    assert sent == {"max_output_tokens": 10**6, "safety_identifier": "u1_x"}


def test_a_live_session_carries_the_identifier_inside() -> None:
    body = {"session": {"model": "m", "safety_identifier": "a"}, "transport": {"type": "webrtc"}}
    sent = rewritten("/live/sessions", body)
    assert sent == {**body, "session": {"model": "m", "safety_identifier": "u1_x"}}
    assert rewritten("/live/sessions", {"session": None}) == {"session": None}


@given(st.lists(st.none() | st.integers(), min_size=1, max_size=4), st.integers(1, 1000))
def test_no_reading_of_a_body_with_duplicates_finds_more_than_the_cap(
    asked: list[int | None], cap: int
) -> None:
    pairs = ",".join(f'"max_output_tokens":{json.dumps(value)}' for value in asked)
    sent = Marks(None, cap).in_json(Endpoint(caps=("max_output_tokens",)), f"{{{pairs}}}".encode())
    found: list[tuple[str, int | None]] = json.loads(sent, object_pairs_hook=list)
    allowed = {min([cap, *(value for value in asked if value is not None)])}
    assert {value for _, value in found if value is not None} <= allowed | {cap}
    if any(value is not None for value in asked):
        assert {value for _, value in found} == allowed


@pytest.mark.parametrize(
    "name", ["openai-safety-identifier", SAFETY_HEADER, b"OPENAI-safety-identifier"]
)
@pytest.mark.parametrize("form", [list, dict])
def test_realtime_sessions_are_named_in_a_header(name: Any, form: Any) -> None:
    endpoint = endpoint_of("POST", "/realtime/client_secrets")
    assert endpoint is not None
    arguments: dict[str, Any] = {"headers": form([(name, "mine"), ("a", "b")]), "json": {"x": 1}}
    Marks("u1_x", 5).apply(endpoint, arguments)
    assert arguments == {"headers": [("a", "b"), (SAFETY_HEADER, "u1_x")], "json": {"x": 1}}
    bare: dict[str, Any] = {}
    Marks("u1_x", 5).apply(endpoint, bare)
    assert bare == {"headers": [(SAFETY_HEADER, "u1_x")]}


@pytest.mark.parametrize(
    "content", ["{}", b"{}", bytearray(b"{}"), [b"{", b"}"]], ids=["str", "bytes", "array", "parts"]
)
@pytest.mark.parametrize("name", ["content", "data"])
def test_a_body_may_come_in_any_form_an_http_client_takes(content: Any, name: str) -> None:
    arguments: dict[str, Any] = {name: content}
    Marks("u1_x", None).apply(Endpoint("body"), arguments)
    assert arguments["content"] == b'{"safety_identifier":"u1_x"}'
    assert arguments.get("data") is None


@pytest.mark.parametrize("arguments", [{"content": 5}, {"json": [1]}, {"content": b"[" * 9_000}])
def test_a_body_nothing_can_be_set_in_is_not_sent(arguments: dict[str, Any]) -> None:
    with pytest.raises(SafetyError, match="no JSON object"):
        Marks("u1_x", None).apply(Endpoint("body"), arguments)


def test_an_object_nested_too_deep_is_not_sent() -> None:
    with pytest.raises(SafetyError, match="no JSON object"):
        Marks("u1_x", None).in_json(Endpoint("body"), b'{"a":' + b"[" * 9_000)


def test_forms_carry_the_identifier_as_a_field() -> None:
    arguments: dict[str, Any] = {"data": {"prompt": "x", "safety_identifier": "mine"}, "files": []}
    Marks("u1_x", 5).apply(Endpoint("body"), arguments)
    assert arguments["data"] == {"prompt": "x", "safety_identifier": "u1_x"}
    files: dict[str, Any] = {"files": {"image": b"x"}}
    Marks("u1_x", 5).apply(Endpoint("body"), files)
    assert files["data"] == {"safety_identifier": "u1_x"}


def test_a_call_without_a_body_stays_without() -> None:
    arguments: dict[str, Any] = {"headers": {}}
    Marks("u1_x", 5).apply(Endpoint("body", ("max_tokens",)), arguments)
    Marks("u1_x", 5).apply(Endpoint(), arguments)
    assert arguments == {"headers": {}}
