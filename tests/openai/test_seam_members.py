"""Setting members in a JSON body: right for every body, and the rest of it untouched."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from safety_middleware import SafetyError
from safety_middleware.openai import _members as members_module
from safety_middleware.openai._endpoints import Endpoint
from safety_middleware.openai._members import find_members
from safety_middleware.openai._rewrite import Marks

CHAT = Endpoint("body", ("max_completion_tokens", "max_tokens"))

strings = st.text(max_size=30) | st.text('"\\{}[]:,\n\t ü😀', max_size=30)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | strings
values = st.recursive(
    scalars,
    lambda v: st.lists(v, max_size=4) | st.dictionaries(strings, v, max_size=4),
    max_leaves=20,
)
keys = strings | st.sampled_from(["safety_identifier", "max_tokens", "max_completion_tokens"])
objects = st.dictionaries(keys, values, max_size=6)
styles = st.fixed_dictionaries(
    {
        "ensure_ascii": st.booleans(),
        "indent": st.sampled_from([None, 1, "\t"]),
        "separators": st.sampled_from([(",", ":"), (" , ", " : ")]),
    }
)


@pytest.fixture(params=["parsed", "skipped"], autouse=True)
def every_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "skipped":
        monkeypatch.setattr(members_module, "PARSED_WHOLE", -1)


@settings(max_examples=150)
@given(body=objects, style=styles, new=st.dictionaries(keys.filter(str.isascii), st.integers()))
@example(body={}, style={}, new={"a": 1})
@example(body={"a": '\\"}'}, style={}, new={"a": 1})
def test_members_are_set_and_the_others_stay(
    body: dict[str, Any], style: dict[str, Any], new: dict[str, int]
) -> None:
    new = {key: value for key, value in new.items() if key.isidentifier()}
    sent = json.dumps(body, **style).encode("utf-8", "surrogatepass")
    texts = {key: str(value).encode() for key, value in new.items()}
    answer = find_members(sent).replaced(texts)
    assert json.loads(answer.decode("utf-8", "surrogatepass")) == {**body, **new}


@settings(max_examples=150)
@given(body=objects, style=styles)
def test_members_are_found_where_they_are(body: dict[str, Any], style: dict[str, Any]) -> None:
    sent = json.dumps(body, **style).encode()
    found = [json.loads(sent[m.start : m.end]) for m in find_members(sent).found]
    assert found == list(json.loads(sent).values())


@settings(max_examples=200)
@given(body=st.binary(max_size=60) | st.text('{}[]":,\\a1 ').map(str.encode))
def test_what_is_no_json_object_is_an_error_or_stays_no_json_object(body: bytes) -> None:
    try:
        found = find_members(body)
    except (ValueError, RecursionError):
        return
    try:
        readable = isinstance(json.loads(body), dict)
    except ValueError:
        readable = False
    try:
        after = isinstance(json.loads(found.replaced({"a": b"1"})), dict)
    except ValueError:
        after = False
    assert after == readable


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"a"',
        b'{"a":',
        b'{"a":"',
        b'{"a":[',
        b'{"a":["',
        b'{"a":1',
        b'{"a":1,',
        b'{"a":1,}',
        b"{1:1}",
        b'{"a" 1}',
        b'{"a":1}}',
        b"{} {}",
        b'{"a":1 "b":2}',
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
    ],
)
def test_a_body_that_is_no_json_object_is_not_sent(body: bytes) -> None:
    with pytest.raises(SafetyError, match="no JSON object"):
        Marks("u1_x", 10).in_json(CHAT, body)


def test_every_duplicate_is_replaced_however_its_key_is_written() -> None:
    body = b'{"safety_identifier":"a","model":"m","safety\\u005fidentifier":{"b":[1]}}'
    sent = Marks("u1_x", None).in_json(CHAT, body)
    pairs = json.loads(sent, object_pairs_hook=list[Any])
    assert pairs == [("safety_identifier", "u1_x"), ("model", "m"), ("safety_identifier", "u1_x")]


def test_only_members_of_the_body_itself_are_touched() -> None:
    inner = '{"safety_identifier":"mine","max_tokens":9}'
    body = f'{{"messages":[{inner}],"text":{json.dumps(inner)}}}'.encode()
    sent = Marks("u1_x", 5).in_json(CHAT, body)
    assert sent == b'{"safety_identifier":"u1_x","max_completion_tokens":5,' + body[1:]


def test_a_picture_in_the_body_is_passed_on_byte_by_byte() -> None:
    picture = b"data:image/png;base64," + b"QUJD" * 250_000
    body = b'{"messages":[{"content":[{"text":"a \\"b\\" c"},{"url":"%b"}]}],"max_tokens":7}'
    sent = Marks("u1_x", 5).in_json(CHAT, body % picture)
    assert sent == b'{"safety_identifier":"u1_x",' + (body % picture)[1:].replace(b":7", b":5")
