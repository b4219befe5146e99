"""A request -> everything a client says in it, by every reading the app could make of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from types import MappingProxyType

from safety_middleware.decision import Reason
from safety_middleware.errors import BadInput
from safety_middleware.policy import Policy

from .forms import read_form, read_pairs
from .images import image_of_bytes
from .json_body import Json, NotJsonError, decode_json_text, read_json
from .media_type import MediaType, read_media_type
from .model import Content, FormField, Part, RawRequest
from .speech import is_name, is_speech, is_talk
from .walk import Found

__all__ = ["extract"]

MOST_COMMAS = 50_000
"""Most commas of a JSON body, which bound its values before they are parsed."""

_MULTIPART = "multipart/form-data"
_URLENCODED = "application/x-www-form-urlencoded"
_BLANKS = " \t\n\r"


def extract(request: RawRequest, policy: Policy) -> Content:
    """Find all text, images, roles and choices in a request, strictly.

    Raises:
        BadInput: If the request can't be read, or could be read in two ways.
    """
    if policy.fields is None and not policy.choices:
        found = Found()
    else:
        found = Found(_names(policy.fields, tuple(policy.choices)), policy.choices.keys())
    try:
        for name, text in request.path:
            _path(found, name, text)
        if request.query:
            for field in read_pairs(request.query):
                _field(found, field, "query")
        if request.body:
            _body(found, request)
    except RecursionError:  # where the caller's own stack leaves less room than ``MAX_DEPTH``
        raise BadInput(Reason.UNREADABLE_BODY) from None
    parts = found.parts
    if policy.fields is not None:
        keep = _keeper(policy.fields)
        parts = [part for part in parts if keep(part.where)]
    values = {name: tuple(seen) for name, seen in found.values.items()} if found.values else {}
    return Content(
        tuple(parts),
        tuple(found.images),
        tuple(found.roles),
        MappingProxyType(values),
        tuple(found.unsupported),
        found.raw_chars,
    )


def _body(found: Found, request: RawRequest) -> None:
    encoding = request.content_encoding
    if encoding is not None and encoding.strip().lower() not in {"", "identity"}:
        raise BadInput(Reason.UNSUPPORTED_MEDIA_TYPE, "content-encoding")
    media_type = read_media_type(request.content_type)
    if media_type.is_json:
        _json(found, request.body)
    elif media_type.essence == _MULTIPART:
        _form(found, request, media_type)
    elif _undeclared_json(found, request.body):
        if media_type.essence == _URLENCODED:
            found.echo = True
            _form(found, request, media_type)
            found.echo = False
    elif media_type.essence == _URLENCODED:
        _form(found, request, media_type)
    else:
        _other(found, request.body, media_type)


def _form(found: Found, request: RawRequest, media_type: MediaType) -> None:
    for field in read_form(request, media_type):
        # JSON read as a form has names that no app can ask for.
        if not found.echo or is_name(field.name):
            _field(found, field, "form")


def _other(found: Found, body: bytes, media_type: MediaType) -> None:
    if media_type.is_text:
        found.parts.append(Part(_plain(body), "body"))
    elif media_type.essence.startswith("image/"):
        found.image(image_of_bytes(body), "body")
    else:
        raise BadInput(Reason.UNSUPPORTED_MEDIA_TYPE, "content-type")


def _plain(body: bytes) -> str:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise BadInput(Reason.UNREADABLE_BODY) from None
    if "\0" in text:  # another encoding, or a trick
        raise BadInput(Reason.UNREADABLE_BODY)
    return text


def _json(found: Found, body: bytes) -> None:
    try:
        found.body(_parse(decode_json_text(body)))
    except NotJsonError:
        raise BadInput(Reason.UNREADABLE_BODY) from None


def _parse(text: str) -> Json:
    if text.count(",") > MOST_COMMAS:
        raise BadInput(Reason.BODY_TOO_LARGE)
    return read_json(text)


def _undeclared_json(found: Found, body: bytes) -> bool:
    """Take in a body as JSON that does not say so, as many apps do.

    Returns:
        True if it is an object or an array. Nobody types those, so that they count as what they
        hold; the length of the whole is kept beside it, for an app that reads plain text.
    """
    try:
        text = decode_json_text(body)
        start = text.lstrip(_BLANKS)[:1]
        if start == "" or start not in '{["':
            return False
        found.echo = start == '"'
        images = len(found.images)
        found.body(_parse(text))
    except NotJsonError:
        return False
    finally:
        found.echo = False
    if start == '"':
        return False
    found.raw_chars += len(text) - sum(len(image.url) for image in found.images[images:])
    return True


def _path(found: Found, name: str, text: str) -> None:
    """Take in a variable part of the path: mostly an id, whatever the app calls it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadInput(Reason.UNREADABLE_BODY) from None
    where = f"path:{name}"
    if found.choices:
        found.value(name, where, text)
    key = name if is_talk(name) else "id"
    found.echo = not is_speech(key, text)  # ids are no part of the message's length
    found.text(text, where, key)
    found.echo = False


def _field(found: Found, field: FormField, source: str) -> None:
    """Take in one field of a form or query."""
    where = f"{source}:{found.name(field.name, source + ':')}"
    if field.filename is not None:
        _upload(found, field, where)
        return
    text = field.value if isinstance(field.value, str) else _plain(field.value)
    if found.choices:
        found.value(field.name, where, text)
    found.text(text, where, field.name)


def _upload(found: Found, field: FormField, where: str) -> None:
    """Take in an uploaded file: an image, or text; nothing else can be checked."""
    content = field.value if isinstance(field.value, bytes) else field.value.encode()
    found.text(field.filename or "", where, "id")
    if not content:
        return
    media_type = read_media_type(field.content_type)
    if media_type.essence.startswith("image/"):
        found.image(image_of_bytes(content), where)
        return
    if not (media_type.is_text or media_type.is_json):
        raise BadInput(Reason.UNSUPPORTED_MEDIA_TYPE, where)
    try:
        found.text(_plain(content), where, "document")
    except BadInput:
        raise BadInput(Reason.UNSUPPORTED_MEDIA_TYPE, where) from None


@lru_cache(maxsize=64)
def _names(fields: tuple[str, ...] | None, choices: tuple[str, ...]) -> frozenset[str]:
    """The names the operator wrote, those in pointers too."""
    written = (fields or ()) + choices
    steps = {
        step.replace("~1", "/").replace("~0", "~")
        for name in written
        for step in (name.split("/")[1:] if name.startswith("/") else [name])
    }
    return frozenset(steps)


@lru_cache(maxsize=64)
def _keeper(fields: Iterable[str]) -> Callable[[str], bool]:
    """A test for places that the operator calls user text."""
    pointers = tuple(field for field in fields if field.startswith("/"))
    below = tuple(pointer + "/" for pointer in pointers)
    names = frozenset(f.replace("~", "~0").replace("/", "~1") for f in fields if f not in pointers)

    def keep(where: str) -> bool:
        if where in pointers or where.startswith(below) or where in {"body", "/"}:
            return True
        steps = where.split(":", 1)[-1].split("/") if where[:1] != "/" else where.split("/")
        return not names.isdisjoint(steps)

    return keep
