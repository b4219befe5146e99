from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from safety_middleware.errors import SettingsError
from safety_middleware.store import Store, generated_secret, safety_directory

NOBODY = 65534


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def read_only_directory() -> Generator[Path]:
    """A directory the process may read and not write, whoever runs the tests."""
    path = Path(tempfile.mkdtemp(prefix="safety-read-only-"))
    path.chmod(0o555)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(NOBODY)
        yield path
    finally:
        os.seteuid(user)
        path.chmod(0o700)
        for each in path.iterdir():
            each.unlink()
        path.rmdir()


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
def test_the_directory_is_private_and_ignored_by_git(tmp_path: Path) -> None:
    directory = safety_directory(tmp_path)
    assert directory == tmp_path / ".safety"
    assert mode(directory) == 0o700
    assert (directory / ".gitignore").read_text() == "*\n"
    assert mode(directory / ".gitignore") == 0o600


def test_a_directory_of_ours_that_others_may_read_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / ".safety").mkdir(mode=0o755)
    assert mode(safety_directory(tmp_path)) == 0o700
    assert (tmp_path / ".safety" / ".gitignore").exists()


def test_a_gitignore_that_is_there_is_kept(tmp_path: Path) -> None:
    safety_directory(tmp_path)
    (tmp_path / ".safety" / ".gitignore").write_text("mine")
    safety_directory(tmp_path)
    assert (tmp_path / ".safety" / ".gitignore").read_text() == "mine"


def test_a_relative_base_gives_an_absolute_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert safety_directory(Path()) == tmp_path / ".safety"


def test_a_read_only_working_directory_is_an_error_with_a_remedy() -> None:
    with read_only_directory() as base, pytest.raises(SettingsError) as caught:
        safety_directory(base)
    assert caught.value.setting == "store"
    assert str(base) in str(caught.value)
    assert "sqlite:////var/lib" in caught.value.remedy


def test_a_read_only_directory_for_the_database_is_the_same_error(tmp_path: Path) -> None:
    Store.open(base=tmp_path).close()  # the user that can't write may not import either
    with read_only_directory() as base, pytest.raises(SettingsError) as caught:
        Store.open("sqlite:///safety.db", base=base)
    assert caught.value.setting == "store"
    assert str(base) in str(caught.value)


def test_a_file_in_the_way_is_the_same_error(tmp_path: Path) -> None:
    (tmp_path / ".safety").write_text("")
    with pytest.raises(SettingsError, match="store: "):
        safety_directory(tmp_path)


def test_a_secret_is_made_once_and_kept_private(tmp_path: Path) -> None:
    directory = safety_directory(tmp_path)
    secret = generated_secret(directory)
    assert len(bytes.fromhex(secret)) == 32
    assert generated_secret(directory) == secret
    assert mode(directory / "secret") == 0o600
    assert sorted(p.name for p in directory.iterdir()) == [".gitignore", "secret"]


def test_each_directory_has_its_own_secret(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    assert generated_secret(tmp_path) != generated_secret(tmp_path / "other")


def test_racing_workers_get_the_same_secret(tmp_path: Path) -> None:
    def work(_: int) -> str:
        return generated_secret(safety_directory(tmp_path))

    with ThreadPoolExecutor(16) as pool:
        secrets = list(pool.map(work, range(64)))
    assert len(set(secrets)) == 1
    assert sorted(p.name for p in (tmp_path / ".safety").iterdir()) == [".gitignore", "secret"]


def test_the_loser_of_a_race_for_the_secret_takes_the_winners(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def lose(draft: str, path: Path) -> None:
        path.write_text("a" * 64)
        link(draft, path)

    monkeypatch.setattr(os, "link", lose)
    assert generated_secret(tmp_path) == "a" * 64
    assert [p.name for p in tmp_path.iterdir()] == ["secret"]


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 64, b"G" * 64])
def test_a_damaged_secret_is_an_error_that_does_not_repeat_it(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "secret").write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        generated_secret(tmp_path)
    assert caught.value.setting == "secret"
    assert str(tmp_path / "secret") in str(caught.value)
    assert "GGG" not in str(caught.value)
    assert "short" not in str(caught.value)


def test_a_secret_that_can_not_be_made_is_an_error() -> None:
    with read_only_directory() as base, pytest.raises(SettingsError):
        generated_secret(base)


def test_a_file_system_without_links_is_an_error_and_leaves_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(SettingsError, match="Operation not permitted"):
        generated_secret(tmp_path)
    assert list(tmp_path.iterdir()) == []
