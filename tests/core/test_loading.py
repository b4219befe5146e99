from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from safety_middleware import Policy, SettingsError
from safety_middleware.loading import Loaded, load
from safety_middleware.wordlist import Wordlist

SECRET, OTHER = "0123456789abcdef" * 4, "fedcba9876543210" * 4


class Load:
    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __call__(
        self,
        toml: str | None = None,
        *,
        config: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
        **keywords: Any,
    ) -> Loaded:
        if toml is not None:
            (self.directory / "safety.toml").write_text(toml, "utf-8")
        return load(keywords, config=config, environ=environ or {}, directory=self.directory)


@pytest.fixture
def loaded(tmp_path: Path) -> Load:
    return Load(tmp_path)


class TestPrecedence:
    TOML = "max_images = 1\ntrusted_proxies = 1\n"
    ENVIRON: Mapping[str, str] = {"SAFETY_MAX_IMAGES": "2", "SAFETY_TRUSTED_PROXIES": "2"}
    CONFIG: Mapping[str, Any] = {"SAFETY_MAX_IMAGES": 3, "SAFETY_TRUSTED_PROXIES": 3, "DEBUG": True}

    @pytest.mark.parametrize(
        ("layers", "value", "source"),
        [
            (0, None, "default"),
            (1, 1, "safety.toml"),
            (2, 2, "SAFETY_TRUSTED_PROXIES"),
            (3, 3, "app.config['SAFETY_TRUSTED_PROXIES']"),
            (4, 4, "keyword"),
        ],
    )
    def test_keyword_beats_config_beats_environment_beats_file_beats_default(
        self, loaded: Load, layers: int, value: int | None, source: str
    ) -> None:
        found = loaded(
            self.TOML if layers > 0 else None,
            environ=self.ENVIRON if layers > 1 else None,
            config=self.CONFIG if layers > 2 else None,
            **({"max_images": 4, "trusted_proxies": 4} if layers > 3 else {}),
        )
        assert found.settings.trusted_proxies == (0 if value is None else value)
        assert found.settings.policy.max_images == (4 if value is None else value)
        assert found.sources["trusted_proxies"].endswith(source)
        assert found.sources["max_images"].endswith(source.replace("TRUSTED_PROXIES", "MAX_IMAGES"))

    def test_the_fields_of_policy_rank_with_the_layer_that_says_them(self, loaded: Load) -> None:
        found = loaded(
            "[policy]\nmax_images = 1\nmax_input_chars = 1\nlimits = ''",
            environ={"SAFETY_MAX_IMAGES": "2", "SAFETY_MAX_INPUT_CHARS": "2"},
            policy=Policy(max_images=3),
        )
        policy = found.settings.policy
        assert (policy.max_images, policy.max_input_chars, policy.limits) == (3, 2, None)
        assert found.sources["max_images"] == "keyword"
        assert found.sources["max_input_chars"] == "SAFETY_MAX_INPUT_CHARS"
        assert found.sources["limits"].endswith("safety.toml")
        assert policy.given == {"max_images", "max_input_chars", "limits"}

    def test_a_field_beats_the_policy_beside_it(self, loaded: Load) -> None:
        assert loaded(policy=Policy(max_images=3), max_images=0).settings.policy.max_images == 0

    def test_one_secret_replaces_several_and_the_other_way_round(self, loaded: Load) -> None:
        toml = f'secrets = ["{SECRET}", "{OTHER}"]'
        assert loaded(toml, environ={"SAFETY_SECRET": OTHER}).settings.secrets == (OTHER,)
        environ = {"SAFETY_SECRET": SECRET}
        assert loaded(environ=environ, secrets=[OTHER, SECRET]).settings.secrets == (OTHER, SECRET)

    def test_secret_and_secrets_of_one_layer_have_to_agree(self, loaded: Load) -> None:
        environ = {"SAFETY_SECRET": SECRET, "SAFETY_SECRETS": f"{OTHER},{SECRET}"}
        with pytest.raises(SettingsError, match="differ"):
            loaded(environ=environ)


class TestUnknownNames:
    def test_a_keyword(self, loaded: Load) -> None:
        with pytest.raises(SettingsError, match=r"Did you mean max_input_chars\?"):
            loaded(max_input_char=5)

    def test_a_variable(self, loaded: Load) -> None:
        with pytest.raises(SettingsError, match=r"SAFETY_MAX_IMAGE: .* SAFETY_MAX_IMAGES\?"):
            loaded(environ={"SAFETY_MAX_IMAGE": "5"})

    def test_a_key_of_flasks_config(self, loaded: Load) -> None:
        with pytest.raises(SettingsError, match=r"Did you mean SAFETY_STORE\?"):
            loaded(config={"SAFETY_STOR": "x"})

    def test_a_key_of_the_file(self, loaded: Load) -> None:
        with pytest.raises(SettingsError, match=r"Did you mean trusted_proxies\?"):
            loaded("trusted_proxy = 1")

    @pytest.mark.parametrize("place", ["policy", 'routes."/chat"'])
    def test_a_field_in_a_table_of_the_file(self, loaded: Load, place: str) -> None:
        with pytest.raises(SettingsError, match=r"Did you mean max_images\?") as error:
            loaded(f"[{place}]\nmax_image = 1")
        assert error.value.setting == f"{place}.max_image".replace('"', "")

    def test_variables_of_our_own_tests_are_no_settings(self, loaded: Load) -> None:
        loaded(environ={"SAFETY_TEST_REDIS": "redis://x", "SAFETYNET": "x", "PATH": "/"})


class TestTheFile:
    def test_it_holds_routes_and_rules(self, loaded: Load) -> None:
        settings = loaded(
            'store = "sqlite:///x.db"\n'
            'anonymous_limits = "none"\n'
            '[routes."/chat"]\nmax_images = 1\n'
            '[routes."/x/*"]\n'
            "[thresholds]\nviolence = 0.5\n"
        ).settings
        policies = settings.route_policies()
        assert policies is not None
        assert [policy.max_images for policy in policies.values()] == [1, 4]
        assert settings.policy.thresholds == {"violence": 0.5}
        assert settings.policy.anonymous_limits is None

    def test_another_can_be_named(self, loaded: Load, tmp_path: Path) -> None:
        path = tmp_path / "other.toml"
        path.write_text("max_images = 1")
        found = loaded("max_images = 2", environ={"SAFETY_CONFIG": str(path)})
        assert found.settings.policy.max_images == 1
        assert found.sources["max_images"] == str(path)

    def test_one_that_was_named_must_be_there(self, loaded: Load, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="nowhere"):
            loaded(environ={"SAFETY_CONFIG": str(tmp_path / "nowhere.toml")})

    @pytest.mark.parametrize("content", [b"max_images = ", b"\xff\xfe", b'secret = "pass-word'])
    def test_one_that_cannot_be_read_is_an_error(
        self, loaded: Load, tmp_path: Path, content: bytes
    ) -> None:
        (tmp_path / "safety.toml").write_bytes(content)
        with pytest.raises(SettingsError, match=r"safety\.toml") as error:
            loaded()
        assert "pass-word" not in str(error.value)

    @pytest.mark.parametrize("name", ["user", "refusal", "on_decision", "moderation_client"])
    def test_functions_are_set_in_code(self, loaded: Load, name: str) -> None:
        with pytest.raises(SettingsError, match="Set it in code"):
            loaded(f'{name} = "x"')

    @pytest.mark.parametrize("toml", ["policy = 5", "[routes]\n'/chat' = 5"])
    def test_rules_are_tables(self, loaded: Load, toml: str) -> None:
        with pytest.raises(SettingsError, match="no table of rules"):
            loaded(toml)


class TestVariables:
    @pytest.mark.parametrize(
        ("name", "text", "value"),
        [
            ("routes", "/chat, /x/*", ("/chat", "/x/*")),
            ("routes", '["/chat"]', ("/chat",)),
            ("languages", "en,de", ("en", "de")),
            ("languages", "en", ("en",)),
            ("production", "true", True),
            ("production", "False", False),
            ("trusted_proxies", "2", 2),
            ("moderation_timeout", "2.5", 2.5),
            ("store", "sqlite:////var/x.db", "sqlite:////var/x.db"),
            ("unbound_calls", "raise", "raise"),
            ("openai_api_key", "12345", "12345"),
            ("wordlist", "words.txt", "words.txt"),
            ("wordlist", '"words.txt"', "words.txt"),
            ("secrets", "1" * 40, ("1" * 40,)),
            ("secrets", f"{SECRET},{OTHER}", (SECRET, OTHER)),
        ],
    )
    def test_settings_are_read_as_what_they_are(
        self, loaded: Load, name: str, text: str, value: object
    ) -> None:
        found = loaded(environ={f"SAFETY_{name.upper()}": text})
        assert getattr(found.settings, name) == value
        assert found.sources[name] == f"SAFETY_{name.upper()}"

    @pytest.mark.parametrize(
        ("name", "text", "value"),
        [
            ("methods", "GET,POST", ("GET", "POST", "HEAD")),
            ("methods", "POST", ("POST",)),
            ("fields", "/message", ("/message",)),
            ("limits", "5/minute", "5/minute"),
            ("limits", "", None),
            ("limits", "none", None),
            ("hold", "handler", "handler"),
            ("observe", "TRUE", True),
            ("wordlist", "false", False),
            ("actions", '{"hate" = "off"}', {"hate": "off"}),
            ("max_input_chars", "9", 9),
        ],
    )
    def test_rules_too(self, loaded: Load, name: str, text: str, value: object) -> None:
        found = loaded(environ={f"SAFETY_{name.upper()}": text})
        assert getattr(found.settings.policy, name) == value

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("MAX_INPUT_CHARS", "many"),
            ("OBSERVE", "yes"),
            ("PRODUCTION", "1"),
            ("TRUSTED_PROXIES", "one"),
        ],
    )
    def test_what_they_cannot_be_is_an_error(self, loaded: Load, name: str, text: str) -> None:
        with pytest.raises(SettingsError, match=name.lower()):
            loaded(environ={f"SAFETY_{name}": text})

    def test_functions_are_set_in_code(self, loaded: Load) -> None:
        with pytest.raises(SettingsError, match=r"SAFETY_USER: .* Set it in code"):
            loaded(environ={"SAFETY_USER": "get_user"})


def test_flasks_config_may_hold_objects(loaded: Load) -> None:
    words = Wordlist(["x"])
    config = {"SAFETY_WORDLIST": words, "SAFETY_USER": len, "SAFETY_ROUTES": "/a,/b"}
    settings = loaded(config=config).settings
    assert (settings.wordlist, settings.user, settings.routes) == (words, len, ("/a", "/b"))


def test_the_environment_and_working_directory_are_the_process_own_by_default(
    clean_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clean_environment / "safety.toml").write_text("max_images = 1")
    monkeypatch.setenv("SAFETY_TRUSTED_PROXIES", "1")
    settings = load().settings
    assert (settings.policy.max_images, settings.trusted_proxies) == (1, 1)
