"""A JSON value -> its strings, images and messages, wherever they are."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, cast

from safety_middleware.decision import Reason
from safety_middleware.errors import BadInput

from .images import image_of_url, is_data_url
from .json_body import MAX_DEPTH, NotJson, read_json
from .media import SOURCES, find_media
from .messages import (
    HISTORIES,
    STRUCTURAL,
    is_conversation,
    is_message,
    newness,
    normal_role,
    role_of,
    top_level_system,
)
from .model import Image, Part
from .speech import is_name, is_speech, place

__all__ = ["Found"]

MOST_PARTS = 20_000
"""Most strings of a request: several times what 64,000 characters of history can be made of."""

_PLAIN = frozenset(
    {"content", "id", "input", "message", "messages", "parts", "role", "text", "type"}
)
_SPOKEN = frozenset({"content", "text", "message", "input"})
_ODD_STARTS = frozenset({"", "[", "{", "d", "D"})
_DEEPEST_TEXT = 2


class Found:
    """What was found so far; one object per request.

    Args:
        names: Field names and keys the operator wrote in the policy, written out in places.
        choices: Keys of ``Policy.choices``.
    """

    __slots__ = (
        "_level", "_names", "choices", "echo", "images", "parts", "roles", "unsupported", "values",
    )  # fmt: skip

    def __init__(self, names: Collection[str] = (), choices: Collection[str] = ()) -> None:
        self._names = names
        self._level = 0
        self.choices = choices
        self.echo = False
        self.parts: list[Part] = []
        self.images: list[Image] = []
        self.roles: list[tuple[str, str]] = []
        self.unsupported: list[str] = []
        self.values: dict[str, list[Any]] = {}

    def body(self, value: Any, where: str = "") -> None:
        """Take in a whole JSON value that stands at *where*."""
        if type(value) is dict:
            for key in top_level_system(value):
                self.roles.append(("system", f"{where}/{key}"))
        self._walk(value, where or "/" * (type(value) is str), "", (True, None), 1)

    def value(self, key: str, where: str, value: Any) -> None:
        """Remember *value* if the policy has choices for its place or its name."""
        for name in {key, where}.intersection(self.choices):
            self.values.setdefault(name, []).append(value)

    def step(self, where: str, key: str, new: bool, role: str | None) -> str:
        """The place of *key* below *where*; a key that could be text is taken in as text."""
        if key in _PLAIN or is_name(key):
            return place(where, key)
        if key:
            self._add(Part(key, place(where, "*"), new, role, True, self.echo))
        if key in self._names:
            return place(where, key.replace("~", "~0").replace("/", "~1"))
        return place(where, "*")

    def text(self, text: str, where: str, key: str, state: tuple[bool, str | None]) -> None:
        """Take in one string, found under *key*."""
        new, role = state
        if text[:1] in _ODD_STARTS and self._odd(text, where, state):
            return
        self._add(Part(text, where, new, role, is_speech(key, text), self.echo))

    def _add(self, part: Part) -> None:
        self.parts.append(part)
        if len(self.parts) > MOST_PARTS:
            raise BadInput(Reason.INPUT_TOO_LONG)

    def _odd(self, text: str, where: str, state: tuple[bool, str | None]) -> bool:
        """Handle a string that is empty, a data URL, or JSON again; True if that is all it is."""
        if not text:
            return True
        if text[0] in "dD":
            if not is_data_url(text):
                return False
            image = image_of_url(text, new=state[0])
            if image is not None and text[5:11].lower() == "image/":
                self.images.append(image)
            else:
                self.unsupported.append(where)
            return True
        self._nested(text, where, state)
        return False

    def _nested(self, text: str, where: str, state: tuple[bool, str | None]) -> None:
        """Read JSON inside a string, whose escapes can hide words; not for its messages."""
        if "\\" not in text or self._level >= _DEEPEST_TEXT:
            return
        try:
            value = read_json(text)
        except (NotJson, BadInput):
            return  # it stays what it is, a text
        inner = Found()
        inner.echo, inner._level = True, self._level + 1
        try:
            inner._walk(value, where, "", state, 1)
        except BadInput as bad:
            if bad.reason is Reason.INPUT_TOO_LONG:
                raise
            return
        for part in inner.parts:
            self._add(part)

    def _walk(
        self, node: Any, where: str, key: str, state: tuple[bool, str | None], depth: int
    ) -> None:
        kind = type(node)
        if kind is str:
            self.text(node, where, key, state)
        elif kind is dict:
            self._object(node, where, key, state, depth)
        elif kind is list:
            self._list(node, where, key, state, depth)

    def _list(
        self, items: list[Any], where: str, key: str, state: tuple[bool, str | None], depth: int
    ) -> None:
        if depth > MAX_DEPTH:
            raise BadInput(Reason.UNREADABLE_BODY)
        new, role = state
        if not is_conversation(items, inside=role is not None):
            for i, item in enumerate(items):
                self._walk(item, place(where, i), key, state, depth + 1)
            return
        roles = [role_of(item) for item in items]
        fresh = newness(roles, past=key in HISTORIES)
        for i, item in enumerate(items):
            there = place(where, i)
            self.roles.append((roles[i], there))
            inner = (new and fresh[i], roles[i])
            if type(item) is dict:
                self._members(cast("dict[str, Any]", item), there, inner, depth + 1)
            else:
                self._walk(item, there, "content", inner, depth + 1)

    def _object(
        self, node: dict[str, Any], where: str, key: str, state: tuple[bool, str | None], depth: int
    ) -> None:
        if is_message(node):
            self.roles.append((role_of(node), where or "/"))
            state = (state[0] and key not in HISTORIES, state[1] or role_of(node))
        self._members(node, where, state, depth)

    def _members(
        self,
        node: dict[str, Any],
        where: str,
        state: tuple[bool, str | None],
        depth: int,
        skip: Collection[str] = (),
    ) -> None:
        if depth > MAX_DEPTH:
            raise BadInput(Reason.UNREADABLE_BODY)
        new, role = state
        media = find_media(node, new=new, inside=role is not None)
        if media is not None:
            self.images.extend(media.images)
            if media.refused:
                self.unsupported.append(where)
        for key, value in node.items():
            there = self.step(where, key, new, role)
            if self.choices:
                self.value(key, there, value)
            if key in skip or (media is not None and key in media.used):
                if type(value) is dict:
                    self._members(value, there, state, depth + 1, SOURCES)
            elif type(value) is not str:
                below = (False, role) if key in HISTORIES and not self._talks(value) else state
                self._walk(value, there, key, below, depth + 1)
            elif not ((key == "type" and value in STRUCTURAL) or (key == "role" and _known(value))):
                self.text(value, there, key, state)

    def _talks(self, value: Any) -> bool:
        return type(value) is list and is_conversation(value, inside=False)


def _known(role: str) -> bool:
    return normal_role(role) in {"user", "assistant", "tool", "system", "developer"}
