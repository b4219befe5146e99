"""The rules of one route: one frozen value, checked once, when the app starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, Protocol, Self, TypeAlias

from ._checks import (
    Check,
    available,
    flag,
    is_a,
    items_of,
    mapping,
    names,
    one_of,
    optional,
    share,
    whole,
)
from .errors import SettingsError

__all__ = [
    "CATEGORIES",
    "CategoryAction",
    "Hold",
    "Matcher",
    "Policy",
    "ReplyMode",
    "Tier",
]

Hold: TypeAlias = Literal["handler", "model", "reply"]
Tier: TypeAlias = Literal["new", "known", "trusted", "watched", "suspended"]
ReplyMode: TypeAlias = Literal["off", "whole", "window", "follow"]
CategoryAction: TypeAlias = Literal["off", "flag", "block", "care"]

CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
"""The categories of OpenAI's ``omni-moderation`` models, as ``types/moderation.py`` names them."""

BODY_METHODS = ("DELETE", "PATCH", "POST", "PUT", "QUERY")
"""Methods whose requests carry a body: what a route protects unless told otherwise."""


class Matcher(Protocol):
    """What a policy needs of a wordlist; ``safety_middleware.wordlist.Wordlist`` is one."""

    def find(self, text: str, /) -> Any:
        """Return the first match that blocks, or None."""
        ...


@dataclass(frozen=True, kw_only=True, eq=True)
class Policy:
    """The rules of one route. Fields left unset inherit the app's default policy.

    Attributes:
        methods: HTTP methods that are protected; ``("*",)`` is all. ``GET`` implies ``HEAD``.
        max_body_bytes: Bytes read before refusing, as a total. Unset: 262,144 plus room for the
            images that ``max_images`` and ``max_image_bytes`` allow, in base64.
        max_input_chars: Longest new text of a turn, in Unicode code points.
        max_context_chars: Longest history sent along, in Unicode code points.
        max_images: Most images in a turn; 0 refuses images.
        max_image_bytes: Largest image, in bytes after decoding.
        fields: JSON pointers (``/message``) or field names that are user text; None: all strings.
        client_roles: Roles a client may send in ``messages``.
        choices: Field name or JSON pointer -> the values allowed there.
        require_login: Refuse turns without an authenticated user.
        limits: Turns per identity, in the notation of the ``limits`` library; None switches off.
        anonymous_limits: The same for identities that are not a logged-in user.
        address_limits: Turns per client address (IPv6: per /64), whoever speaks.
        wordlist: True (the app's list), False, or a list of its own.
        moderation: True or False; this version does not know ``"inline"`` yet.
        hold: What waits for the verdict; None: by tier.
        sample: Share of turns moderated, 0 to 1, drawn by content; None: by tier. Who is watched
            is always moderated.
        thresholds: Category -> score, 0 to 1, from which it counts; others use OpenAI's own flag.
        actions: Category (``self-harm*`` for several) -> ``off``, ``flag``, ``block`` or ``care``.
        on_failure: Moderation away: ``closed`` refuses with 503, ``open`` lets through, on record.
        reply: How replies are guarded; this version knows ``off`` and None, which is the same.
        max_output_tokens: Cap set on model calls (never raised), reasoning tokens included.
        review: What people review; this version knows None only.
        observe: Decide and record everything, refuse nothing.

    Raises:
        SettingsError: If a value is impossible; it names the field and the remedy.
    """

    methods: tuple[str, ...] = BODY_METHODS
    max_body_bytes: int | None = None
    max_input_chars: int = 4_000
    max_context_chars: int = 64_000
    max_images: int = 4
    max_image_bytes: int = 5_000_000
    fields: tuple[str, ...] | None = None
    client_roles: tuple[str, ...] = ("user", "assistant", "tool")
    choices: Mapping[str, tuple[Any, ...]] = field(default_factory=dict[str, tuple[Any, ...]])
    require_login: bool = False
    limits: str | None = "20/minute;300/day"
    anonymous_limits: str | None = "5/minute;50/day"
    address_limits: str | None = "60/minute"
    wordlist: bool | Matcher = True
    moderation: bool | Literal["inline"] = True
    hold: Hold | None = None
    sample: float | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict[str, float])
    actions: Mapping[str, CategoryAction] = field(default_factory=dict[str, CategoryAction])
    on_failure: Literal["closed", "open"] = "closed"
    reply: ReplyMode | None = None
    max_output_tokens: int | None = 4_096
    review: Literal["hold", "flagged", "after"] | None = None
    observe: bool = False
    given: frozenset[str] = field(default=frozenset(), init=False, repr=False, compare=False)

    def __new__(cls, *_args: object, **fields: object) -> Self:
        """Remember which fields were given: the others inherit."""
        policy = super().__new__(cls)
        object.__setattr__(policy, "given", frozenset(fields))
        return policy

    def __post_init__(self) -> None:
        """Check every field and freeze what could change.

        Raises:
            SettingsError: If a value is impossible.
        """
        for name, check in _CHECKS.items():
            value = check(name, getattr(self, name))
            object.__setattr__(self, name, value)

    def over(self, default: Policy) -> Policy:
        """This policy with every field left unset taken from *default*."""
        inherited = {name: getattr(default, name) for name in default.given}
        inherited.update({name: getattr(self, name) for name in self.given})
        return Policy(**inherited)

    @property
    def body_limit(self) -> int:
        """Most bytes of a request body that are read, in bytes."""
        if self.max_body_bytes is not None:
            return self.max_body_bytes
        return 262_144 + self.max_images * (self.max_image_bytes * 4 // 3 + 1_024)

    def action_of(self, category: str) -> CategoryAction:
        """What *category* does when it counts: exact name, then the longest ``*``, then default."""
        if category in self.actions:
            return self.actions[category]
        stars = [p for p in self.actions if p.endswith("*") and category.startswith(p[:-1])]
        if stars:
            return self.actions[max(stars, key=len)]
        return "care" if category.startswith("self-harm") else "block"


def policy_fields() -> tuple[str, ...]:
    """The names an operator may set, in the order of the documentation."""
    return tuple(f.name for f in dataclasses.fields(Policy) if f.init)


def _methods(name: str, value: Any) -> tuple[str, ...]:
    methods = [item.upper() for item in names(name, value)]
    if "GET" in methods:
        methods.append("HEAD")
    return tuple(dict.fromkeys(methods))


def _choices(name: str, value: Any) -> Mapping[str, tuple[Any, ...]]:
    checked: dict[str, tuple[Any, ...]] = {}
    for key, allowed in mapping(name, value).items():
        checked[key] = items_of(allowed)
        if not checked[key]:
            raise SettingsError(
                f"{name}.{key}", f"{allowed!r} is not a list of values", "Name at least one value."
            )
    return MappingProxyType(checked)


def _category(name: str, category: str, known: Iterable[str]) -> None:
    if category not in known:
        raise SettingsError(
            f"{name}.{category}",
            "no such category",
            f"The categories are: {', '.join(CATEGORIES)}.",
        )


def _thresholds(name: str, value: Any) -> Mapping[str, float]:
    checked: dict[str, float] = {}
    for category, score in mapping(name, value).items():
        _category(name, category, CATEGORIES)
        checked[category] = share(f"{name}.{category}", score)
    return MappingProxyType(checked)


def _actions(name: str, value: Any) -> Mapping[str, CategoryAction]:
    action = one_of("off", "flag", "block", "care")
    checked: dict[str, Any] = {}
    for category, what in mapping(name, value).items():
        stem = category.removesuffix("*")
        begun = [c for c in CATEGORIES if c.startswith(stem)] if category.endswith("*") else []
        _category(name, category, [category] if begun else CATEGORIES)
        checked[category] = action(f"{name}.{category}", what)
    return MappingProxyType(checked)


def _limits(name: str, value: Any) -> str:
    from limits import parse_many  # noqa: PLC0415  # 0.2 s of import, so not by our own import

    try:
        items = parse_many(value) if isinstance(value, str) else []
    except ValueError:
        items = []
    if not items or any(item.amount < 1 for item in items):
        raise SettingsError(
            name,
            f"{value!r} is not a rate limit",
            f'Write it as {name}="20/minute;300/day" or None.',
        )
    return str(value)


def _wordlist(name: str, value: Any) -> bool | Matcher:
    matcher = callable(getattr(value, "find", None)) and not is_a(value, str, bytes)
    if not matcher and not isinstance(value, bool):
        raise SettingsError(name, f"{value!r} is no wordlist", "Use true, false or a Wordlist.")
    checked: bool | Matcher = value
    return checked


def _moderation(name: str, value: Any) -> bool | str:
    if not isinstance(value, bool) and value != "inline":
        raise SettingsError(name, f"{value!r} is not known", 'Use true, false or "inline".')
    checked: bool | str = value
    return checked


_CHECKS: Mapping[str, Check] = {
    "methods": _methods,
    "max_body_bytes": optional(whole(1)),
    "max_input_chars": whole(1),
    "max_context_chars": whole(0),
    "max_images": whole(0),
    "max_image_bytes": whole(1),
    "fields": optional(names),
    "client_roles": names,
    "choices": _choices,
    "require_login": flag,
    "limits": optional(_limits),
    "anonymous_limits": optional(_limits),
    "address_limits": optional(_limits),
    "wordlist": _wordlist,
    "moderation": available(_moderation, True, False),
    "hold": optional(one_of("handler", "model", "reply")),
    "sample": optional(share),
    "thresholds": _thresholds,
    "actions": _actions,
    "on_failure": one_of("closed", "open"),
    "reply": available(optional(one_of("off", "whole", "window", "follow")), None, "off"),
    "max_output_tokens": optional(whole(1)),
    "review": available(optional(one_of("hold", "flagged", "after")), None),
    "observe": flag,
}
