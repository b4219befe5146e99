from __future__ import annotations

from typing import Any

import pytest

from safety_middleware import Policy, SettingsError
from safety_middleware.policy import policy_fields
from safety_middleware.wordlist import Wordlist

IMPOSSIBLE: dict[str, list[Any]] = {
    "methods": ["POST", (), [""], [1], None, {"POST": 1}],
    "max_body_bytes": [0, -1, 1.5, "9", True],
    "max_input_chars": [0, -1, None, "many", True],
    "max_context_chars": [-1, None, 1.0],
    "max_images": [-1, None, True],
    "max_image_bytes": [0, None],
    "fields": ["message", (), [""]],
    "client_roles": ["user", (), None],
    "choices": [["model"], {"model": "gpt"}, {"model": ()}, {"model": 5}, {1: ["x"]}, None],
    "require_login": [1, "true", None],
    "limits": ["often", "", 5, "0/minute", "5/fortnight"],
    "anonymous_limits": ["often", "", 5, "0/minute"],
    "address_limits": ["often", "", 5, "0/minute"],
    "wordlist": ["words.txt", b"x", None, 1, ["x"]],
    "moderation": [None, "yes", 1],
    "hold": ["never", True, 1],
    "sample": [-0.1, 1.1, float("nan"), float("inf"), "half", True],
    "thresholds": [
        {"violence": 2},
        {"violence": -1},
        {"violence": None},
        {"violence": float("nan")},
        {"rudeness": 0.5},
        {"self-harm*": 0.5},
        {"*": 0.5},
        [],
        None,
    ],
    "actions": [
        {"violence": "ban"},
        {"rudeness": "block"},
        {"rude*": "block"},
        {"viol*ce": "block"},
        {1: "block"},
        "block",
        None,
    ],
    "on_failure": ["ajar", None, True],
    "reply": ["parts", True, 1],
    "max_output_tokens": [0, -1, 1.5, "9"],
    "review": ["never", True],
    "observe": [None, 0, "false"],
}


@pytest.mark.parametrize(("field", "values"), IMPOSSIBLE.items())
def test_an_impossible_value_names_field_value_and_remedy(field: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(SettingsError) as error:
            Policy(**{field: value})
        assert error.value.setting.split(".")[0] == field
        assert error.value.remedy in str(error.value)
        assert error.value.remedy.endswith(".")


def test_every_field_is_checked() -> None:
    assert set(IMPOSSIBLE) == set(policy_fields())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("review", "hold"),
        ("review", "flagged"),
        ("review", "after"),
        ("moderation", "inline"),
        ("reply", "whole"),
        ("reply", "window"),
        ("reply", "follow"),
    ],
)
def test_what_a_later_version_will_do_is_an_error_now(field: str, value: Any) -> None:
    with pytest.raises(SettingsError, match="is not available in this version"):
        Policy(**{field: value})


def test_what_can_be_set_is_kept() -> None:
    words = Wordlist(["x"])
    fields: dict[str, Any] = {"methods": ["get", "POST", "get"], "choices": {"model": ["a", 1]}}
    policy = Policy(
        **fields,
        max_body_bytes=10,
        fields=("/message",),
        limits=None,
        wordlist=words,
        hold="reply",
        thresholds={"violence": 1},
        actions={"self-harm*": "block"},
        reply="off",
        max_output_tokens=None,
    )
    assert policy.methods == ("GET", "POST", "HEAD")
    assert policy.choices == {"model": ("a", 1)}
    assert policy.thresholds == {"violence": 1.0}
    assert policy.wordlist is words
    assert policy.body_limit == 10


@pytest.mark.parametrize("field", ["choices", "thresholds", "actions"])
def test_a_policy_can_not_be_changed_behind_its_back(field: str) -> None:
    given: dict[str, Any] = {
        "choices": {"m": ["a"]},
        "thresholds": {"hate": 0.5},
        "actions": {"hate": "off"},
    }
    policy = Policy(**{field: given[field]})
    kept = dict(getattr(policy, field))
    given[field].clear()
    assert getattr(policy, field) == kept
    with pytest.raises(TypeError):
        getattr(policy, field)["new"] = 1
    with pytest.raises(AttributeError):
        setattr(policy, field, {})


def test_sets_are_kept_in_one_order_in_every_process() -> None:
    names = {f"role{n}" for n in range(20)}
    fields: dict[str, Any] = {"client_roles": names, "choices": {"m": names}}
    policy = Policy(**fields)
    assert policy.client_roles == policy.choices["m"] == tuple(sorted(names))


def test_every_method_can_be_named_at_once() -> None:
    assert Policy(methods=("*",)).methods == ("*",)


def test_room_for_images_is_added_unless_a_total_is_given() -> None:
    assert Policy(max_images=0).body_limit == 262_144
    assert Policy(max_images=1, max_image_bytes=3_000).body_limit == 262_144 + 4_000 + 1_024


class TestInheriting:
    def test_fields_left_unset_are_the_defaults(self) -> None:
        app = Policy(max_input_chars=10, limits=None, observe=True)
        route = Policy(max_input_chars=20).over(app)
        assert (route.max_input_chars, route.limits, route.observe) == (20, None, True)

    def test_a_value_given_counts_even_where_it_is_the_default(self) -> None:
        app = Policy(max_input_chars=10, require_login=True)
        route = Policy(max_input_chars=4_000, require_login=False).over(app)
        assert (route.max_input_chars, route.require_login) == (4_000, False)

    def test_it_goes_over_several_floors(self) -> None:
        top = (
            Policy(max_images=1).over(Policy(max_images=2, hold="reply")).over(Policy(observe=True))
        )
        assert (top.max_images, top.hold, top.observe) == (1, "reply", True)
        assert top.given == {"max_images", "hold", "observe"}

    def test_what_was_given_is_no_part_of_what_a_policy_is(self) -> None:
        assert Policy(max_input_chars=4_000) == Policy()
        assert "given" not in repr(Policy())
