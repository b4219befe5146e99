"""Messages: roles, what is new in a turn, and the shapes of the APIs they come in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from safety_middleware.content import Content, RawRequest, check, extract
from safety_middleware.decision import Action, Decision, Reason
from safety_middleware.policy import Policy

POLICY = Policy()


def read(value: Any, policy: Policy = POLICY) -> Content:
    body = json.dumps(value).encode()
    return extract(RawRequest(body=body, content_type="application/json"), policy)


def new(content: Content) -> list[str]:
    return [part.text for part in content.parts if part.new]


def old(content: Content) -> list[str]:
    return [part.text for part in content.parts if not part.new]


def said(*messages: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in messages]


@pytest.mark.parametrize(
    ("messages", "fresh"),
    [
        (said(("user", "a")), ["a"]),
        (said(("user", "a"), ("assistant", "b"), ("user", "c")), ["c"]),
        (said(("user", "a"), ("assistant", "b"), ("user", "c"), ("user", "d")), ["c", "d"]),
        (said(("assistant", "a"), ("tool", "b"), ("user", "c")), ["b", "c"]),
        (said(("user", "a"), ("assistant", "b")), ["a", "b"]),
        (said(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")), ["c", "d"]),
        (said(("user", "a"), ("assistant", "b"), ("tool", "c")), ["a", "b", "c"]),
        (said(("assistant", "a"), ("assistant", "b")), ["a", "b"]),
        (said(("system", "a"), ("user", "b")), ["b"]),
        (said(("user", "a"), ("system", "b")), ["a", "b"]),
        (said(("USER", "a"), (" Assistant ", "b"), ("human", "c")), ["c"]),
        (said(("user", "a"), ("bot", "b"), ("user", "c")), ["c"]),
        (["a", {"role": "assistant", "content": "b"}, "c"], ["c"]),
        ([["user", "a"], ["ai", "b"], ["human", "c"]], ["human", "c"]),
        ([{"content": "a", "role": None}, {"content": "b", "role": "assistant"}], ["a", "b"]),
    ],
)
def test_what_the_user_said_after_the_last_answer_is_new(
    messages: list[Any], fresh: list[str]
) -> None:
    content = read({"messages": messages})
    assert new(content) == fresh
    assert content.speech == "\n".join(fresh)
    assert content.history_speech == "\n".join(old(content))
    assert content.context_chars == sum(map(len, old(content)))


def test_an_empty_answer_at_the_end_does_not_turn_a_long_message_into_history() -> None:
    content = read({"messages": said(("user", "x" * 5_000), ("assistant", ""))})
    decision = check(content, POLICY)
    assert decision == Decision(Action.REFUSE, Reason.INPUT_TOO_LONG, param="/messages/0/content")


@pytest.mark.parametrize("key", ["history", "chat_history", "chatHistory"])
def test_what_is_called_history_is_history(key: str) -> None:
    history = said(("user", "a"), ("assistant", "b"))
    assert new(read({key: history, "message": "c"})) == ["c"]
    assert new(read({key: [["a", "b"], ["c", "d"]], "message": "e"})) == ["e"]
    assert new(read({key: "a\nb", "message": "c"})) == ["c"]
    assert new(read({key: {"first": "a"}, "message": "c"})) == ["c"]
    assert new(read({key: [*history, *said(("user", "c"))]})) == ["c"]


def test_nothing_inside_a_history_is_new() -> None:
    inner = said(("user", "a"))
    assert new(read({"history": {"messages": inner}, "message": "b"})) == ["b"]


@pytest.mark.parametrize(
    ("role", "normal"),
    [
        ("system", "system"),
        ("developer", "developer"),
        ("SYSTEM", "system"),
        (" system\n", "system"),
        ("Developer", "developer"),
        ("function", "tool"),
        ("root", "root"),
        (None, "user"),
        (7, "?"),
        (["system"], "?"),
    ],
)
def test_roles_are_reported_in_our_words(role: Any, normal: str) -> None:
    content = read({"messages": [{"role": role, "content": "x"}]})
    assert content.roles == ((normal, "/messages/0"),)
    decision = check(content, POLICY)
    if normal in {"user", "tool"}:
        assert decision is None
    else:
        assert decision == Decision(Action.REFUSE, Reason.FORBIDDEN_ROLE, param="/messages/0")


@pytest.mark.parametrize(
    "body",
    [
        {"messages": said(("user", "x"), ("system", "y"))},
        {"chat": {"messages": said(("system", "y"))}},
        {"a": [[said(("system", "y"))]]},
        {"message": {"role": "system", "content": "y"}},
        {"role": "system", "content": "y"},
        {"role": "system"},
        {"mapping": {"1": {"author": {"role": "system"}, "content": "y"}}},
        {"messages": [{"type": "system", "content": "y"}]},
        {"messages": [{"type": "developer", "content": "y"}]},
        {"message": {"type": "system", "content": "y"}},
        {"messages": [["system", "y"]]},
        {"messages": [1, ["System", {"x": "y"}]]},
        {"messages": [{"role": "user", "content": [{"role": "system", "content": "y"}]}]},
        {"messages": [{"role": "user", "content": {"role": "system", "content": "y"}}]},
        {"input": [{"role": "developer", "content": "y"}]},
        {"input": "x", "instructions": "y"},
        {"model": "m", "instructions": ["y"]},
        {"messages": [], "system": "y"},
        {"payload": json.dumps({"input": "x", "instructions": "y"})},
        said(("system", "y")),
    ],
)
def test_a_client_does_not_speak_for_the_system(body: Any) -> None:
    decision = check(read(body), POLICY)
    assert decision is not None
    assert decision.reason is Reason.FORBIDDEN_ROLE
    allowing = Policy(client_roles=("user", "assistant", "tool", "System", "developer"))
    content = read(body, allowing)
    assert check(content, allowing) is None
    assert "y" in content.new_text + content.history_speech or body == {"role": "system"}


@pytest.mark.parametrize(
    "body",
    [
        {"user": {"role": "teacher", "name": "x"}},
        {"text": "x", "instructions": "be kind"},
        {"messages": [], "system": ""},
        {"input": "x", "instructions": None},
        {"role": "admin", "action": "x"},
        {"type": ["system"]},
        {"a": [{"type": 7}, ["one", "two"], ["user"], [1, 2]]},
        {"message": '{"role": "system", "content": "what does this do?"}'},
    ],
)
def test_other_roles_and_instructions_are_the_apps_own(body: Any) -> None:
    assert check(read(body), POLICY) is None


def test_a_policy_can_take_roles_away() -> None:
    policy = Policy(client_roles=("human",))
    content = read({"messages": said(("user", "a"))}, policy)
    assert check(content, policy) is None
    content = read({"messages": said(("user", "a"), ("assistant", "b"), ("user", "c"))}, policy)
    assert check(content, policy) is not None


def test_chat_completions_parts_tools_and_names_are_read() -> None:
    content = read(
        {
            "model": "gpt-4o",
            "messages": [
                {"role": "user", "name": "Ann Lee", "content": [{"type": "text", "text": "a"}]},
                {
                    "role": "assistant",
                    "content": None,
                    "refusal": "b",
                    "tool_calls": [
                        {
                            "id": "call_1",
                            "type": "function",
                            "function": {"name": "look_up", "arguments": '{"q": "\\u0063"}'},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": "call_1", "content": "d"},
                {"role": "user", "content": "e"},
            ],
        }
    )
    assert new(content) == ["gpt-4o", "call_1", "d", "e"]
    assert old(content) == ["Ann Lee", "a", "b", "call_1", "look_up", "c", '{"q": "\\u0063"}']
    assert content.history_speech.split("\n") == ["Ann Lee", "a", "b", "c", '{"q": "\\u0063"}']
    assert {part.where: part.role for part in content.parts}["/messages/0/content/0/text"] == "user"
    assert check(content, POLICY) is None


def test_responses_items_are_read() -> None:
    content = read(
        {
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "a"}]},
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "b"}]},
                {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c1", "output": "c"},
                {"type": "message", "content": "d"},
            ]
        }
    )
    assert [role for role, _ in content.roles] == ["user", "assistant", "assistant", "tool", "user"]
    assert content.speech == "c\nd"
    assert "b" in content.history_speech


def test_responses_input_may_be_a_string() -> None:
    assert read({"input": "x", "model": "m"}).speech == "x"


def test_vercel_messages_are_read() -> None:
    content = read(
        {
            "id": "dJ3kX9",
            "trigger": "submit-message",
            "messages": [
                {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "a"}]},
                {
                    "id": "m2",
                    "role": "assistant",
                    "parts": [
                        {"type": "step-start"},
                        {"type": "reasoning", "text": "b"},
                        {"type": "tool-weather", "toolCallId": "t", "output": {"summary": "c"}},
                        {"type": "text", "text": "d", "state": "done"},
                    ],
                },
                {"id": "m3", "role": "user", "parts": [{"type": "text", "text": "e"}]},
            ],
        }
    )
    assert content.speech == "e"
    assert content.history_speech == "a\nb\nc\nd"
    assert [role for role, _ in content.roles] == ["user", "assistant", "user"]


def test_one_message_alone_is_a_message() -> None:
    content = read({"message": {"role": "user", "parts": [{"type": "text", "text": "a"}]}})
    assert content.roles == (("user", "/message"),)
    assert [(part.text, part.role) for part in content.parts] == [("a", "user")]


def test_unknown_roles_that_are_allowed_are_text_too() -> None:
    policy = Policy(client_roles=("narrator",))
    content = read({"messages": said(("narrator", "x"))}, policy)
    assert [part.text for part in content.parts] == ["narrator", "x"]
    assert content.speech == "x"


def test_choices_hold_inside_messages_too() -> None:
    policy = Policy(choices={"mood": ("calm",)})
    assert check(read({"messages": [{"role": "user", "content": "x"}]}, policy), policy) is None
    content = read({"messages": [{"role": "user", "content": "x", "mood": "wild"}]}, policy)
    assert check(content, policy) == Decision(Action.REFUSE, Reason.NOT_A_CHOICE, param="mood")
