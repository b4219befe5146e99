"""Everything the operator configures, as one frozen value, checked once at start."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from .errors import SettingsError
from .policy import Policy, policy_fields
from .refusal import CARE, RefusalRenderer

__all__ = ["HOOKS", "Settings", "nearest", "settings_fields"]

DEFAULT_ROUTES = ("/chat", "/chat/*", "/api/chat", "/api/chat/*")
HOOKS = ("on_decision", "on_degraded")
UserCallable = Callable[..., Any]
_SECRET_COMMAND = "python -c 'import secrets; print(secrets.token_hex(32))'"  # noqa: S105  # a command


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
        openai_base_url: Base URL for moderation; None: ``OPENAI_BASE_URL``, else OpenAI's own.
        openai_api_key: Key for moderation; None: ``OPENAI_API_KEY``.
        moderation_client: An ``OpenAI`` or ``AsyncOpenAI`` client to moderate with instead.
        unbound_calls: A guarded model call outside any turn: ``"warn"``, ``"raise"``, or the
            safety identifier to send.
        cookie_samesite: ``SameSite`` of our session cookie: ``Lax``, ``Strict`` or ``None``.
        on_decision: Called with the ``Record`` of every settled turn, on a thread of its own.
        on_degraded: Called with (service, cause) when a service fails or recovers, likewise.
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
    store: str = "sqlite:///.safety/safety.db"
    limits_storage: str = "memory://"
    wordlist: Any = None
    languages: tuple[str, ...] | None = None
    moderation_model: str = "omni-moderation-latest"
    moderation_timeout: float = 5.0
    openai_base_url: str | None = None
    openai_api_key: str | None = field(default=None, repr=False)
    moderation_client: Any = field(default=None, repr=False)
    unbound_calls: str = "warn"
    cookie_samesite: str = "Lax"
    on_decision: Callable[[Any], Any] | None = None
    on_degraded: Callable[[str, str], Any] | None = None
    refusal: RefusalRenderer | None = None
    care: Mapping[str, Any] = field(default_factory=lambda: CARE)

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            SettingsError: If a value is impossible.
        """
        object.__setattr__(self, "routes", _routes(self.routes))
        object.__setattr__(self, "secrets", _secrets(self.secret, self.secrets))
        for name in ("user", "session", "on_decision", "on_degraded", "refusal"):
            if getattr(self, name) is not None and not callable(getattr(self, name)):
                raise SettingsError(name, "is not callable", f"Give {name} a function.")
        _numbers(self)
        _texts(self)
        object.__setattr__(self, "languages", _languages(self.languages))
        _care(self.care)

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
    if not isinstance(value, Iterable):
        raise SettingsError(
            "routes", f"{value!r} is no list of patterns", 'Write routes=["/chat"].'
        )
    for pattern in value:
        if not isinstance(pattern, str) or not pattern.startswith("/") or "*" in pattern[:-1]:
            raise SettingsError(
                "routes",
                f"{pattern!r} is not a path pattern",
                'Start it with "/"; a "*" may only end it.',
            )
    if not isinstance(value, Mapping):
        return tuple(value)
    for pattern, policy in value.items():
        if not isinstance(policy, Policy):
            raise SettingsError(
                f"routes.{pattern}", f"{policy!r} is no Policy", "Give it a Policy(…)."
            )
    return MappingProxyType(dict(value))


def _secrets(secret: Any, secrets: Any) -> tuple[str | bytes, ...]:
    if secret is not None and secrets and tuple(secrets)[0] != secret:
        raise SettingsError("secret", "secret and secrets differ", "Set one of them only.")
    given = tuple(secrets) if secrets else (() if secret is None else (secret,))
    if isinstance(secrets, str | bytes) or not all(isinstance(s, str | bytes) for s in given):
        raise SettingsError("secrets", "is not a list of strings", "List them, the newest first.")
    if any(len(s.encode() if isinstance(s, str) else s) < 32 for s in given):  # noqa: PLR2004  # bytes
        raise SettingsError(
            "secret", "is shorter than 32 bytes", f"Make one with: {_SECRET_COMMAND}"
        )
    return given


def _numbers(settings: Settings) -> None:
    proxies, timeout = settings.trusted_proxies, settings.moderation_timeout
    if isinstance(proxies, bool) or not isinstance(proxies, int) or proxies < 0:
        raise SettingsError(
            "trusted_proxies", f"{proxies!r} is not a count", "Count the proxies you run: 0, 1, 2 …"
        )
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= 60:  # noqa: PLR2004
        raise SettingsError(
            "moderation_timeout", f"{timeout!r} is not between 0 and 60 seconds", "Try 5.0."
        )
    if not isinstance(settings.production, bool):
        raise SettingsError(
            "production", f"{settings.production!r} is neither true nor false", "Set true."
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
    if str(settings.cookie_samesite).capitalize() not in {"Lax", "Strict", "None"}:
        raise SettingsError(
            "cookie_samesite",
            f"{settings.cookie_samesite!r} is not known",
            "Use Lax, Strict or None.",
        )


def _languages(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, str) or not all(isinstance(code, str) for code in value):
        raise SettingsError(
            "languages", f"{value!r} is not a list", 'Write it as languages=["en", "de"].'
        )
    return tuple(value)


def _care(value: Any) -> None:
    if not isinstance(value, Mapping) or "message" not in value or "resources" not in value:
        raise SettingsError(
            "care", "needs message and resources", 'Try {"message": "…", "resources": []}.'
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
