from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from safety_middleware.cli import main
from safety_middleware.cli._output import table

if TYPE_CHECKING:
    from tests.cli.conftest import Shell


@pytest.fixture
def listed(shell: Shell) -> Shell:
    shell.file("durian\n", "words.txt")
    shell.set(SAFETY_WORDLIST="words.txt")
    return shell


def test_a_text_with_a_listed_word_is_blocked_and_shown_with_its_place(listed: Shell) -> None:
    result = listed("explain", "a durian please")
    first, header, row = result.stdout.splitlines()
    assert (result.exit_code, first) == (0, "blocked")
    assert header.startswith("term")
    assert "2-8" in row
    assert "durian" in row


def test_a_harmless_text_is_not_blocked(listed: Shell) -> None:
    assert listed("explain", "an apple please").stdout == "not blocked\n"


def test_the_explanation_is_there_for_machines(listed: Shell) -> None:
    found = json.loads(listed("explain", "--json", "a durian").stdout)
    assert found["blocked"] is True
    assert found["findings"][0]["match"]["start"] == 2


def test_a_dash_reads_standard_input_whatever_its_bytes(listed: Shell) -> None:
    assert listed("explain", "-", given=b"\xff durian \x1b[31m").stdout.startswith("blocked")


def test_without_a_list_of_ones_own_the_default_list_answers(shell: Shell) -> None:
    shell.set(SAFETY_LANGUAGES="en")
    assert shell("explain", "good morning").stdout == "not blocked\n"


def test_a_missing_list_is_one_line(shell: Shell) -> None:
    shell.set(SAFETY_WORDLIST="nowhere.txt")
    result = shell("explain", "x")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1


def test_what_a_terminal_would_obey_is_never_written_to_it() -> None:
    shown = table(("a",), [["\x1b[31mred\n\u202edne"]], None)
    assert shown == "a\n\\x1b[31mred\\n\\u202edne"


@pytest.mark.parametrize("command", ["--help", "-h", "check-config --help", "records -h"])
def test_every_command_explains_itself(command: str) -> None:
    result = CliRunner().invoke(main, command.split())
    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_the_version_is_the_package_s() -> None:
    from importlib.metadata import version

    assert CliRunner().invoke(main, ["--version"]).output == f"{version('safety-middleware')}\n"
