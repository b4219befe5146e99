"""The policy's caps and choices, on content from JSON, forms and query strings alike."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest

from safety_middleware.content import Content, Part, RawRequest, check, extract
from safety_middleware.decision import Action, Decision, Reason
from safety_middleware.policy import Policy

FORM = "application/x-www-form-urlencoded"


def read(value: Any, policy: Policy) -> Content:
    body = json.dumps(value).encode()
    return extract(RawRequest(body=body, content_type="application/json"), policy)


def test_new_text_is_capped_in_code_points() -> None:
    policy = Policy(max_input_chars=10)
    assert check(read({"message": "\N{GRINNING FACE}" * 10}, policy), policy) is None
    decision = check(read({"a": "x", "message": "\N{GRINNING FACE}" * 10}, policy), policy)
    assert decision == Decision(Action.REFUSE, Reason.INPUT_TOO_LONG, param="/message")


def test_the_history_has_a_cap_of_its_own() -> None:
    policy = Policy(max_input_chars=5, max_context_chars=10)
    messages = [
        {"role": "user", "content": "x" * 6},
        {"role": "assistant", "content": "y" * 4},
        {"role": "user", "content": "z" * 5},
    ]
    assert check(read({"messages": messages}, policy), policy) is None
    messages[1]["content"] += "y"
    decision = check(read({"messages": messages}, policy), policy)
    assert decision == Decision(Action.REFUSE, Reason.INPUT_TOO_LONG, param="/messages/0/content")


def test_no_param_repeats_what_the_client_wrote() -> None:
    policy = Policy(max_input_chars=5)
    for body in ({"my secret is safe": "x" * 6}, {"x" * 50: "y" * 9}):
        decision = check(read(body, policy), policy)
        assert decision is not None
        assert decision.param == "/*"


@pytest.mark.parametrize(
    ("body", "fits"),
    [
        ({"model": "a"}, True),
        ({"model": "c"}, False),
        ({"model": None}, False),
        ({"model": ["a"]}, False),
        ({"model": {"a": "b"}}, False),
        ({"deep": [{"model": "c"}]}, False),
        ({"deep": [{"model": "b"}]}, True),
        ({}, True),
        ({"n": 1}, True),
        ({"n": 1.0}, True),
        ({"n": True}, False),
        ({"n": "1"}, True),
        ({"n": 2}, False),
        ({"on": True}, True),
        ({"on": 1}, False),
        ({"on": "True"}, False),
        ({"x": {"y": "z"}}, True),
        ({"x": {"y": "a"}}, False),
        ({"y": "a"}, True),
    ],
)
def test_choices_hold_for_every_value(body: Any, fits: bool) -> None:
    policy = Policy(choices={"model": ("a", "b"), "n": (1,), "on": (True,), "/x/y": ("z",)})
    decision = check(read(body, policy), policy)
    if fits:
        assert decision is None
    else:
        assert decision is not None
        assert decision.reason is Reason.NOT_A_CHOICE
        assert decision.param in {"model", "n", "on", "/x/y"}


@pytest.mark.parametrize(
    ("query", "form", "fits"),
    [
        ("", "model=a&n=1", True),
        ("model=a", "model=b", True),
        ("", "model=a&model=c", False),
        ("", "model=c&model=a", False),
        ("model=c", "model=a", False),
        ("", "model=", False),
    ],
)
def test_choices_hold_for_repeated_fields_of_forms_and_queries(
    query: str, form: str, fits: bool
) -> None:
    policy = Policy(choices={"model": ("a", "b"), "n": (1,)})
    request = RawRequest(query=query.encode(), content_type=FORM, body=form.encode())
    content = extract(request, policy)
    assert (check(content, policy) is None) is fits
    assert len(content.values["model"]) == (query + "&" + form).count("model")


def test_only_what_has_choices_is_kept_as_a_value() -> None:
    policy = Policy(choices={"Your mood": ("calm",)})
    body = urlencode({"Your mood": "wild", "x": "y"}).encode()
    content = extract(RawRequest(content_type=FORM, body=body), policy)
    assert dict(content.values) == {"Your mood": ("wild",)}
    assert check(content, policy) == Decision(Action.REFUSE, Reason.NOT_A_CHOICE, param="Your mood")


def test_content_is_a_value() -> None:
    content = Content((Part("x", "/a"),))
    assert content == Content((Part("x", "/a"),))
    assert content.new_chars == 1
    with pytest.raises(AttributeError):
        content.raw_chars = 1  # type: ignore[misc]  # that is the point
