from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import safety_middleware

PACKAGES = ("safety_middleware", "safety_middleware_flask", "safety_middleware_starlette")
HEAVY = (
    "aiohttp",
    "fastapi",
    "flask",
    "httpx",
    "httpx2",
    "limits",
    "openai",
    "pydantic",
    "redis",
    "sqlalchemy",
    "starlette",
    "werkzeug",
)


ROOT = Path(__file__).parents[2]


def _modules() -> list[str]:
    """Every module, found without importing it."""
    names: list[str] = []
    for name in PACKAGES:
        base = ROOT if name == "safety_middleware" else ROOT / "adapters"
        for path in sorted((base / name).rglob("*.py")):
            parts = path.relative_to(base).with_suffix("").parts
            names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return [name for name in names if not name.endswith("__main__")]


@pytest.mark.parametrize("name", _modules())
def test_every_name_a_module_promises_is_there(name: str) -> None:
    module = importlib.import_module(name)
    promised = getattr(module, "__all__", [])
    assert len(set(promised)) == len(promised)
    for each in promised:
        assert hasattr(module, each)


@pytest.mark.parametrize("name", PACKAGES)
def test_all_is_what_is_exported(name: str) -> None:
    """What a package brings in from its own modules is public, or has an underscore."""
    package = importlib.import_module(name)
    brought = {
        each
        for each, value in vars(package).items()
        if not each.startswith("_")
        and not isinstance(value, ModuleType)
        and getattr(value, "__module__", "").startswith("safety_middleware")
    }
    assert brought - {"F"} == set(package.__all__)


def test_the_public_names_are_sorted_and_documented() -> None:
    assert list(safety_middleware.__all__) == sorted(safety_middleware.__all__)
    for name in safety_middleware.__all__:
        assert getattr(safety_middleware, name).__doc__, name


def _loaded(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(shown.stdout.split())


@pytest.mark.parametrize(
    "statement", ["import safety_middleware", "from safety_middleware import guard_client, Safety"]
)
def test_importing_the_package_loads_nothing_heavy(statement: str) -> None:
    assert not _loaded(statement) & set(HEAVY)


def test_an_adapter_loads_its_own_framework_and_no_other() -> None:
    others = {"flask", "werkzeug", "fastapi", "openai", "pydantic", "limits", "sqlalchemy"}
    assert not _loaded("import safety_middleware_starlette") & others
    others = {"starlette", "fastapi", "openai", "pydantic", "limits", "sqlalchemy"}
    assert not _loaded("import safety_middleware_flask") & others
