from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

from safety_middleware import Settings, SettingsError
from safety_middleware.loading import load
from safety_middleware.standing import Tiers

IMPOSSIBLE: dict[str, list[Any]] = {
    "known_turns": [0, True, 1.5, "20"],
    "trusted_turns": [0, 19],
    "trusted_days": [-1, float("nan"), float("inf"), "14", True],
    "trusted_quiet_days": [-1],
    "watched_days": [-1, 4000],
    "weights": [5, {"spam": 1}, {"spam*": 1}, {"hate": -1}, {"hate": 101}, {"hate": "1"}],
    "half_life_days": [0, -1],
    "window_days": [-1],
    "suspend_at": [-1, float("inf")],
    "suspend_hours": [-1, "24"],
    "holds": [5, {"watched": "never"}, {"suspended": "reply"}, {"old": "reply"}],
    "samples": [{"watched": 0.5}, {"trusted": 1.1}, {"trusted": True}],
}


@pytest.mark.parametrize(("name", "values"), IMPOSSIBLE.items())
def test_an_impossible_number_names_the_setting_and_a_remedy(name: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(SettingsError) as error:
            Settings(tiers={name: value})  # type: ignore[arg-type]  # as a file gives it
        assert error.value.setting.startswith(f"tiers.{name}")
        assert error.value.remedy.endswith(".")


def test_every_number_is_checked() -> None:
    assert set(IMPOSSIBLE) == set(Tiers.__dataclass_fields__)


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(SettingsError, match="known_turns"):
        Tiers.of({"known_tuns": 3})
    with pytest.raises(SettingsError):
        Tiers.of(5)


def test_what_is_named_changes_the_defaults_and_the_rest_stays() -> None:
    tiers = Tiers(holds={"known": "model"}, samples={"trusted": 0.1}, weights={"hate*": 2})
    assert tiers.holds == {**Tiers().holds, "known": "model"}
    assert tiers.samples == {**Tiers().samples, "trusted": 0.1}
    assert tiers.weight("hate/threatening") == 2
    assert tiers.weight("violence") == 0.5
    assert tiers.weight("wordlist") == 0.25
    assert Tiers(weights={"hate*": 2, "hate": 3}).weight("hate") == 3


def test_no_hours_and_none_are_until_lifted() -> None:
    assert Tiers(suspend_hours=0).suspend_hours is None
    assert Tiers(suspend_hours=None).suspend_hours is None


def test_nothing_can_be_changed_afterwards() -> None:
    tiers: Any = Tiers()
    with pytest.raises(FrozenInstanceError):
        tiers.known_turns = 1
    with pytest.raises(TypeError):
        tiers.weights["hate"] = 0


def test_a_file_and_a_variable_can_set_them(tmp_path: Path) -> None:
    (tmp_path / "safety.toml").write_text(
        "[tiers]\nknown_turns = 5\nsuspend_hours = 0\n[tiers.weights]\n'hate*' = 2\n", "utf-8"
    )
    tiers = load(environ={}, directory=tmp_path).settings.tiers
    assert (tiers.known_turns, tiers.suspend_hours, tiers.weight("hate")) == (5, None, 2)
    environ = {"SAFETY_TIERS": "{known_turns = 7}"}
    assert load(environ=environ, directory=tmp_path).settings.tiers.known_turns == 7
    assert load({"tiers": Tiers(known_turns=9)}, environ=environ).settings.tiers.known_turns == 9
