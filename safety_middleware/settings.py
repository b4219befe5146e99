"""Everything the operator configures, as one frozen value, checked once at start."""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType, NoneType
from typing import Any

from ._checks import flag, is_a, items_of, mapping, names, one_of, optional, share, whole
from .errors import SettingsError
from .identity import MIN_SECRET_BYTES, secret_bytes
from .policy import Policy, policy_fields
from .refusal import CARE, RefusalRenderer
from .standing import Tiers

__all__ = ["SECRET_COMMAND", "Settings", "nearest", "settings_fields"]

DEFAULT_ROUTES = ("/chat", "/chat/*", "/api/chat", "/api/chat/*")
CALLABLES = (
    "user",
    "session",
    "on_decision",
    "on_degraded",
    "on_strike",
    "on_suspend",
    "refusal",
)
MAX_TIMEOUT = 60
"""Longest wait for a verdict that can be set, in seconds."""
UserCallable = Callable[..., Any]
SECRET_COMMAND = "python -c 'import secrets; print(secrets.token_hex(32))'"  # noqa: S105  # a command


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything the operator configures.

    Attributes:
        routes: Path pattern -> ``Policy``, or a list of patterns for the default policy. None:
            ``/chat``, ``/chat/*``, ``/api/chat``, ``/api/chat/*`` and whatever ``protect`` marks;
            an empty list: the marked ones only.
        policy: The default policy.
        secret: The secret that keys every hash; 32 bytes or more.
        secrets: The same as a list, newest first, while an old one is being retired.
        production: Demand a secret of the operator's own instead of generating one.
        user: Gives the authenticated user's id of a request (Flask: called without arguments).
        session: Gives the operator's own session id of a request, likewise.
        trusted_proxies: How many of the operator's own proxies append to ``X-Forwarded-For``.
        store: URL of the database for records.
        limits_storage: URL of the storage for rate limits; ``memory://`` is this process's own.
        wordlist: Path of a list, a ``Wordlist``, or None for the default list.
        languages: Languages of the default list, as ISO 639-1 codes; None: all that ship.
        moderation_model: Model asked for verdicts.
        moderation_timeout: Longest wait for a verdict, a retry included, in seconds.
        moderation_requests: Most moderation requests a minute; None: what the service says.
        moderation_tokens: Most tokens of moderation a minute, likewise.
        moderation_share: Most of either for one identity or client address, above 0, to 1.
        openai_base_url: Base URL for moderation; None: ``OPENAI_BASE_URL``, else OpenAI's own.
        openai_api_key: Key for moderation; None: ``OPENAI_API_KEY``.
        moderation_client: An ``OpenAI`` or ``AsyncOpenAI`` client to moderate with instead, or a
            ``Moderator``.
        tiers: The rules of trust: ``Tiers``, or a mapping of their fields.
        unbound_calls: A guarded model call outside any turn: ``"warn"``, ``"raise"``, or the
            safety identifier to send.
        cookie_samesite: ``SameSite`` of our session cookie: ``Lax``, ``Strict`` or ``None``.
        on_decision: Called with the ``Record`` of every settled turn, on a thread of its own.
        on_degraded: Called with (service, cause) when a service fails or recovers, likewise.
        on_strike: Called with (safety identifier, ``Strike``) when a turn was blocked, likewise.
        on_suspend: Called with (safety identifier, ``Standing``) when it is suspended, likewise.
        refusal: Renders refusals instead of us: ``(decision, request_id) -> Refusal``.
        care: ``message`` and ``resources`` of the answer to someone in distress.

    Raises:
        SettingsError: If a value is impossible; it names the setting and the remedy.
    """

    routes: Mapping[str, Policy] | tuple[str, ...] | None = None
    policy: Policy = field(default_factory=Policy)
    secret: str | bytes | None = field(default=None, repr=False)
    secrets: tuple[str | bytes, ...] = field(default=(), repr=False)
    production: bool = False
    user: UserCallable | None = None
    session: UserCallable | None = None
    trusted_proxies: int = 0
    store: str = field(default="sqlite:///.safety/safety.db", repr=False)
    limits_storage: str = field(default="memory://", repr=False)
    wordlist: Any = None
    languages: tuple[str, ...] | None = None
    moderation_model: str = "omni-moderation-latest"
    moderation_timeout: float = 5.0
    moderation_requests: int | None = None
    moderation_tokens: int | None = None
    moderation_share: float = 0.05
    openai_base_url: str | None = field(default=None, repr=False)
    openai_api_key: str | None = field(default=None, repr=False)
    moderation_client: Any = field(default=None, repr=False)
    tiers: Tiers = field(default_factory=Tiers)
    unbound_calls: str = "warn"
    cookie_samesite: str = "Lax"
    on_decision: Callable[[Any], Any] | None = None
    on_degraded: Callable[[str, str], Any] | None = None
    on_strike: Callable[[str, Any], Any] | None = None
    on_suspend: Callable[[str, Any], Any] | None = None
    refusal: RefusalRenderer | None = None
    care: Mapping[str, Any] = field(default_factory=lambda: CARE)

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            SettingsError: If a value is impossible.
        """
        object.__setattr__(self, "routes", _routes(self.routes))
        object.__setattr__(self, "secrets", _secrets(self.secret, self.secrets))
        object.__setattr__(self, "tiers", Tiers.of(self.tiers))
        for name in CALLABLES:
            if getattr(self, name) is not None and not callable(getattr(self, name)):
                raise SettingsError(name, "is not callable", f"Give {name} a function.")
        _numbers(self)
        _texts(self)
        _values(self)
        object.__setattr__(self, "languages", _languages(self.languages))
        samesite = str(self.cookie_samesite).capitalize()
        object.__setattr__(
            self, "cookie_samesite", one_of("Lax", "Strict", "None")("cookie_samesite", samesite)
        )

    def route_policies(self) -> Mapping[str, Policy] | None:
        """Pattern -> effective policy, or None when nothing was chosen."""
        if self.routes is None:
            return None
        if isinstance(self.routes, Mapping):
            return {path: p.over(self.policy) for path, p in self.routes.items()}
        return dict.fromkeys(self.routes, self.policy)


def settings_fields() -> tuple[str, ...]:
    """The names an operator may set, in the order of the documentation; policy fields aside."""
    return tuple(f.name for f in dataclasses.fields(Settings))


def nearest(name: str, known: Iterable[str]) -> str:
    """A remedy for an unknown *name*: the nearest known one, or the list."""
    options = sorted(known)
    close = difflib.get_close_matches(name, options, n=1)
    return f"Did you mean {close[0]}?" if close else f"Known are: {', '.join(options)}."


def _routes(value: Any) -> Mapping[str, Policy] | tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, str):
        raise SettingsError("routes", f"{value!r} is a single string", f"Write routes=[{value!r}].")
    if not is_a(value, Iterable):
        raise SettingsError(
            "routes", f"{value!r} is no list of patterns", 'Write routes=["/chat"].'
        )
    patterns: tuple[Any, ...] = tuple(value)
    for pattern in patterns:
        if not isinstance(pattern, str) or not pattern.startswith("/") or "*" in pattern[:-1]:
            raise SettingsError(
                "routes",
                f"{pattern!r} is not a path pattern",
                'Start it with "/"; a "*" may only end it.',
            )
    if not is_a(value, Mapping):
        return patterns
    for pattern in patterns:
        if not isinstance(value[pattern], Policy):
            raise SettingsError(
                f"routes.{pattern}", f"{value[pattern]!r} is no Policy", "Give it a Policy(…)."
            )
    return MappingProxyType(dict(value))


def _secrets(secret: Any, secrets: Any) -> tuple[str | bytes, ...]:
    listed = items_of(secrets)
    given = listed or (() if secret is None else (secret,))
    if (secrets and not listed) or not all(isinstance(s, str | bytes) for s in given):
        raise SettingsError("secrets", "is not a list of strings", "List them, the newest first.")
    if secret is not None and (secret,) != given[:1]:
        raise SettingsError("secret", "secret and secrets differ", "Set one of them only.")
    if any(len(secret_bytes(each)) < MIN_SECRET_BYTES for each in given):
        raise SettingsError(
            "secret", "is shorter than 32 bytes", f"Make one with: {SECRET_COMMAND}"
        )
    return given


def _numbers(settings: Settings) -> None:
    whole(0)("trusted_proxies", settings.trusted_proxies)
    flag("production", settings.production)
    for name in ("moderation_requests", "moderation_tokens"):
        optional(whole(1))(name, getattr(settings, name))
    if not share("moderation_share", settings.moderation_share):
        raise SettingsError(
            "moderation_share", "nobody could be moderated with a share of 0", "Try 0.05."
        )
    timeout: Any = settings.moderation_timeout
    number = is_a(timeout, int, float) and not isinstance(timeout, bool)
    if not number or not 0 < timeout <= MAX_TIMEOUT:
        raise SettingsError(
            "moderation_timeout",
            f"{timeout!r} is not between 0 and {MAX_TIMEOUT} seconds",
            "Try 5.0.",
        )


def _texts(settings: Settings) -> None:
    for name in ("store", "limits_storage"):
        value = getattr(settings, name)
        if not isinstance(value, str) or "://" not in value:
            raise SettingsError(
                name, "is not a URL", f"Try {getattr(Settings, name, 'memory://')!r}."
            )
    for name in ("moderation_model", "unbound_calls"):
        if not isinstance(getattr(settings, name), str) or not getattr(settings, name):
            raise SettingsError(name, "is empty", f"Leave {name} out or give it a value.")
    base = settings.openai_base_url
    if base is not None and not str(base).startswith(("http://", "https://")):
        raise SettingsError(
            "openai_base_url", "is not an http(s) URL", "Try https://api.openai.com/v1."
        )


def _languages(value: Any) -> tuple[str, ...] | None:
    return None if value is None else names("languages", value)


def _values(settings: Settings) -> None:
    if not is_a(settings.policy, Policy):
        raise SettingsError("policy", f"{settings.policy!r} is no Policy", "Give it a Policy(…).")
    words: Any = settings.wordlist
    named = is_a(words, str, os.PathLike, NoneType)
    if is_a(words, bytes) or (not named and not callable(getattr(words, "find", None))):
        raise SettingsError("wordlist", "is no wordlist", "Give a path or a Wordlist.")
    if isinstance(settings.moderation_client, str):
        raise SettingsError(
            "moderation_client", "is no client", "Give an OpenAI, an AsyncOpenAI or a Moderator."
        )
    care = mapping("care", settings.care)
    if care is CARE:
        return
    try:
        json.dumps(dict(care))  # else it would fail when someone needs it
    except (TypeError, ValueError):
        care = {}
    if not {"message", "resources"} <= {*care}:
        raise SettingsError(
            "care",
            "needs message and resources, of values that JSON knows",
            'Try {"message": "…", "resources": []}.',
        )


def split(names: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split given names into settings and fields of the default policy.

    ``wordlist`` is both: true and false switch the check, anything else is the app's list.

    Raises:
        SettingsError: If a name is unknown; it tells the nearest known one.
    """
    settings: dict[str, Any] = {}
    policy: dict[str, Any] = {}
    own, rules = set(settings_fields()), set(policy_fields())
    for name, value in names.items():
        if name == "wordlist":
            (policy if isinstance(value, bool) else settings)[name] = value
        elif name in own:
            settings[name] = value
        elif name in rules:
            policy[name] = value
        else:
            raise SettingsError(name, "no such setting", nearest(name, own | rules))
    return settings, policy
