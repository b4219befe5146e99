"""The directory ``.safety/`` and what is made in it: private, and safe against workers racing."""

from __future__ import annotations

import os
import re
import secrets
import tempfile
from pathlib import Path

from safety_middleware.errors import SettingsError

__all__ = ["create_once", "generated_secret", "own_directory", "safety_directory"]

_NAME = ".safety"
_SECRET = re.compile(r"[0-9a-f]{64}")
_ELSEWHERE = (
    "Set store to a database elsewhere, such as sqlite:////var/lib/myapp/safety.db or "
    "postgresql://…, or make the directory writable for the app"
)


def safety_directory(base: Path) -> Path:
    """The directory ``.safety`` in *base*, made if it is missing.

    It has mode 0700 and holds a ``.gitignore`` that keeps it out of version control.

    Raises:
        SettingsError: If it can't be made, as in a read-only working directory.
    """
    return own_directory(base.absolute() / _NAME)


def own_directory(directory: Path) -> Path:
    """Make *directory* ours if it is missing or is a ``.safety``; else leave it as it is.

    Raises:
        SettingsError: If it can't be made.
    """
    try:
        if directory.name == _NAME or not directory.is_dir():
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if directory.stat().st_mode & 0o077:
                directory.chmod(0o700)
            create_once(directory / ".gitignore", b"*\n")
    except OSError as error:
        raise _cannot_write(directory, error) from None
    return directory


def create_once(path: Path, content: bytes) -> None:
    """Create *path* with mode 0600 and *content*, whole or not at all; leave it if it exists.

    Raises:
        SettingsError: If it can't be created.
    """
    if path.exists():
        return
    try:
        file, draft = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    except OSError as error:
        raise _cannot_write(path.parent, error) from None
    try:
        with os.fdopen(file, "wb") as stream:
            stream.write(content)
        # a link never replaces: of several workers one wins and all see its whole file
        os.link(draft, path)
    except FileExistsError:
        pass
    except OSError as error:
        raise _cannot_write(path.parent, error) from None
    finally:
        os.unlink(draft)  # noqa: PTH108 - mkstemp gives a str


def generated_secret(directory: Path) -> str:
    """The secret kept in *directory*: 64 hexadecimal digits, made at the first call.

    All workers that start at once get the same one. For development: a secret that lives beside
    the data it protects is no secret in production.

    Raises:
        SettingsError: If it can't be made or read, or is not what was made.
    """
    path = directory / "secret"
    create_once(path, secrets.token_hex(32).encode())
    try:
        text = path.read_text("ascii").strip()
    except (OSError, ValueError):
        text = ""
    if not _SECRET.fullmatch(text):
        raise SettingsError(
            "secret",
            f"{path} can't be read or is not 64 hexadecimal digits",
            "Delete the file to have a new one made, or set secret yourself",
        )
    return text


def _cannot_write(directory: Path, error: OSError) -> SettingsError:
    problem = f"{directory} can't be made or written ({error.strerror})"
    return SettingsError("store", problem, _ELSEWHERE)
