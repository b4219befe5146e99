from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("safety_middleware", "safety_middleware_flask", "safety_middleware_starlette")


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An sdist, and a wheel built from it, by the backend itself: no network is needed."""
    place = tmp_path_factory.mktemp("dist")
    build = "import sys; from hatchling import build; print(build.build_{}(sys.argv[1]))"
    _run(build.format("sdist"), place, ROOT)
    with tarfile.open(next(place.glob("*.tar.gz"))) as archive:
        archive.extractall(place / "source", filter="data")
    _run(build.format("wheel"), place, next((place / "source").iterdir()))
    return place


def _run(code: str, place: Path, directory: Path) -> None:
    command = [sys.executable, "-c", code, str(place)]
    subprocess.run(command, cwd=directory, check=True, capture_output=True, timeout=60)


def test_the_wheel_holds_the_three_packages_and_nothing_else(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        names = wheel.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
    for package in PACKAGES:
        assert f"{package}/py.typed" in names
    ours = {
        str(path.relative_to(base))
        for base, package in ((ROOT, PACKAGES[0]), *((ROOT / "adapters", p) for p in PACKAGES[1:]))
        for path in (base / package).rglob("*.py")
    }
    assert ours <= set(names)
    assert any(name.endswith("/terms/en.txt") for name in names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_sdist_holds_what_is_needed_to_test_it(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "CHANGELOG.md", "LICENSE", "Makefile", "pyproject.toml"} <= names
    assert "tests/packaging/test_distribution.py" in names
    assert not [name for name in names if ".safety/" in name or "__pycache__" in name]


def test_the_command_is_installed_and_the_version_is_one() -> None:
    (command,) = entry_points(group="console_scripts", name="safety-middleware")
    assert command.value == "safety_middleware.cli:main"
    assert callable(command.load())


def test_the_changelog_s_newest_version_is_the_package_s(project: dict[str, Any]) -> None:
    log = (ROOT / "CHANGELOG.md").read_text("utf-8")
    newest = next(line for line in log.splitlines() if line.startswith("## "))
    assert newest.split()[1] == project["project"]["version"] == version("safety-middleware")


def test_every_framework_is_an_extra_and_none_is_required(project: dict[str, Any]) -> None:
    required = " ".join(project["project"]["dependencies"])
    for name in ("starlette", "flask", "fastapi", "redis", "psycopg"):
        assert name not in required
    extras = project["project"]["optional-dependencies"]
    assert set(extras) == {"starlette", "flask", "redis", "postgres", "all"}
