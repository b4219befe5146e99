"""Which requests are model calls, where their identifier goes, and what their output cap is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["SAFETY_HEADER", "Endpoint", "endpoint_of"]

SAFETY_HEADER = "OpenAI-Safety-Identifier"
"""Names the end user of realtime sessions, whose bodies have no field for it (OpenAI's guide on
safety checks)."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What one kind of model call takes; all of them wait for the verdict and end with the turn.

    Attributes:
        identifier: Where the safety identifier goes: the ``body``, the ``session`` object in it, a
            ``header``, or nowhere.
        caps: Names of the output cap in tokens, the one to set first; the others are lowered where
            the app sent them. Empty where there is none.
    """

    identifier: Literal["body", "session", "header"] | None = None
    caps: tuple[str, ...] = ()

    @property
    def in_body(self) -> bool:
        """Whether anything in the body is set."""
        return bool(self.caps) or self.identifier in {"body", "session"}


_NAMED = Endpoint("body")
_HEADED = Endpoint("header")
_PLAIN = Endpoint()
_RUN = Endpoint(caps=("max_completion_tokens",))

# By the end of the path, since servers put their own prefixes before it (Azure's deployments).
# Field names: the request types of the SDK, versions 1.98 to 3.54.
_LAST: Mapping[str, Endpoint] = {
    "completions": Endpoint(caps=("max_tokens",)),
    "decisions": _NAMED,
    "responses": Endpoint("body", ("max_output_tokens",)),
    "videos": _PLAIN,
}
_LAST_TWO: Mapping[tuple[str, str], Endpoint] = {
    ("agents", "sessions"): _PLAIN,
    ("audio", "speech"): _PLAIN,
    ("audio", "transcriptions"): _PLAIN,
    ("audio", "translations"): _PLAIN,
    ("chat", "completions"): Endpoint("body", ("max_completion_tokens", "max_tokens")),
    ("images", "edits"): _NAMED,
    ("images", "generations"): _NAMED,
    ("images", "variations"): _PLAIN,
    ("live", "sessions"): Endpoint("session"),
    ("realtime", "calls"): _HEADED,
    ("realtime", "client_secrets"): _HEADED,
    ("realtime", "sessions"): _HEADED,
    ("realtime", "transcription_sessions"): _HEADED,
    ("responses", "compact"): _PLAIN,
    ("threads", "runs"): _RUN,
    ("translations", "client_secrets"): _HEADED,
    ("videos", "edits"): _PLAIN,
    ("videos", "extensions"): _PLAIN,
}
_AROUND_ID: Mapping[tuple[str, str, str], Endpoint] = {
    ("agents", "sessions", "events"): _PLAIN,
    ("agents", "automations", "invocations"): _PLAIN,
    ("live", "sessions", "accept"): _NAMED,
    ("live", "sessions", "fork"): _PLAIN,
    ("realtime", "calls", "accept"): _HEADED,
}
_BEFORE_ID: Mapping[tuple[str, str], Endpoint] = {
    ("runs", "submit_tool_outputs"): _PLAIN,
    ("threads", "runs"): _RUN,
    ("videos", "remix"): _PLAIN,
}


def endpoint_of(method: str, url: str) -> Endpoint | None:
    """What the request is as a model call; None when it is none.

    Embeddings, moderations, files and whatever reads or deletes are none.

    Args:
        method: The HTTP method, in any case.
        url: A URL or a path; a query is ignored.
    """
    if method.upper() != "POST":
        return None
    path = url.partition("?")[0].rstrip("/")
    first, second, third, last = ("", "", "", *path.rsplit("/", 4))[-4:]
    return (
        _LAST_TWO.get((third, last))
        or _LAST.get(last)
        or _BEFORE_ID.get((second, last))
        or _AROUND_ID.get((first, second, last))
    )
