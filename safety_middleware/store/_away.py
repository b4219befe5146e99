"""The database did not answer, and in one word why."""

from __future__ import annotations

from safety_middleware.errors import StorageUnavailable

__all__ = ["Away"]


class Away(StorageUnavailable):
    """The database can't be reached or used now; trying again later can succeed.

    Attributes:
        cause: A short machine-readable word: ``SQLITE_FULL``, an SQLSTATE, an error's name.
    """

    def __init__(self, cause: str) -> None:
        super().__init__("store", (cause,))
        self.cause = cause
