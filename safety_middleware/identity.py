"""Who speaks, as a keyed hash: identities, their keys, our session cookie, client addresses."""

from __future__ import annotations

import ipaddress
import secrets as random
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from uuid import UUID

from blake3 import blake3
from itsdangerous import BadSignature, TimestampSigner

from .errors import SettingsError

__all__ = ["Identity", "Keyring", "Kind", "client_address", "secret_bytes", "user_reference"]

MIN_SECRET_BYTES = 32
SESSION_USER_KEYS = ("user_id", "_user_id", "uid", "sub")
"""Keys under which web apps keep the id of a logged-in user in their session."""
SESSION_COOKIE = "safety_session"
SESSION_MAX_AGE = 365 * 24 * 3600
"""Lifetime of the anonymous session cookie, in seconds."""
KEPT_IDENTITIES = 10_000
"""Identities kept at hand; hashing one again costs about 4 µs."""
MAX_COOKIE_CHARS = 200
"""Longest session cookie looked at; ours have 57."""
MAX_ADDRESS_CHARS = 100
"""Longest address looked at, with brackets, zone and port: what is kept at hand stays small."""
_USER_IDS = (str, int, UUID)
_PURPOSE = "safety_middleware 2026-11-21 {} v1"
"""BLAKE3 ``derive_key`` contexts: unique to the application and the purpose, as its paper asks."""


class Kind(StrEnum):
    """What an identity was made from; its value begins the safety identifier."""

    USER = "u"
    SESSION = "s"
    ADDRESS = "a"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who speaks, with nothing that could be turned back into a name.

    Attributes:
        kind: User, session or address.
        safety_identifier: ``<kind>1_`` and 49 characters of ``[A-Za-z0-9_-]``: 6 for the key,
            43 for the hash. As sent to OpenAI.
        older: The same identity under the older secrets, newest first.
        guest: Of a user: the session that the same request came with.
    """

    kind: Kind
    safety_identifier: str
    older: tuple[str, ...] = ()
    guest: Identity | None = field(default=None, compare=False)


class _Keys:
    """The keys derived from one secret, one for each purpose."""

    __slots__ = ("cookie", "draw", "identifier", "key_id", "verdicts")

    def __init__(self, secret: bytes) -> None:
        self.identifier = _derive(secret, "safety identifier")
        self.key_id = _text(_derive(secret, "key id")[:4])
        self.cookie = _derive(secret, "session cookie")
        self.verdicts = _derive(secret, "verdict cache")
        self.draw = _derive(secret, "sampling draw")


class Keyring:
    """Makes identities from one secret, and recognises those of older ones.

    Args:
        secrets: Newest first; each of 32 bytes or more (64 hexadecimal digits will do).

    Raises:
        SettingsError: If there is no secret or one is too short.
    """

    def __init__(self, secrets: Sequence[str | bytes]) -> None:
        raw = [secret_bytes(secret) for secret in secrets]
        if not raw or min(map(len, raw)) < MIN_SECRET_BYTES:
            raise SettingsError(
                "secret",
                f"every secret needs {MIN_SECRET_BYTES} bytes or more"
                if raw
                else "no secret is set",
                "Make one with: python -c 'import secrets; print(secrets.token_hex(32))'",
            )
        self._keys = [_Keys(secret) for secret in raw]
        self._made = lru_cache(maxsize=KEPT_IDENTITIES)(self._make)
        self._signed = lru_cache(maxsize=KEPT_IDENTITIES)(self._unsign)
        # itsdangerous wants the newest key last
        self._signer = TimestampSigner([k.cookie for k in reversed(self._keys)], salt=b"session")

    @property
    def verdict_key(self) -> bytes:
        """32 bytes that key the hashes of moderated content."""
        return self._keys[0].verdicts

    @property
    def draw_key(self) -> bytes:
        """32 bytes that key the sampling draw."""
        return self._keys[0].draw

    def identify(self, kind: Kind, reference: str) -> Identity:
        """The identity of *reference*, a user id, a session id or a client address."""
        return self._made(kind, reference)

    def _make(self, kind: Kind, reference: str) -> Identity:
        named, *older = (_identifier(keys, kind, reference) for keys in self._keys)
        return Identity(kind, named, tuple(older))

    def new_session(self) -> tuple[str, str]:
        """A new session id and the signed cookie value that carries it."""
        session = random.token_urlsafe(16)
        return session, self._signer.sign(session).decode()

    def read_session(self, cookie: str | None) -> str | None:
        """The session id in a cookie of ours, or None when it is absent, forged or too old."""
        if not cookie or len(cookie) > MAX_COOKIE_CHARS or not cookie.isascii():
            return None
        try:
            session, signed = self._signed(cookie)
        except BadSignature:  # what raises is not kept, so forgeries crowd nobody out
            return None
        age = self._signer.get_timestamp() - signed
        return session if 0 <= age <= SESSION_MAX_AGE else None

    def _unsign(self, cookie: str) -> tuple[str, float]:
        session, signed = self._signer.unsign(cookie, return_timestamp=True)
        return session.decode(), signed.timestamp()


def user_reference(value: object) -> str | None:
    """A user's id as the string that is hashed; None for nobody.

    Raises:
        SettingsError: If *value* is not a str, an int, a UUID or None (a bool is no id).
    """
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, _USER_IDS):
        raise SettingsError(
            "user",
            f"the callable returned a {type(value).__name__}",
            "Return the user's id: a str, an int, a UUID, or None for an anonymous request.",
        )
    return str(value)


def client_address(peer: str | None, forwarded: Iterable[str], trusted_proxies: int) -> str:
    """The address that limits and anonymous identities go by.

    Args:
        peer: Address of the connection's other end, or None (a Unix socket).
        forwarded: The values of every ``X-Forwarded-For`` line, in order.
        trusted_proxies: How many proxies of the operator's own add to that header. Each appends
            the address it saw, so that many from the right is the last one nobody can forge.

    Returns:
        An IPv4 address, an IPv6 network of 64 bits, or ``"unknown"``.
    """
    chosen = peer
    if trusted_proxies:
        hops = [hop.strip() for line in forwarded for hop in line.split(",")]
        if len(hops) >= trusted_proxies and _network(hops[-trusted_proxies]) is not None:
            chosen = hops[-trusted_proxies]
    return _network(chosen or "") or "unknown"


def secret_bytes(secret: str | bytes) -> bytes:
    """The bytes of *secret*, also where an environment held some that are no text."""
    return secret.encode("utf-8", "surrogatepass") if isinstance(secret, str) else secret


def _network(text: str) -> str | None:
    return _parsed(text) if len(text) <= MAX_ADDRESS_CHARS else None


@lru_cache(maxsize=10_000)
def _parsed(text: str) -> str | None:
    bare = text.partition("]")[0].removeprefix("[") if text.startswith("[") else text
    if bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        address = ipaddress.ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def _derive(secret: bytes, purpose: str) -> bytes:
    return blake3(secret, derive_key_context=_PURPOSE.format(purpose)).digest()


def _identifier(keys: _Keys, kind: Kind, reference: str) -> str:
    # the namespace stands inside the hash: user "1" and session "1" have nothing in common
    named = f"{kind.value}\0{reference}".encode("utf-8", "surrogatepass")
    return f"{kind.value}1_{keys.key_id}{_text(blake3(named, key=keys.identifier).digest())}"


def _text(digest: bytes) -> str:
    return urlsafe_b64encode(digest).rstrip(b"=").decode()
