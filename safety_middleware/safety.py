"""The engine: one per process, it wires settings, services and flows together."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from .decision import Decision
from .errors import SettingsError
from .flow import run
from .guard import Cleared, Guard, Outcome, settle
from .hooks import Hooks
from .identity import Identity, Keyring, Kind, user_reference
from .loading import load
from .moderation import Desk, DeskSettings, Question
from .openai import set_unbound
from .policy import Policy
from .refusal import Refusal, refusal_of
from .routes import Routes
from .settings import Settings
from .standing import Standing, Standings
from .store import Record, Store, generated_secret, safety_directory
from .turn import Route, Turn, bound, find_turn
from .verdict import Verdict

if TYPE_CHECKING:
    from .ratelimit import AsyncLimiter, Hits, Limiter

__all__ = ["Safety"]

_log = logging.getLogger("safety_middleware")
DEGRADED_EVERY = 60.0
"""Seconds between two log lines about the same failure of the same service."""


class Safety:
    """The engine shared by middleware, command line and jobs; safe to share between threads.

    Args:
        settings: What the operator configures; None reads ``SAFETY_*`` and ``safety.toml``.

    Raises:
        SettingsError: If a setting is unknown or impossible.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = load().settings if settings is None else settings
        self.routes = Routes(self.settings.route_policies(), self.settings.policy)
        self.hooks = Hooks()
        self._standings = Standings()
        self._lock = Lock()
        self.started = False
        self._complaints = Lock()
        self._complained: dict[tuple[str, str], float] = {}

    def start(self) -> None:
        """Open what turns need: secret, wordlist, limits, store, moderation. Idempotent.

        Raises:
            SettingsError: If something the settings name can't be used; it tells the remedy.
        """
        if self.started:
            return
        with self._lock:
            if self.started:
                return
            from . import limiters  # noqa: PLC0415  # limits and Redis: at start, not at import

            set_unbound(self.settings.unbound_calls)
            self.keyring = Keyring(self._secrets())
            self.store = Store.open(self.settings.store, on_degraded=self.degraded)
            url = self.settings.limits_storage
            memory = url.startswith("memory")
            alone = limiters.MemoryLimiter() if memory else None
            self.limiter: Limiter = alone or limiters.SharedLimiter(url, self.degraded)
            self.async_limiter: AsyncLimiter = alone or limiters.AsyncSharedLimiter(
                url, self.degraded
            )
            self.desk = Desk(
                self._desk_settings(),
                cache_key=self.keyring.verdict_key,
                on_degraded=self.degraded,
            )
            self.guard = Guard(
                self._words(), Cleared(self.keyring.verdict_key), self.desk.ask_from_thread
            )
            self.started = True

    def close(self) -> None:
        """Write what is queued and release what was opened; for threads and WSGI."""
        if self.started:
            self.desk.close()
            self.store.close()
        self.hooks.close()

    async def aclose(self) -> None:
        """The same inside an event loop: also closes the loop's own moderation client."""
        if self.started:
            await self.desk.aclose()
        await asyncio.to_thread(self.close)  # it waits for threads

    def identify(
        self,
        *,
        user: object = None,
        session: str | None = None,
        address: str = "unknown",
    ) -> tuple[Identity, Identity]:
        """The identity of a request, and that of its client address.

        Args:
            user: The authenticated user's id: str, int, UUID or None.
            session: A session id that came back from the client, verified, or None.
            address: As ``client_address`` gives it.

        Raises:
            SettingsError: If *user* is of another type.
        """
        at = self.keyring.identify(Kind.ADDRESS, address)
        reference = user_reference(user)
        if reference is not None:
            return self.keyring.identify(Kind.USER, reference), at
        if session:
            return self.keyring.identify(Kind.SESSION, session), at
        return at, at

    @contextmanager
    def bind(self, user: str | int | None = None, **caps: Any) -> Iterator[Turn]:
        """Open a turn without a request, for jobs, threads and scripts.

        It carries identity and caps to the model calls inside the block, and moderates nothing.

        Args:
            user: The user's id; None takes the identity of the turn around it.
            caps: Fields of ``Policy``, such as ``max_output_tokens=300``.

        Raises:
            SettingsError: If there is no user and no turn around, or a field is impossible.
        """
        self.start()
        around = find_turn()
        reference = user_reference(user)
        if reference is not None:
            identity = self.keyring.identify(Kind.USER, reference)
        elif around is not None and around.identity is not None:
            identity = around.identity
        else:
            raise SettingsError("user", "bind() got no user", "Pass the user's id: bind(user).")
        turn = Turn(Route("bind", Policy(**caps).over(self.settings.policy)), identity)
        turn.hold = "reply"
        turn.decide(Decision())
        with bound(turn):
            yield turn

    def refusal(self, turn: Turn, decision: Decision, accept: str | None) -> Refusal:
        """The HTTP answer to a refused turn, by the operator's renderer or ours."""
        if self.settings.refusal is not None:
            return self.settings.refusal(decision, turn.id)
        headers = () if turn.policy.observe else turn.findings.headers
        return refusal_of(
            decision, turn.id, accept=accept, headers=headers, care=self.settings.care
        )

    def finish(self, turn: Turn, outcome: Outcome) -> None:
        """Settle the turn now, or when its verdict comes; never blocks."""
        if turn.judged is None:
            self._settle(turn, outcome)
        else:
            turn.judged.add_done_callback(lambda _: self._settle(turn, outcome))

    def degraded(self, service: str, cause: str) -> None:
        """Make a failing (or recovered) service visible: in the log and to ``on_degraded``."""
        now = time.monotonic()
        with self._complaints:
            last = self._complained.get((service, cause), -DEGRADED_EVERY)
            quiet = now - last < DEGRADED_EVERY
            if not quiet:
                self._complained[service, cause] = now
        if quiet:
            return
        _log.log(logging.INFO if cause == "recovered" else logging.ERROR, "%s: %s", service, cause)
        self.hooks.call(self.settings.on_degraded, service, cause)

    def _settle(self, turn: Turn, outcome: Outcome) -> None:
        record = run(settle(turn, outcome), self)
        self.hooks.call(self.settings.on_decision, record)

    # The ports that need no framework. Adapters add how a body is read and a decision awaited.

    def load_standing(self, identity: Identity) -> Standing:
        """Port: what is known of *identity*."""
        return self._standings.load(identity)

    def save_standing(self, identity: Identity, *, clean: bool, blocked: bool, now: float) -> None:
        """Port: take a turn into what is known of *identity*."""
        self._standings.count(identity, clean=clean, blocked=blocked, now=now)

    def ask(self, question: Question) -> Future[Verdict]:
        """Port: start moderation."""
        return self.desk.ask(question)

    def hit(self, wanted: Any) -> Hits:
        """Port: count one turn in every bucket, blocking."""
        return self.limiter.hit(wanted)

    def write(self, record: Record) -> None:
        """Port: hand a record to the writer."""
        self.store.write(record)

    def _secrets(self) -> tuple[str | bytes, ...]:
        if self.settings.secrets:
            return self.settings.secrets
        if self.settings.production:
            raise SettingsError(
                "secret",
                "no secret is set and production is on",
                "Make one with: python -c 'import secrets; print(secrets.token_hex(32))' "
                "and set it as SAFETY_SECRET.",
            )
        directory = safety_directory(Path.cwd())
        _log.warning(
            "no secret is set: using the one in %s/secret; set SAFETY_SECRET before production",
            directory,
        )
        return (generated_secret(directory),)

    def _words(self) -> Any:
        from .wordlist import Wordlist  # noqa: PLC0415  # the automaton is built at start

        chosen = self.settings.wordlist
        if chosen is None:
            return Wordlist.default(languages=self.settings.languages)
        return Wordlist.load(Path(chosen)) if isinstance(chosen, str | os.PathLike) else chosen

    def _desk_settings(self) -> DeskSettings:
        settings = self.settings
        policies = [settings.policy, *(settings.route_policies() or {}).values()]
        key = settings.openai_api_key or os.environ.get("OPENAI_API_KEY")
        needed = any(policy.moderation is not False for policy in policies)
        if needed and not key and settings.moderation_client is None:
            raise SettingsError(
                "openai_api_key",
                "there is no API key to moderate with",
                "Set OPENAI_API_KEY, or moderation=False to do without moderation.",
            )
        return DeskSettings(
            model=settings.moderation_model,
            timeout=settings.moderation_timeout,
            base_url=settings.openai_base_url,
            api_key=key,
            client=settings.moderation_client,
        )


def engine(
    safety: Safety | None, keywords: Mapping[str, Any], config: Mapping[str, Any] | None = None
) -> Safety:
    """The engine of a middleware: *safety* as given, or one built from keywords and environment.

    Raises:
        SettingsError: If both an engine and settings were given, or a setting is wrong.
    """
    if safety is None:
        return Safety(load(keywords, config=config).settings)
    if keywords:
        raise SettingsError(
            next(iter(keywords)),
            "was given beside safety=",
            "Put it into the Settings of that Safety.",
        )
    return safety
