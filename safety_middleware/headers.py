"""Headers of a reply: what we add to it, and what a late refusal keeps of the app's own."""

from __future__ import annotations

from .identity import SESSION_COOKIE, SESSION_MAX_AGE, Keyring, Kind
from .settings import Settings
from .turn import Turn

__all__ = ["added_headers", "keeps"]

_KEPT = ("access-control-", "vary")
"""Prefixes of the headers that a late refusal keeps; a cookie could hold the unchecked reply."""


def keeps(name: str) -> bool:
    """Whether a late refusal keeps the app's header *name*."""
    return name.lower().startswith(_KEPT)


def added_headers(
    turn: Turn, keyring: Keyring, settings: Settings, *, secure: bool
) -> list[tuple[str, str]]:
    """What a reply gets besides the app's own headers, whatever becomes of it.

    The limits; and, for a client that brought neither user nor session, a cookie with a new one.

    Args:
        turn: The turn, with its identity and findings.
        keyring: Signs the cookie.
        settings: For ``cookie_samesite``, and whether the operator brings sessions.
        secure: The request came over TLS.
    """
    added = list(turn.findings.headers)
    identity = turn.identity
    if identity is not None and identity.kind is Kind.ADDRESS and settings.session is None:
        _, cookie = keyring.new_session()
        same_site = settings.cookie_samesite.capitalize()
        # browsers drop a cookie with SameSite=None that is not Secure
        mark = "; Secure" if secure or same_site == "None" else ""
        attributes = f"Max-Age={SESSION_MAX_AGE}; Path=/; HttpOnly; SameSite={same_site}{mark}"
        added.append(("Set-Cookie", f"{SESSION_COOKIE}={cookie}; {attributes}"))
    return added
