"""Would an app start with these settings? Looked at without opening or making anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from safety_middleware.errors import SettingsError
from safety_middleware.settings import Settings

__all__ = ["problems"]

_SECRET_COMMAND = "python -c 'import secrets; print(secrets.token_hex(32))'"  # noqa: S105  # a command


def problems(settings: Settings, environ: Mapping[str, str]) -> Iterator[str]:
    """What would keep an app from starting here, or from being as safe as it says.

    Raises:
        SettingsError: If a URL, a driver, a wordlist or a language can't be used anywhere.
    """
    _services(settings)
    _words(settings)
    policies = [settings.policy, *(settings.route_policies() or {}).values()]
    moderated = any(policy.moderation is not False for policy in policies)
    key = settings.openai_api_key or environ.get("OPENAI_API_KEY")
    if moderated and not key and settings.moderation_client is None:
        yield (
            "an app would not start here: there is no API key to moderate with. Set "
            "OPENAI_API_KEY, or moderation to false."
        )
    if not settings.secrets and settings.production:
        yield (
            "an app would not start here: production is on and no secret is set. Make one with: "
            f"{_SECRET_COMMAND} and set it as SAFETY_SECRET."
        )
    elif not settings.secrets:
        yield (
            "no secret is set: one is generated into .safety/ for development. Set SAFETY_SECRET "
            "before production."
        )
    if any(policy.observe for policy in policies):
        yield "observe is on: decisions are recorded and nothing is refused."


def _services(settings: Settings) -> None:
    from safety_middleware.limiters import open_storage  # noqa: PLC0415  # loads limits
    from safety_middleware.store import _place  # noqa: PLC0415  # loads SQLAlchemy

    _place.connect(_place.locate(settings.store, Path.cwd())).dispose()
    if not settings.limits_storage.startswith("memory"):
        open_storage(settings.limits_storage)


def _words(settings: Settings) -> None:
    from safety_middleware.wordlist import LANGUAGES, Wordlist  # noqa: PLC0415  # the automaton

    if settings.wordlist is not None:
        Wordlist.load(settings.wordlist)
    for language in settings.languages or ():
        if language not in LANGUAGES:
            raise SettingsError(
                "languages", f"{language!r} does not ship", f"Use {', '.join(LANGUAGES)}."
            )
