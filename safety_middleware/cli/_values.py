"""Settings as text for people: masked where they are secret, in words where they are unset."""

from __future__ import annotations

import dataclasses
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from safety_middleware.standing import Tiers

__all__ = ["shown"]

_TIERS = Tiers()
MASK = "********"
_SECRETS = frozenset({"secret", "secrets", "openai_api_key"})
_UNSET: Mapping[str, str] = {
    "actions": "care for self-harm*, block for the rest",
    "address_limits": "off",
    "anonymous_limits": "off",
    "fields": "all strings",
    "hold": "by tier",
    "languages": "all that ship",
    "limits": "off",
    "max_body_bytes": "262144, plus room for images",
    "max_output_tokens": "no cap",
    "openai_api_key": "not set",
    "openai_base_url": "OpenAI's own",
    "reply": "off",
    "routes": "/chat, /chat/*, /api/chat, /api/chat/* and those marked with protect",
    "sample": "by tier",
    "secret": "not set",
    "session": "our own cookie",
    "thresholds": "OpenAI's own flags",
    "user": "whoever the framework's session or login names",
    "wordlist": "the default list",
}
# user:password@, however the password is written: up to the last "@"
_USERINFO = re.compile(r"^([a-z][a-z0-9+.-]*://[^:@/?#]*):.*@", re.IGNORECASE)
_WEB_USERINFO = re.compile(r"^(https?://)[^@/?#]*@", re.IGNORECASE)
_PARAMETER = re.compile(r"([?&][^=&]*(?:pass|secret|token|key)[^=&]*=)[^&#]*", re.IGNORECASE)


def shown(name: str, value: Any) -> str:
    """The value of the setting *name*, fit to be shown: no secret and no password."""
    if name in _SECRETS:
        return MASK if value else _UNSET.get(name, "not set")
    if value is None or value in ((), {}):
        return _UNSET.get(name, "none")
    if name == "care":
        return f"{textwrap.shorten(value['message'], 40, placeholder='…')}, {len(value['resources'])} resources"
    if isinstance(value, Tiers):
        given = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return _text({k: v for k, v in given.items() if v != getattr(_TIERS, k)}) or "the defaults"
    return _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _masked(value)
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        return ", ".join(f"{key}: {_text(item)}" for key, item in items)
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, cast("Iterable[object]", value)))
    return _name(value)


def _masked(text: str) -> str:
    text = _WEB_USERINFO.sub(rf"\1{MASK}@", text)
    return _PARAMETER.sub(rf"\1{MASK}", _USERINFO.sub(rf"\1:{MASK}@", text))


def _name(value: Callable[..., Any] | object) -> str:
    """A function's or a type's name: the ``repr`` of a client could hold its key."""
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{getattr(named, '__qualname__', '')}"
