"""A JSON value -> its strings, images and messages, wherever they are."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from safety_middleware.decision import Reason
from safety_middleware.errors import BadInput

from .images import image_of_data, is_data_url
from .json_body import MAX_DEPTH, Json, NotJsonError, read_json
from .media import SOURCES, find_media
from .messages import (
    HISTORIES,
    ROLES,
    STRUCTURAL,
    is_conversation,
    is_message,
    newness,
    normal_role,
    role_of,
    top_level_system,
)
from .model import Image, Part
from .speech import is_name, is_speech, is_talk, place

__all__ = ["Found", "Speaker"]

_PLAIN = frozenset(
    {"content", "id", "input", "message", "messages", "model", "parts", "role", "text", "type"}
)
_ODD_STARTS = frozenset({"", "[", "{", "d", "D"})
_DEEPEST_TEXT = 2
_NOTHING: frozenset[str] = frozenset()


class Speaker(NamedTuple):
    """Who says what follows: whether it is new in this turn, and the role of its message."""

    new: bool
    role: str | None


CLIENT = Speaker(True, None)
"""What stands outside messages was said by the client, now."""


class Found:
    """What was found so far; one object per request.

    Args:
        names: Field names and keys the operator wrote in the policy, written out in places.
        choices: Keys of ``Policy.choices``.

    Attributes:
        echo: Whether what comes next was counted in another reading.
        raw_chars: Length of conversations that may also be read as plain text.
    """

    __slots__ = (
        "_level",
        "_names",
        "choices",
        "echo",
        "images",
        "parts",
        "raw_chars",
        "roles",
        "unsupported",
        "values",
    )

    def __init__(self, names: frozenset[str] = _NOTHING, choices: Collection[str] = ()) -> None:
        self._names = names
        self._level = 0
        self.choices = choices
        self.echo = False
        self.parts: list[Part] = []
        self.images: list[Image] = []
        self.raw_chars = 0
        self.roles: list[tuple[str, str]] = []
        self.unsupported: list[str] = []
        self.values: dict[str, list[Json]] = {}

    def body(self, value: Json, where: str = "", key: str = "", speaker: Speaker = CLIENT) -> None:
        """Take in a whole JSON value that stands at *where*, under *key*.

        Raises:
            BadInput: If it is nested too deeply.
        """
        if isinstance(value, dict) and (names := top_level_system(value)):
            value = value.copy()
            for name in names:
                there = f"{where}/{name}"
                self.roles.append(("system", there))
                self._walk(value.pop(name), there, name, Speaker(False, "system"), 2)
        self._walk(value, where or "/" * isinstance(value, str), key, speaker, 1)

    def value(self, key: str, where: str, value: Json) -> None:
        """Remember *value* if the policy has choices for its place or its name."""
        for name in {key, where}.intersection(self.choices):
            self.values.setdefault(name, []).append(value)

    def name(self, key: str, where: str, speaker: Speaker = CLIENT) -> str:
        """How a place is written that *key* leads to; a key that could be text is taken in."""
        if is_name(key):
            return key
        if key:
            self.parts.append(Part(key, f"{where}/*", *speaker, True, self.echo))
        return key.replace("~", "~0").replace("/", "~1") if key in self._names else "*"

    def text(self, text: str, where: str, key: str, speaker: Speaker = CLIENT) -> None:
        """Take in one string, found under *key*.

        Raises:
            BadInput: If it is JSON that the app may read, and can be read in two ways.
        """
        if text[:1] in _ODD_STARTS and self._odd(text, where, key, speaker):
            return
        self.parts.append(Part(text, where, *speaker, is_speech(key, text), self.echo))

    def _odd(self, text: str, where: str, key: str, speaker: Speaker) -> bool:
        """Handle a string that is empty, a data URL, or JSON again; True if it is no text."""
        if not text:
            return True
        if text[0] not in "dD":
            if self._level < _DEEPEST_TEXT:
                if speaker.role is None and not is_talk(key):
                    return self._payload(text, where, key, speaker)
                self._quoted(text, where, speaker)
            return False
        if not is_data_url(text):
            return False
        self.image(image_of_data(text, new=speaker.new), where)
        return True

    def image(self, image: Image | None, where: str) -> None:
        """Take in an image; None is one of a type that can't be checked."""
        if image is None:
            self.unsupported.append(where)
        else:
            self.images.append(image)

    def _payload(self, text: str, where: str, key: str, speaker: Speaker) -> bool:
        """Take in JSON that the app may read; True if it is a conversation, and itself no text."""
        roles, parts, images = len(self.roles), len(self.parts), len(self.images)
        try:
            value = read_json(text)
        except NotJsonError:
            return False
        self._level += 1
        self.body(value, where, key, speaker)
        self._level -= 1
        if len(self.roles) > roles:
            self.raw_chars += len(text) - sum(len(image.url) for image in self.images[images:])
            return True
        echoes = [part._replace(echo=True) for part in self.parts[parts:]]
        self.parts[parts:] = echoes if "\\" in text else []
        return False

    def _quoted(self, text: str, where: str, speaker: Speaker) -> None:
        """Take in what JSON in a message says: its escapes can hide words."""
        if "\\" not in text:
            return
        inner = Found()
        inner.echo, inner._level = True, self._level + 1
        try:
            inner._walk(read_json(text), where, "text", Speaker(*speaker), 1)
        except (NotJsonError, BadInput):
            return  # a text that is nearly JSON
        self.parts += inner.parts

    def _walk(self, node: Json, where: str, key: str, speaker: Speaker, depth: int) -> None:
        if isinstance(node, str):
            self.text(node, where, key, speaker)
        elif isinstance(node, dict):
            self._object(node, where, key, speaker, depth)
        elif isinstance(node, list):
            self._list(node, where, key, speaker, depth)

    def _list(self, items: list[Json], where: str, key: str, speaker: Speaker, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise BadInput(Reason.UNREADABLE_BODY)
        if is_conversation(items, inside=speaker.role is not None):
            self._conversation(items, where, key, speaker, depth)
            return
        below = Speaker(False, speaker.role) if key in HISTORIES else speaker
        for i, item in enumerate(items):
            there = place(where, i)
            if isinstance(item, dict) and (text := self._plain(item, "type", "text")) is not None:
                self.parts.append(Part(text, f"{there}/text", *below, True, self.echo))
            else:
                self._walk(item, there, key, below, depth + 1)

    def _conversation(
        self, items: list[Json], where: str, key: str, speaker: Speaker, depth: int
    ) -> None:
        roles = [role_of(item) for item in items]
        places = [place(where, i) for i in range(len(items))]
        self.roles += zip(roles, places, strict=True)
        fresh = newness(roles, past=key in HISTORIES) if speaker.new else [False] * len(items)
        for item, role, there, new in zip(items, roles, places, fresh, strict=True):
            if not isinstance(item, dict):
                self._walk(item, there, "content", Speaker(new, role), depth + 1)
            elif (text := self._plain(item, "role", "content")) is not None:
                self.parts.append(Part(text, f"{there}/content", new, role, True, self.echo))
            else:
                self._members(item, there, Speaker(new, role), depth + 1)

    def _plain(self, node: dict[str, Json], kind: str, key: str) -> str | None:
        """The text of an object that has a known *kind* and a plain string, as most have."""
        if len(node) != 2 or self.choices:  # noqa: PLR2004  # kind and text
            return None
        text, name = node.get(key), node.get(kind)
        if not isinstance(text, str) or not isinstance(name, str) or not _is_syntax(kind, name):
            return None
        return text if text[:1] not in _ODD_STARTS else None

    def _object(
        self, node: dict[str, Json], where: str, key: str, speaker: Speaker, depth: int
    ) -> None:
        if is_message(node):
            role = role_of(node)
            self.roles.append((role, where or "/"))
            speaker = Speaker(speaker.new, speaker.role or role)
        if key in HISTORIES:
            speaker = Speaker(False, speaker.role)
        self._members(node, where, speaker, depth)

    def _members(
        self,
        node: dict[str, Json],
        where: str,
        speaker: Speaker,
        depth: int,
        used: Collection[str] = (),
    ) -> None:
        if depth > MAX_DEPTH:
            raise BadInput(Reason.UNREADABLE_BODY)
        inside = speaker.role is not None
        if not used and (media := find_media(node, new=speaker.new, inside=inside)) is not None:
            used = media.used
            self.images += media.images
            self.unsupported += [where] * media.refused
        for key, value in node.items():
            there = place(where, key if key in _PLAIN else self.name(key, where, speaker))
            if self.choices:
                self.value(key, there, value)
            if key in used:
                if isinstance(value, dict):
                    self._members(value, there, speaker, depth + 1, SOURCES)
            elif not isinstance(value, str):
                self._walk(value, there, key, speaker, depth + 1)
            elif not _is_syntax(key, value):
                past = key in HISTORIES
                self.text(value, there, key, Speaker(False, speaker.role) if past else speaker)


def _is_syntax(key: str, value: str) -> bool:
    if key == "type":
        return value in STRUCTURAL
    return key == "role" and normal_role(value) in ROLES
