from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import Result

from safety_middleware.cli._values import MASK, shown
from safety_middleware.policy import policy_fields
from safety_middleware.settings import settings_fields

if TYPE_CHECKING:
    from tests.cli.conftest import Shell


SECRET = "0123456789abcdef" * 4


def _rows(result: Result) -> dict[str, dict[str, Any]]:
    return {row["setting"]: row for row in map(json.loads, result.stdout.splitlines())}


def test_every_setting_is_shown_with_its_value_and_the_default_as_its_source(shell: Shell) -> None:
    result = shell("check-config", "--json")
    assert result.exit_code == 0
    rows = _rows(result)
    assert {row["source"] for row in rows.values()} == {"default"}
    known = {*settings_fields(), *policy_fields()} - {"policy", "secrets"}
    assert set(rows) == known | {"wordlist (check)"}
    assert rows["max_input_chars"]["value"] == "4000"
    assert rows["limits"]["value"] == "20/minute;300/day"
    assert rows["require_login"]["value"] == "false"


def test_the_source_of_a_setting_is_the_variable_or_the_file_that_won(shell: Shell) -> None:
    path = shell.file(
        'max_input_chars = 100\nlimits = ""\n[policy]\nmax_images = 1\n[thresholds]\nhate = 0.6\n'
    )
    shell.set(SAFETY_MAX_INPUT_CHARS="200", SAFETY_LANGUAGES="en,de")
    rows = _rows(shell("check-config", "--json"))
    assert rows["max_input_chars"] == {
        "setting": "max_input_chars",
        "value": "200",
        "source": "SAFETY_MAX_INPUT_CHARS",
    }
    assert (rows["limits"]["value"], rows["limits"]["source"]) == ("off", str(path))
    assert (rows["max_images"]["value"], rows["max_images"]["source"]) == ("1", str(path))
    assert rows["languages"]["value"] == "en, de"
    assert rows["thresholds"]["value"] == "hate: 0.6"


def test_the_rules_of_each_route_are_shown_where_they_differ(shell: Shell) -> None:
    shell.file('[routes."/chat"]\nmax_input_chars = 50\n[routes."/other"]\n')
    rows = _rows(shell("check-config", "--json"))
    assert rows["routes"]["value"] == "/chat, /other"
    assert rows["routes./chat.max_input_chars"]["value"] == "50"
    assert [name for name in rows if name.startswith("routes./other")] == []


def test_an_empty_list_of_routes_means_the_marked_ones(shell: Shell) -> None:
    shell.file("routes = []\n")
    assert _rows(shell("check-config", "--json"))["routes"]["value"] == "those marked with protect"


def test_secrets_keys_and_passwords_are_never_shown(shell: Shell) -> None:
    shell.set(
        SAFETY_SECRET=SECRET,
        SAFETY_STORE="postgresql://safety:hunter2@db.example/safety",
        SAFETY_LIMITS_STORAGE="redis://:hunter3@cache.example:6379/0",
        SAFETY_OPENAI_BASE_URL="https://token4@proxy.example/v1?api_key=hunter5",
        OPENAI_API_KEY="sk-hunter6",
    )
    result = shell("check-config")
    assert result.exit_code == 0
    for hidden in (SECRET, "hunter", "token4", "sk-"):
        assert hidden not in result.output
    rows = _rows(shell("check-config", "--json"))
    assert rows["secret"]["value"] == MASK
    assert rows["store"]["value"] == f"postgresql://safety:{MASK}@db.example/safety"
    assert rows["openai_api_key"] == {
        "setting": "openai_api_key",
        "value": MASK,
        "source": "OPENAI_API_KEY",
    }


def test_several_secrets_are_one_masked_line(shell: Shell) -> None:
    shell.file(f'secrets = ["{SECRET}", "{SECRET[::-1]}"]\n')
    rows = _rows(shell("check-config", "--json"))
    assert rows["secrets"]["value"] == MASK
    assert "secret" not in rows


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("redis://user:p@ss@host/0", f"redis://user:{MASK}@host/0"),
        ("redis://:p/a?s#s@host", f"redis://:{MASK}@host"),
        (
            "postgresql://host/db?sslpassword=abc&x=1",
            f"postgresql://host/db?sslpassword={MASK}&x=1",
        ),
        ("postgresql://user@host/db", "postgresql://user@host/db"),
        ("sqlite:////var/lib/safety.db", "sqlite:////var/lib/safety.db"),
    ],
)
def test_a_password_is_masked_however_it_is_written(url: str, masked: str) -> None:
    assert shown("store", url) == masked


def test_the_texts_for_someone_in_distress_are_shown_in_short() -> None:
    shortened = shown("care", {"message": "word " * 50, "resources": [{}, {}]})
    assert shortened.endswith("…, 2 resources")
    assert len(shortened) < 60


def test_functions_and_clients_are_shown_by_name_only() -> None:
    assert shown("user", len) == "builtins.len"
    assert shown("moderation_client", object()) == "builtins.object"


def test_an_unknown_setting_is_one_line_with_the_nearest_name_and_exit_code_2(shell: Shell) -> None:
    shell.set(SAFETY_MAX_INPUT_CHAR="5")
    result = shell("check-config")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Error: SAFETY_MAX_INPUT_CHAR: no such setting.")
    assert "Did you mean SAFETY_MAX_INPUT_CHARS?" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "text",
    [
        "max_input_chars = -1",
        "this is no TOML",
        'store = "mysql://host/db"',
        'limits_storage = "nonsense://host"',
        'languages = ["xx"]',
        'wordlist = "/nowhere/words.txt"',
    ],
)
def test_an_impossible_value_is_one_line_and_exit_code_2(shell: Shell, text: str) -> None:
    shell.file(text)
    result = shell("check-config")
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1


def test_a_missing_key_is_a_warning_because_the_app_may_have_it_elsewhere(shell: Shell) -> None:
    shell.set(SAFETY_SECRET=SECRET)
    result = shell("check-config")
    assert result.exit_code == 0
    assert "no API key" in result.stderr
    assert "no API key" not in shell("check-config", "--json").stdout


def test_nothing_is_warned_of_when_an_app_would_start_and_be_guarded(shell: Shell) -> None:
    shell.set(SAFETY_SECRET=SECRET, OPENAI_API_KEY="key", SAFETY_LIMITS_STORAGE="redis://host")
    assert shell("check-config").stderr == ""


def test_without_moderation_no_key_is_asked_for(shell: Shell) -> None:
    shell.set(SAFETY_SECRET=SECRET, SAFETY_MODERATION="false")
    assert shell("check-config").stderr == ""


def test_a_missing_secret_is_worse_in_production(shell: Shell) -> None:
    shell.set(OPENAI_API_KEY="key")
    assert "is generated" in shell("check-config").stderr
    shell.set(SAFETY_PRODUCTION="true")
    warning = shell("check-config").stderr
    assert "would not start" in warning
    assert "token_hex(32)" in warning


def test_settings_that_weaken_the_guard_are_pointed_out(shell: Shell) -> None:
    shell.set(SAFETY_SECRET=SECRET, OPENAI_API_KEY="key")
    shell.file('observe = true\nlanguages = ["en"]\n')
    assert "nothing is refused" in shell("check-config").stderr


def test_a_wordlist_of_ones_own_and_the_switch_of_that_name_are_told_apart(shell: Shell) -> None:
    shell.file("apple\n", "words.txt")
    shell.set(SAFETY_WORDLIST="words.txt")
    rows = _rows(shell("check-config", "--json"))
    assert (rows["wordlist"]["value"], rows["wordlist"]["source"]) == (
        "words.txt",
        "SAFETY_WORDLIST",
    )
    assert rows["wordlist (check)"]["source"] == "default"
    shell.set(SAFETY_WORDLIST="false")
    rows = _rows(shell("check-config", "--json"))
    assert rows["wordlist"]["source"] == "default"
    assert (rows["wordlist (check)"]["value"], rows["wordlist (check)"]["source"]) == (
        "false",
        "SAFETY_WORDLIST",
    )


def test_looking_at_settings_makes_nothing(shell: Shell) -> None:
    shell("check-config")
    assert list(shell.directory.iterdir()) == []
