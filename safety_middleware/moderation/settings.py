"""What the moderation desk is asked, and how it is set up."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from safety_middleware.errors import SettingsError

__all__ = ["DeskSettings", "Question"]


@dataclass(frozen=True, slots=True)
class Question:
    """A content to be judged as one.

    Attributes:
        text: The text, of any length; it may hold lone surrogates.
        images: ``data:`` or ``http(s):`` URLs. They are passed on, never fetched here.
    """

    text: str
    images: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskSettings:
    """How the desk works. The defaults suit OpenAI's own endpoint.

    Attributes:
        model: The moderation model.
        timeout: Longest time to a verdict, in seconds, waiting and one retry included.
        base_url: Root of an OpenAI-compatible API; None: ``OPENAI_BASE_URL``, else OpenAI's.
        api_key: The key; None: ``OPENAI_API_KEY``.
        client: A ``Moderator``, or an ``OpenAI`` or ``AsyncOpenAI`` client of the operator's, used
            instead of our own connections. An ``AsyncOpenAI`` belongs to one event loop: where several loops ask
            (Flask together with jobs, one loop per test), hand in an ``OpenAI``.
        requests: Most requests a minute; None: what the service's headers say.
        tokens: Most tokens a minute; None: what the service's headers say.
        share: Most of either for one identity or address, 0 to 1; 1 switches that off.
        cache_size: Verdicts remembered; 0 switches the cache off.
        cache_ttl: How long a verdict is remembered, in seconds.
        unbatched: Requests in flight up to which a text is sent at once and alone.
        gather: Time texts are gathered for when more are in flight, in seconds; it doubles with
            each further request in flight, up to an eighth of the time a call takes.
        batch_texts: Most texts in one request.
        batch_chars: Most characters in one request of several texts.
        connections: Most connections of one event loop.
        breaker_failures: Failures within ``breaker_window`` after which nothing is sent.
        breaker_window: In seconds.
        breaker_rest: How long nothing is sent before one probe, in seconds.

    Raises:
        SettingsError: If a value is impossible.
    """

    model: str = "omni-moderation-latest"
    timeout: float = 5.0
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    client: object | None = field(default=None, repr=False)
    requests: int | None = None
    tokens: int | None = None
    share: float = 0.05
    cache_size: int = 10_000
    cache_ttl: float = 3_600.0
    unbatched: int = 3
    gather: float = 0.005
    batch_texts: int = 32
    batch_chars: int = 80_000
    connections: int = 64
    breaker_failures: int = 5
    breaker_window: float = 30.0
    breaker_rest: float = 15.0

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            SettingsError: If a value is impossible.
        """
        if not self.model:
            raise SettingsError("model", "it is empty", "Leave it out for the default.")
        for name in ("timeout", "cache_ttl", "gather", "breaker_window", "breaker_rest"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise SettingsError(name, f"{value!r} is not a time in seconds", f"Try {name}=5.0.")
        if not 0 < self.share <= 1:
            raise SettingsError(
                "share", f"{self.share!r} is not a share above 0", "Try share=0.05."
            )
        counts = (
            *("requests", "tokens", "unbatched", "batch_texts", "batch_chars"),
            *("connections", "breaker_failures"),
        )
        for name, least in {"cache_size": 0, **dict.fromkeys(counts, 1)}.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise SettingsError(
                    name,
                    f"{value!r} is not a whole number of {least} or more",
                    f"Try {name}={max(least, 1)}.",
                )
