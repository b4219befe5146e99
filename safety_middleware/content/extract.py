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
from .json_body import NotJson, decode_json_text, read_json
from .media_type import MediaType, read_media_type
from .model import Content, FormField, Part, RawRequest
from .speech import is_name
from .walk import Found

__all__ = ["extract"]

MOST_COMMAS = 200_000
"""Most commas of a JSON body, which bound its values before they are parsed."""

_FORMS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})
_TALK = frozenset(
    {"content", "input", "message", "msg", "prompt", "q", "query", "question", "text"}
)
_EVERY_NAME: frozenset[str] = frozenset()


def extract(request: RawRequest, policy: Policy) -> Content:
    """Find all text, images, roles and choices in a request, strictly.

    Raises:
        BadInput: If the request can't be read, or could be read in two ways.
    """
    found = Found(_names(policy.fields, tuple(policy.choices)), policy.choices.keys())
    for field in read_pairs(request.query) if request.query else ():
        _field(found, field, "query")
    raw_chars = _body(found, request) if request.body else 0
    parts = found.parts
    if policy.fields is not None:
        keep = _keeper(policy.fields)
        parts = [part for part in parts if keep(part.where)]
    return Content(
        tuple(parts),
        tuple(found.images),
        tuple(found.roles),
        MappingProxyType({name: tuple(seen) for name, seen in found.values.items()}),
        tuple(found.unsupported),
        raw_chars,
    )


def _body(found: Found, request: RawRequest) -> int:
    """Take in the body; the length of its other reading as plain text, if it has one."""
    encoding = request.content_encoding
    if encoding is not None and encoding.strip().lower() not in {"", "identity"}:
        raise BadInput(Reason.UNSUPPORTED_MEDIA_TYPE, "content-encoding")
    media_type = read_media_type(request.content_type)
    if media_type.is_json:
        _json(found, request.body)
        return 0
    if media_type.essence == "multipart/form-data":
        for field in read_form(request, media_type):
            _field(found, field, "form")
        return 0
    return _undeclared(found, request, media_type)


def _undeclared(found: Found, request: RawRequest, media_type: MediaType) -> int:
    """Take in a body that many apps read as JSON although it does not say so."""
    before = sum(len(image.url) for image in found.images)
    structured = _maybe_json(found, request.body)
    images = sum(len(image.url) for image in found.images) - before
    if media_type.essence == "application/x-www-form-urlencoded":
        found.echo = structured
        for field in read_form(request, media_type):
            # A JSON body read as a form has names that no app can ask for.
            if not structured or is_name(field.name):
                _field(found, field, "form")
        found.echo = False
    elif media_type.is_text and not structured:
        found.parts.append(Part(_plain(request.body), "body", echo=False))
    elif media_type.essence.startswith("image/") and not structured:
        found.images.append(image_of_bytes(media_type.essence, request.body))
    elif not structured:
        raise BadInput(Reason.UNSUPPORTED_MEDIA_TYPE, "content-type")
    return len(request.body) - images if structured else 0


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
        text = decode_json_text(body)
        if text.count(",") > MOST_COMMAS:
            raise BadInput(Reason.BODY_TOO_LARGE)
        found.body(read_json(text))
    except NotJson:
        raise BadInput(Reason.UNREADABLE_BODY) from None


def _maybe_json(found: Found, body: bytes) -> bool:
    """Take in *body* if it is JSON; True if it is an object or array, which nobody types."""
    try:
        text = decode_json_text(body)
        start = text.lstrip()[:1]
        if start == '"':
            found.echo = True
        elif start not in {"{", "["}:
            return False
        if text.count(",") > MOST_COMMAS:
            raise BadInput(Reason.BODY_TOO_LARGE)
        found.body(read_json(text))
    except NotJson:
        return False
    finally:
        found.echo = False
    return start != '"'


def _field(found: Found, field: FormField, source: str) -> None:
    """Take in one field of a form or query."""
    where = found.step(f"{source}:", field.name, True, None).replace(":/", ":", 1)
    if field.filename is not None:
        _upload(found, field, where)
        return
    text = field.value if isinstance(field.value, str) else _plain(field.value)
    found.value(field.name, where, text)
    if text[:1] in {"{", "["} and field.name not in _TALK and _payload(found, text, where):
        return
    found.text(text, where, field.name, (True, None))


def _payload(found: Found, text: str, where: str) -> bool:
    """Take in a field that carries JSON; True if that was a conversation, and the field no text."""
    try:
        value = read_json(text)
    except NotJson:
        return False
    before = len(found.roles)
    mark = len(found.parts)
    found.body(value, where)
    if len(found.roles) > before:
        return True
    found.parts[mark:] = [part._replace(echo=True) for part in found.parts[mark:]]
    return False


def _upload(found: Found, field: FormField, where: str) -> None:
    """Take in an uploaded file: an image, or text; nothing else can be checked."""
    content = field.value if isinstance(field.value, bytes) else field.value.encode()
    found.text(field.filename or "", where, "id", (True, None))
    if not content:
        return
    media_type = read_media_type(field.content_type)
    if media_type.essence.startswith("image/"):
        found.images.append(image_of_bytes(media_type.essence, content))
    elif media_type.is_text or media_type.is_json:
        try:
            text = _plain(content)
        except BadInput:
            raise BadInput(Reason.UNSUPPORTED_MEDIA_TYPE, where) from None
        found.text(text, where, "", (True, None))
    else:
        raise BadInput(Reason.UNSUPPORTED_MEDIA_TYPE, where)


@lru_cache(maxsize=64)
def _names(fields: tuple[str, ...] | None, choices: tuple[str, ...]) -> frozenset[str]:
    """The names the operator wrote, those in pointers too."""
    written = (fields or ()) + choices
    steps = {
        step.replace("~1", "/").replace("~0", "~")
        for name in written
        for step in (name.split("/")[1:] if name.startswith("/") else [name])
    }
    return frozenset(steps) if steps else _EVERY_NAME


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
