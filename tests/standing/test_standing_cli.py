from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING

import pytest

from safety_middleware import Safety, Settings, SettingsError
from safety_middleware.standing import Clean, Strike
from safety_middleware.store import Store
from tests.cli.conftest import shell

if TYPE_CHECKING:
    from tests.cli.conftest import Shell

__all__ = ["shell"]

ALICE, ADDRESS = "u1_AAAAAA" + "a" * 43, "a1_AAAAAA" + "b" * 43


@pytest.fixture
def filled(shell: Shell) -> Shell:
    now = time.time()
    with Store.open(base=shell.directory) as store:
        store.change(ALICE, Clean(3, now - 9, now - 5))
        store.change(ALICE, Strike("req_1", now - 2, 2.0, "hate"))
        store.change(ALICE, Clean(1, now - 1, now - 1))
    return shell


def test_a_standing_is_shown_with_its_strikes(filled: Shell) -> None:
    said = filled("standing", ALICE)
    assert said.exit_code == 0
    lines = dict(line.split("  ", 1) for line in said.stdout.splitlines()[:9])
    assert lines["tier"].strip() == "watched"
    assert lines["clean turns in a row"].strip() == "1"
    assert lines["weight of strikes"].strip() == "2.00 of 5, which suspend"
    assert lines["suspended until"].strip() == "-"
    assert "req_1" in said.stdout


def test_a_stranger_is_new(filled: Shell) -> None:
    said = filled("standing", "s1_" + "c" * 49)
    assert said.exit_code == 0
    assert "strike (UTC)" not in said.stdout
    assert said.stdout.split()[:2] == ["tier", "new"]


def test_suspending_and_lifting(filled: Shell) -> None:
    said = filled("suspend", ALICE, "--hours", "2", "--why", "ticket\x1b 4711")
    assert said.exit_code == 0
    assert said.stdout.startswith("suspended until 20")
    found = json.loads(filled("standing", ALICE, "--json").stdout)
    assert (found["identifier"], found["tier"]) == (ALICE, "suspended")
    assert found["suspended_until"] == pytest.approx(time.time() + 7200, abs=60)
    assert r"ticket\x1b 4711" in filled("standing", ALICE).stdout
    assert filled("suspend", ALICE).stdout == "suspended until it is lifted\n"
    assert json.loads(filled("standing", ALICE, "--json").stdout)["suspended_until"] == "lifted"
    assert "it is lifted" in filled("standing", ALICE).stdout
    assert filled("lift", ALICE).stdout == "lifted\n"
    found = json.loads(filled("standing", ALICE, "--json").stdout)
    assert (found["tier"], found["suspended_until"], found["note"]) == ("watched", None, "lifted")


@pytest.mark.parametrize("command", ["suspend", "lift"])
def test_an_address_is_not_suspended(filled: Shell, command: str) -> None:
    said = filled(command, ADDRESS)
    assert said.exit_code == 2
    assert "many people" in said.stderr


@pytest.mark.parametrize("command", ["standing", "suspend", "lift"])
def test_what_is_no_identifier_or_no_database_is_told(shell: Shell, command: str) -> None:
    said = shell(command, "ada@example.org")
    assert said.exit_code == 2
    assert "ada@example.org" not in said.stderr
    assert shell(command, ALICE).exit_code == 2, "there is no database"


def test_no_hours_at_all_are_refused(filled: Shell) -> None:
    assert filled("suspend", ALICE, "--hours", "0").exit_code == 2


class TestEngine:
    @pytest.fixture
    def safety(self, shell: Shell) -> Safety:
        return Safety(Settings(secret="s" * 64, openai_api_key="sk-test"))

    def test_it_suspends_and_lifts_before_any_turn(self, safety: Safety) -> None:
        safety.suspend(ALICE, why="x")
        assert safety.store.flush()
        assert safety.store.standing(ALICE).suspended_until == math.inf
        safety.lift(ALICE)
        safety.close()
        assert safety.store.standing(ALICE).suspended_until is None
        safety.close()

    @pytest.mark.parametrize("name", [ADDRESS, "ada"])
    def test_it_takes_users_and_sessions_only(self, safety: Safety, name: str) -> None:
        with pytest.raises(SettingsError, match="identifier"):
            safety.suspend(name)
        with pytest.raises(SettingsError, match="identifier"):
            safety.lift(name)

    @pytest.mark.parametrize("hours", [0, -1, math.nan, math.inf])
    def test_it_takes_hours_that_make_sense(self, safety: Safety, hours: float) -> None:
        with pytest.raises(SettingsError, match="hours"):
            safety.suspend(ALICE, hours)
