"""Which strings can be something said, and which only name things."""

from __future__ import annotations

import re

__all__ = ["is_name", "is_speech", "is_talk", "place"]

_LONGEST_NAME = 40
_LONGEST_TOKEN = 64
_DEEPEST_PLACE = 200
_MOST_WORDS = 5
_FEW_WORDS = 3 * _MOST_WORDS
"""Longest token that has no room for more words, each of two letters and what parts them."""

_TOKEN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@/+=~-]*+")
_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$.\-\[\]]*+")
_WORD = re.compile(r"[A-Za-z]{2,}+")

_NAMING = frozenset(
    {
        "action",
        "category",
        "channel",
        "cid",
        "client",
        "code",
        "contentType",
        "content_type",
        "created",
        "createdAt",
        "created_at",
        "csrf",
        "csrf_token",
        "currency",
        "date",
        "datetime",
        "detail",
        "effort",
        "email",
        "encoding",
        "event",
        "finish_reason",
        "format",
        "fileName",
        "filename",
        "fp",
        "id",
        "ids",
        "index",
        "key",
        "kind",
        "lang",
        "language",
        "level",
        "locale",
        "mediaType",
        "media_type",
        "mimeType",
        "mime_type",
        "mode",
        "model",
        "name",
        "nonce",
        "object",
        "order",
        "page",
        "provider",
        "region",
        "role",
        "sender",
        "service_tier",
        "session",
        "sid",
        "size",
        "slug",
        "sort",
        "state",
        "status",
        "thread",
        "time",
        "timestamp",
        "timezone",
        "token",
        "tool",
        "type",
        "trigger",
        "tz",
        "uid",
        "updatedAt",
        "updated_at",
        "user",
        "username",
        "uuid",
        "v",
        "variant",
        "verbosity",
        "version",
        "voice",
    }
)


_TALK = frozenset(
    {
        "code",
        "comment",
        "content",
        "context",
        "description",
        "document",
        "input",
        "message",
        "msg",
        "note",
        "prompt",
        "q",
        "query",
        "question",
        "text",
        "title",
    }
)


def is_speech(key: str, text: str) -> bool:
    """Whether *text*, found under *key*, can be something said.

    False only for short tokens under keys whose values name things: a sentence under ``id`` is
    speech, and so is a token of more than five words.
    """
    if key not in _NAMING and not key.endswith(("_id", "Id", "ID", "_ids", "Ids")):
        return True
    return not _is_token(text)


def _is_token(text: str) -> bool:
    if len(text) > _LONGEST_TOKEN or _TOKEN.fullmatch(text) is None:
        return False
    return len(text) <= _FEW_WORDS or len(_WORD.findall(text)) <= _MOST_WORDS


def is_talk(key: str) -> bool:
    """Whether people type what stands under *key*: JSON there is a text about JSON, no payload."""
    return key in _TALK


def is_name(key: str) -> bool:
    """Whether *key* is a plain name; any other key is text that the client wrote."""
    if len(key) > _LONGEST_NAME or _NAME.fullmatch(key) is None:
        return False
    return len(_WORD.findall(key)) <= _MOST_WORDS


def place(where: str, step: str | int) -> str:
    """The place *step* below *where*; past 200 characters it stays, lest pointers outgrow a body."""
    return f"{where}/{step}" if len(where) < _DEEPEST_PLACE else where
