"""The values of this package: a raw request, and the content found in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

__all__ = ["Content", "FormField", "FormReader", "Image", "Part", "RawRequest"]

_NOTHING: Mapping[str, tuple[Any, ...]] = MappingProxyType({})


class FormField(NamedTuple):
    """One field of a form, as a form parser reads it.

    Attributes:
        name: Name of the field.
        value: Text of a plain field; bytes of an uploaded file.
        filename: The client's name for an uploaded file; None for a plain field.
        content_type: Declared type of the part, or None.
    """

    name: str
    value: str | bytes
    filename: str | None = None
    content_type: str | None = None


class FormReader(Protocol):
    """The app's own form parser; anything it raises means that the body can't be read."""

    def __call__(self, body: bytes, content_type: str, /) -> Iterable[FormField]:
        """Read the fields of a body of the form type *content_type*."""
        ...


class RawRequest(NamedTuple):
    """What a client sent, before anyone has read it.

    Attributes:
        method: HTTP method.
        query: Raw query string, without the question mark.
        path: Name and text of every variable part of the path, decoded, as the app's router has it.
        content_type: Value of ``Content-Type``; repeated headers joined with a comma.
        content_encoding: Value of ``Content-Encoding``, joined likewise.
        body: The whole body.
        forms: The app's form parser, or None where there is none.
    """

    method: str = "POST"
    query: bytes = b""
    path: tuple[tuple[str, str], ...] = ()
    content_type: str | None = None
    content_encoding: str | None = None
    body: bytes = b""
    forms: FormReader | None = None


class Part(NamedTuple):
    """One string of a request. A tuple, because a long history has hundreds of them.

    Attributes:
        text: The string.
        where: A JSON pointer (``/messages/0/content``; ``/`` for a body that is one JSON string),
            ``form:message``, ``query:q``, ``path:topic`` or ``body``. Names that could be text are
            written ``*``.
        new: Sent for this turn; False for history.
        role: Role of the message it belongs to, or None outside messages.
        speech: Can be something said; False for ids, e-mail addresses and the like, which meet
            the wordlist and the caps but not moderation.
        echo: Bytes of another part, read in another way: checked like any, counted only where
            the echoes together are longer.
    """

    text: str
    where: str
    new: bool = True
    role: str | None = None
    speech: bool = True
    echo: bool = False


@dataclass(frozen=True, slots=True)
class Image:
    """One image of a request.

    Attributes:
        url: A ``data:`` URL with base64, or an http(s) URL that is never fetched by us.
        new: Sent for this turn; False for history.
        media_type: Type by its first bytes, or the declared one where that is not supported;
            None for http(s) URLs.
        size: Decoded size in bytes; None for http(s) URLs.
    """

    url: str
    new: bool = True
    media_type: str | None = None
    size: int | None = None


@dataclass(frozen=True)
class Content:
    """All that a client says in one request.

    Attributes:
        parts: Every string the app could read, in document order; see ``Policy.fields``.
        images: Every image.
        roles: Role and place of every message the client sent.
        values: Name in ``Policy.choices`` -> every value the request has there.
        unsupported: Places of audio, files and images that can't be checked.
        raw_chars: Length of a body that the app may also read as plain text, in code points and
            without images; 0 where there is no such reading.
    """

    parts: tuple[Part, ...] = ()
    images: tuple[Image, ...] = ()
    roles: tuple[tuple[str, str], ...] = ()
    values: Mapping[str, tuple[Any, ...]] = field(default_factory=lambda: _NOTHING)
    unsupported: tuple[str, ...] = ()
    raw_chars: int = 0

    @cached_property
    def new_text(self) -> str:
        """All text that is new in this turn, one part a line, each once."""
        return "\n".join([part.text for part in self.parts if part.new and not part.echo])

    @cached_property
    def _chars(self) -> tuple[int, int]:
        new = old = new_echo = old_echo = 0
        for text, _, is_new, _, _, echo in self.parts:
            if echo:
                new_echo, old_echo = (
                    new_echo + len(text) * is_new,
                    old_echo + len(text) * (not is_new),
                )
            elif is_new:
                new += len(text)
            else:
                old += len(text)
        return max(new, new_echo), max(old, old_echo)

    @property
    def new_chars(self) -> int:
        """Length of the new text in code points, without what joins the parts."""
        return self._chars[0]

    @property
    def context_chars(self) -> int:
        """Length of the history in code points."""
        return self._chars[1]

    @cached_property
    def speech(self) -> str:
        """The new text that can be something said: what moderation sees."""
        return "\n".join([part.text for part in self.parts if part.new and part.speech])

    @cached_property
    def history_speech(self) -> str:
        """The same of the history."""
        return "\n".join([part.text for part in self.parts if part.speech and not part.new])

    @cached_property
    def joined(self) -> tuple[str, ...]:
        """Texts that show words split over parts, fields and messages; empty with one part.

        The parts of each message (and the fields outside messages) run together, with nothing and
        with a space between them; then the messages of each role likewise.
        """
        return tuple(self._runs(lambda _text: True))

    def scans(self, unknown: Callable[[str], bool]) -> Iterator[str]:
        """The texts a wordlist has to meet: every part, then what the parts spell together.

        Args:
            unknown: Tells of a text of the history whether it still has to be checked.
        """
        fresh = dict.fromkeys(p.text for p in self.parts if p.new or unknown(p.text))
        yield from fresh
        yield from self._runs(fresh.__contains__)

    def _runs(self, fresh: Callable[[str], bool]) -> Iterator[str]:
        """Runs of two parts or more with something fresh in them, each once."""
        if len(self.parts) < 2:  # noqa: PLR2004  # one part can't be split
            return
        messages: dict[str, list[str]] = {}
        speakers: dict[str | None, list[str]] = {}
        places = {place for _, place in self.roles}
        for part in self.parts:
            messages.setdefault(_home(part, places), []).append(part.text)
            speakers.setdefault(part.role, []).append(part.text)
        runs = [texts for texts in (*messages.values(), *speakers.values()) if len(texts) > 1]
        runs = [texts for texts in runs if any(map(fresh, texts))]
        yield from dict.fromkeys(glue.join(texts) for texts in runs for glue in ("", " "))


def _home(part: Part, places: set[str]) -> str:
    """The place of the message that *part* belongs to, or nothing."""
    place = part.where if part.role is not None else ""
    while place and place not in places:
        place = place[: place.rfind("/")] if "/" in place else ""
    return place
