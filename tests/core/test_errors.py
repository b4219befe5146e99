from __future__ import annotations

import pytest

from safety_middleware import (
    Action,
    ContentBlocked,
    Decision,
    ModerationUnavailable,
    Reason,
    SafetyError,
    SettingsError,
    StorageUnavailable,
    errors,
)
from safety_middleware.errors import BadInput, Unavailable


def test_one_base_class_catches_all() -> None:
    kinds = [each for each in map(vars(errors).get, errors.__all__) if isinstance(each, type)]
    assert len(kinds) > 5
    assert all(issubclass(kind, SafetyError) for kind in kinds)


def test_a_settings_error_tells_setting_problem_and_remedy() -> None:
    error = SettingsError("store", "is not a URL", "Try sqlite:///x.db.")
    assert str(error) == "store: is not a URL. Try sqlite:///x.db."
    assert (error.setting, error.remedy) == ("store", "Try sqlite:///x.db.")
    assert isinstance(error, ValueError)


@pytest.mark.parametrize("reason", [Reason.CARE, Reason.CONTENT_BLOCKED, Reason.RATE_LIMITED])
def test_a_blocked_call_tells_its_status_and_no_detail(reason: Reason) -> None:
    error = ContentBlocked(Decision(Action.REFUSE, reason, detail="term:gadzooks"))
    assert error.status_code == reason.status
    assert str(error) == reason.value


def test_bad_input_names_no_content() -> None:
    error = BadInput(Reason.UNREADABLE_BODY, "/message")
    assert (str(error), error.reason, error.param) == (
        "unreadable_body",
        Reason.UNREADABLE_BODY,
        "/message",
    )


def test_what_is_away_is_named() -> None:
    assert str(ModerationUnavailable("timeout")) == "no verdict from moderation: timeout"
    assert str(StorageUnavailable("the store")) == "the store is not available"
    storage = StorageUnavailable("the store", ["locked", "full"])
    assert str(storage) == "the store is not available: locked: full"
    assert storage.service == "the store"
    assert issubclass(StorageUnavailable, Unavailable)
