from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from safety_middleware import Policy, Settings, SettingsError
from safety_middleware.settings import nearest, settings_fields
from safety_middleware.wordlist import Wordlist

SECRET = "0123456789abcdef" * 4


IMPOSSIBLE: dict[str, list[Any]] = {
    "routes": ["/chat", 5, ["chat"], [5], ["/a*b"], {"/chat": {}}, {"x": Policy()}],
    "policy": [{}, None],
    "secret": ["short", b"short", ""],
    "secrets": [5, [5], SECRET, ["short"], [SECRET, b""]],
    "production": [1, "true", None],
    "user": ["id", 5],
    "session": ["id"],
    "trusted_proxies": [-1, True, 1.0, "1", None],
    "store": ["", "records.db", None, 5],
    "limits_storage": ["", "memory", None],
    "wordlist": [5, ["x"], True, b"x"],
    "languages": ["en", [5], 5, ()],
    "moderation_model": ["", None],
    "moderation_timeout": [0, -1, 61, float("nan"), True, "5"],
    "moderation_requests": [0, -1, 1.5, True, "5"],
    "moderation_tokens": [0, -1, 1.5, True, "5"],
    "moderation_share": [0, -0.1, 1.1, True, "5"],
    "openai_base_url": ["api.openai.com"],
    "moderation_client": ["client"],
    "tiers": [5, {"x": 1}, {"known_turns": 0}, {"holds": {"watched": "never"}}],
    "unbound_calls": [""],
    "cookie_samesite": ["loose", 5],
    "on_decision": ["print"],
    "on_degraded": [5],
    "on_strike": [5],
    "on_suspend": ["print"],
    "refusal": [{}],
    "care": [{}, None, "text", {"message": "x"}, {"message": set[str](), "resources": []}],
}


@pytest.mark.parametrize(("name", "values"), IMPOSSIBLE.items())
def test_an_impossible_value_names_setting_and_remedy(name: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(SettingsError) as error:
            Settings(**{name: value})
        assert error.value.setting.split(".")[0] in {name, name.removesuffix("s")}
        assert error.value.remedy.endswith((".", "'"))


def test_no_setting_goes_unchecked() -> None:
    anything = {"openai_api_key"}
    assert set(IMPOSSIBLE) == set(settings_fields()) - anything


def test_secret_and_secrets_have_to_agree() -> None:
    other = SECRET[::-1]
    with pytest.raises(SettingsError, match="differ"):
        Settings(secret=SECRET, secrets=(other, SECRET))
    assert Settings(secret=SECRET, secrets=(SECRET, other)).secrets == (SECRET, other)
    assert Settings(secret=SECRET).secrets == (SECRET,)
    assert Settings().secrets == ()


def test_no_secret_is_in_a_repr_or_a_message() -> None:
    settings = Settings(
        secret=SECRET,
        openai_api_key="sk-very-secret",
        store="postgresql://me:pass-word@host/db",
        limits_storage="redis://:pass-word@host:6379/0",
        openai_base_url="https://me:pass-word@host/v1",
        moderation_client=object(),
    )
    shown = repr(settings) + str(settings)
    for secret in (SECRET, "sk-very-secret", "pass-word"):
        assert secret not in shown
    for name in ("secret", "store", "openai_base_url", "limits_storage"):
        wrong: dict[str, Any] = {name: "pass-word"}
        with pytest.raises(SettingsError) as error:
            Settings(**wrong)
        assert "pass-word" not in str(error.value)


def test_routes_inherit_the_default_policy() -> None:
    settings = Settings(
        policy=Policy(max_images=0), routes={"/chat": Policy(max_input_chars=9), "/x/*": Policy()}
    )
    policies = settings.route_policies()
    assert policies is not None
    assert (policies["/chat"].max_input_chars, policies["/chat"].max_images) == (9, 0)
    assert policies["/x/*"].max_images == 0


def test_listed_routes_have_the_default_policy() -> None:
    settings = Settings(policy=Policy(max_images=0), routes=("/a", "/b"))
    assert settings.route_policies() == {"/a": settings.policy, "/b": settings.policy}
    assert Settings(routes=()).route_policies() == {}
    assert Settings().route_policies() is None


def test_what_can_be_set_is_kept() -> None:
    words = Wordlist(["x"])
    assert Settings(wordlist=words).wordlist is words
    assert Settings(wordlist=Path("words.txt")).wordlist == Path("words.txt")
    listed: dict[str, Any] = {"languages": ["de", "en"]}
    assert Settings(**listed).languages == ("de", "en")
    assert Settings(cookie_samesite="strict").cookie_samesite == "Strict"
    assert Settings(moderation_timeout=60, trusted_proxies=3).moderation_timeout == 60


def test_the_nearest_name_is_offered_or_all_of_them() -> None:
    assert nearest("trusted_proxy", ["store", "trusted_proxies"]) == "Did you mean trusted_proxies?"
    assert nearest("zzz", ["store", "secret"]) == "Known are: secret, store."
