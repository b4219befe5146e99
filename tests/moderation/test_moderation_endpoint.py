"""Where requests go, with which headers, through which proxy; and impossible settings."""

from __future__ import annotations

from typing import Any

import pytest

from safety_middleware.errors import SettingsError
from safety_middleware.moderation import DeskSettings
from safety_middleware.moderation.endpoint import Endpoint, find_endpoint

KEY = {"OPENAI_API_KEY": "sk-1"}


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def find(environ: dict[str, str] | None = None, **settings: Any) -> Endpoint:
    return find_endpoint(DeskSettings(**settings), KEY if environ is None else environ)


def test_the_default_is_openai_with_the_key_of_the_environment() -> None:
    endpoint = find()
    assert endpoint.url == "https://api.openai.com/v1/moderations"
    assert endpoint.headers == {"Authorization": "Bearer sk-1"}
    assert endpoint.proxy is None


def test_everything_the_sdk_reads_from_the_environment_is_read() -> None:
    endpoint = find(
        {
            "OPENAI_API_KEY": "sk-2\n",
            "OPENAI_BASE_URL": "http://gateway:8080/openai/v1/",
            "OPENAI_ORG_ID": "org-1",
            "OPENAI_PROJECT_ID": "proj-1",
        }
    )
    assert endpoint.url == "http://gateway:8080/openai/v1/moderations"
    assert endpoint.headers == {
        "Authorization": "Bearer sk-2",
        "OpenAI-Organization": "org-1",
        "OpenAI-Project": "proj-1",
    }


def test_settings_outrank_the_environment() -> None:
    endpoint = find({**KEY, "OPENAI_BASE_URL": "http://else"}, base_url="http://x", api_key="sk-3")
    assert endpoint.url == "http://x/moderations"
    assert endpoint.headers["Authorization"] == "Bearer sk-3"


def test_openai_without_a_key_is_an_error() -> None:
    with pytest.raises(SettingsError, match="OPENAI_API_KEY"):
        find({})


def test_a_server_of_ones_own_may_do_without_a_key() -> None:
    assert find({}, base_url="http://localhost:8000/v1").headers == {}


@pytest.mark.parametrize("key", ["sk-\n1", "sk-é", "sk-\x00"])
def test_a_key_no_header_can_hold_is_an_error_that_does_not_show_it(key: str) -> None:
    with pytest.raises(SettingsError) as caught:
        find(api_key=key)
    assert key not in str(caught.value)
    assert caught.value.setting == "api_key"


@pytest.mark.parametrize(
    "url", ["api.openai.com", "ftp://x/v1", "http://", "http://[x", "http://x:y", "http://u:p@x"]
)
def test_an_impossible_address_is_an_error(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        find(base_url=url)
    assert caught.value.setting == "base_url"


@pytest.mark.parametrize(
    ("variables", "proxy"),
    [
        ({"HTTPS_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ({"ALL_PROXY": "proxy:3128"}, "http://proxy:3128"),
        ({"HTTP_PROXY": "http://proxy:3128"}, None),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "openai.com"}, None),
    ],
)
def test_proxies_are_taken_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], proxy: str | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert find().proxy == proxy


def test_a_proxy_of_another_kind_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://proxy:1080")
    with pytest.raises(SettingsError, match="HTTPS_PROXY"):
        find()


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": ""},
        {"timeout": 0},
        {"timeout": float("inf")},
        {"cache_ttl": -1.0},
        {"cache_size": -1},
        {"batch_texts": 0},
    ],
)
def test_impossible_settings_are_errors_that_name_them(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as caught:
        DeskSettings(**wrong)
    assert caught.value.setting == next(iter(wrong))


def test_secrets_are_not_in_reprs() -> None:
    assert "sk-9" not in repr(DeskSettings(api_key="sk-9"))
    assert "sk-9" not in repr(find(api_key="sk-9"))
