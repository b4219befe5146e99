from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from safety_middleware.cli import main


class Shell:
    """Runs commands in a directory of its own, with an environment that says nothing."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self._monkeypatch = monkeypatch
        for name in list(os.environ):
            if name.startswith(("SAFETY_", "OPENAI_")) or name == "COLUMNS":
                monkeypatch.delenv(name)
        monkeypatch.chdir(directory)

    def set(self, **variables: str) -> None:
        for name, value in variables.items():
            self._monkeypatch.setenv(name, value)

    def file(self, text: str, name: str = "safety.toml") -> Path:
        path = self.directory / name
        path.write_text(text, "utf-8")
        return path

    def __call__(self, *arguments: str, given: str | bytes | None = None) -> Result:
        return CliRunner().invoke(main, list(arguments), input=given)


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    return Shell(tmp_path, monkeypatch)
