"""Forms and query strings: what our own strict reading and the app's parser find."""

from __future__ import annotations

from urllib.parse import parse_qsl

from safety_middleware.decision import Reason
from safety_middleware.errors import BadInput

from .media_type import MediaType
from .model import FormField, FormReader, RawRequest
from .multipart import MOST_FIELDS, read_multipart

__all__ = ["read_form", "read_pairs"]

MOST_ESCAPES = 1_000_000
"""Most percent signs in a form; four images of 5 MB in base64 need about 840,000."""


def read_pairs(raw: bytes) -> list[FormField]:
    """The fields of a query string or URL-encoded form, blank and repeated ones too.

    Raises:
        BadInput: If there are bytes that parsers decode in different ways: not ASCII, or escapes
            that are not UTF-8; or too many fields.
    """
    if raw.count(b"%") > MOST_ESCAPES:
        raise BadInput(Reason.BODY_TOO_LARGE)
    try:
        text = raw.decode("ascii")
        pairs = _split(text, "&")
        if ";" in text:  # once a separator, and still one to some parsers
            pairs = list(dict.fromkeys(pairs + _split(text.replace("&", ";"), ";")))
    except ValueError:
        raise BadInput(Reason.UNREADABLE_BODY) from None
    return [FormField(name, value) for name, value in pairs]


def _split(text: str, separator: str) -> list[tuple[str, str]]:
    return parse_qsl(
        text,
        keep_blank_values=True,
        errors="strict",
        max_num_fields=MOST_FIELDS,
        separator=separator,
    )


def read_form(request: RawRequest, media_type: MediaType) -> list[FormField]:
    """Every field that our parser or the app's finds in a form.

    Raises:
        BadInput: If one of them can't read it.
    """
    if media_type.essence == "multipart/form-data":
        fields = read_multipart(request.body, media_type.boundary)
    else:
        fields = read_pairs(request.body)
    if request.forms is not None:
        seen = set(map(_key, fields))
        fields += [field for field in _theirs(request.forms, request) if _key(field) not in seen]
    return fields


def _theirs(forms: FormReader, request: RawRequest) -> list[FormField]:
    try:
        fields = list(forms(request.body, request.content_type or ""))
        for field in fields:
            _key(field)[0].encode()
    except Exception:  # the app's parser: whatever it raises, it could not read the body
        raise BadInput(Reason.UNREADABLE_BODY) from None
    return fields


def _key(field: FormField) -> tuple[str, bytes, str | None]:
    """What tells a field from others, values as bytes.

    Raises:
        UnicodeEncodeError: If its value has lone surrogates.
    """
    value = field.value.encode() if isinstance(field.value, str) else field.value
    return field.name, value, field.filename
