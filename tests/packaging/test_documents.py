"""The documents say what the code does: settings, defaults, refusals, examples."""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from safety_middleware import Policy, Reason, Settings
from safety_middleware.cli import main
from safety_middleware.policy import policy_fields
from safety_middleware.settings import settings_fields
from safety_middleware.testing import FakeOpenAI

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
SETTINGS = (ROOT / "docs" / "settings.md").read_text("utf-8")
STATUSES = {reason.value: reason.status for reason in Reason}
ELSEWHERE = {"policy": "`Policy()`", "tiers": "`Tiers()`", "care": "see [refusals](refusals.md)"}


def _rows(text: str) -> list[list[str]]:
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in row] for row in rows]


def _section(title: str) -> str:
    return SETTINGS.split(f"\n## {title}\n")[1].split("\n## ")[0]


def _blocks(text: str) -> dict[str, str]:
    """Heading -> its Python example."""
    found = re.findall(
        r"^## ([^\n]+)\n(?:(?!^## ).)*?^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL
    )
    return dict(found)


@pytest.mark.parametrize(
    ("title", "names", "value"),
    [
        ("The app", settings_fields(), Settings()),
        ("The rules of a route", policy_fields(), Policy()),
    ],
)
def test_the_tables_list_every_setting_with_its_default(
    title: str, names: tuple[str, ...], value: object
) -> None:
    rows = {row[0].strip("`"): row[1:] for row in _rows(_section(title))}
    assert list(rows) == list(names)
    for name, (default, meaning) in rows.items():
        assert meaning
        if name in ELSEWHERE:
            assert default == ELSEWHERE[name]
            continue
        actual = getattr(value, name)
        assert ast.literal_eval(default.strip("`")) == actual, name


def test_the_readme_s_settings_exist() -> None:
    table = README.split("\n## Settings\n")[1].split("\n## ")[0]
    named = {name for row in _rows(table) for name in re.findall(r"`([a-z_]+)`", row[0])}
    assert named
    assert named <= {*settings_fields(), *policy_fields()}


def test_the_readme_is_short_and_so_are_its_examples() -> None:
    assert len(README.splitlines()) < 150
    for title, code in _blocks(README).items():
        assert len([line for line in code.splitlines() if line.strip()]) <= 12, title


def test_every_command_the_documents_name_exists() -> None:
    texts = [README, *(path.read_text("utf-8") for path in (ROOT / "docs").glob("*.md"))]
    named = {n for text in texts for n in re.findall(r"safety-middleware ([a-z][a-z-]+)", text)}
    assert named <= set(main.commands)


def test_links_between_the_documents_lead_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_refusal_in_use_is_documented_with_its_status() -> None:
    text = (ROOT / "docs" / "refusals.md").read_text("utf-8")
    rows = {row[0].strip("`"): int(row[1]) for row in _rows(text)}
    for code, status in rows.items():
        assert STATUSES[code] == status
    not_yet = {"held_for_review", "reply_blocked"}
    assert set(rows) == set(STATUSES) - not_yet - {"ok", "care"}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeOpenAI]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAFETY_SECRET", "0123456789abcdef" * 4)
    with FakeOpenAI() as fake:
        monkeypatch.setenv("OPENAI_BASE_URL", fake.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "any")
        yield fake


def _run(*titles: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "example"}
    for title in titles:
        exec(compile(_blocks(README)[title], title, "exec"), names)
    return names


@pytest.mark.parametrize(
    ("title", "path", "cap"), [("Starlette", "/chat", 4096), ("FastAPI", "/ask", 300)]
)
def test_the_asgi_examples_answer_and_refuse(
    title: str, path: str, cap: int, api: FakeOpenAI
) -> None:
    names = _run("The model call", title)
    with TestClient(names["app"]) as browser:
        assert "hello" in browser.post(path, json={"message": "hello"}).json()["reply"]
        refused = browser.post(path, json={"message": "UNSAFE"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "content_blocked")
        asyncio.run(names["client"].close())
    (call,) = api.calls("/responses")
    assert call.body["max_output_tokens"] == cap
    assert re.fullmatch(r"[sa]1_[\w-]{49}", call.body["safety_identifier"])


def test_the_flask_example_answers_and_refuses(api: FakeOpenAI) -> None:
    names = _run("Flask")
    browser = names["app"].test_client()
    assert "hello" in browser.post("/chat", json={"message": "hello"}).get_json()["reply"]
    refused = browser.post("/chat", json={"message": "UNSAFE"})
    assert (refused.status_code, refused.get_json()["error"]["code"]) == (400, "content_blocked")
    names["client"].close()
    names["app"].extensions["safety_middleware"].safety.close()
    (call,) = api.calls("/responses")
    assert call.body["max_output_tokens"] == 4096


def test_the_settings_file_in_the_documents_is_one_that_can_be_read(
    tmp_path: Path,
) -> None:
    from safety_middleware.loading import load

    example = re.search(r"^```toml\n(.*?)^```", SETTINGS, re.MULTILINE | re.DOTALL)
    assert example is not None
    (tmp_path / "safety.toml").write_text(example[1], "utf-8")
    settings = load(environ={}, directory=tmp_path).settings
    assert settings.policy.max_input_chars == 2000
    assert settings.policy.thresholds == {"violence": 0.6}
    assert set(settings.route_policies() or ()) == {"/chat", "/api/draw"}
