"""The engine: one per process, it wires settings, services and flows together."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Generator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ._services import desk_settings_of, limiters_of, secrets_of, words_of
from .decision import Decision
from .errors import SettingsError
from .flow import run
from .guard import Cleared, Guard, Outcome, Sampling, settle
from .hooks import Hooks
from .identity import Identity, Keyring, Kind, user_reference
from .loading import load
from .moderation import Desk, Priority, Question
from .openai import set_unbound
from .policy import Policy
from .refusal import Refusal, refusal_of
from .routes import Routes
from .settings import Settings
from .standing import Clean, Lift, Standing, Strike, Suspend, kind_of
from .store import Record, Store
from .turn import Route, Turn, bound, find_turn
from .verdict import Verdict

if TYPE_CHECKING:
    from .ratelimit import Hits

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
        self._lock = Lock()
        self.started = False
        self._complaints = Lock()
        self._complained: dict[str, dict[str, float]] = {}

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
            settings = self.settings
            set_unbound(settings.unbound_calls)
            self.keyring = Keyring(secrets_of(settings))
            self.limiter, self.async_limiter = limiters_of(settings, self.degraded)
            key = self.keyring.verdict_key
            moderated = self._moderated()
            asking = desk_settings_of(settings, needed=moderated)
            self.desk = Desk(asking, cache_key=key, on_degraded=self.degraded)
            if moderated:
                self.desk.start()
            self.guard = Guard(
                words_of(settings),
                Cleared(key),
                self.desk.ask_from_thread,
                Sampling(self.keyring.draw_key, self.desk.recall),
                settings.tiers,
            )
            # last: what is wrong with the settings is told before anything is open
            self.store = Store.open(
                settings.store,
                on_degraded=self.degraded,
                on_suspend=self._suspended,
                tiers=settings.tiers,
            )
            self.started = True

    def close(self) -> None:
        """Write what is queued and release what was opened; for threads and WSGI."""
        if self.started:
            self.desk.close()
            self.limiter.close()
            self.store.close()
        self.hooks.close()

    async def aclose(self) -> None:
        """The same inside an event loop: also closes what belongs to the loop."""
        if self.started:
            await self.desk.aclose()
            await self.async_limiter.aclose()
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
            session: A session id that came back from the client, verified, or None. With a
                *user*: what they were before logging in; its strikes go with them.
            address: As ``client_address`` gives it.

        Raises:
            SettingsError: If *user* is of another type.
        """
        at = self.keyring.identify(Kind.ADDRESS, address)
        reference = user_reference(user)
        guest = self.keyring.identify(Kind.SESSION, session) if session else None
        if reference is None:
            return guest or at, at
        who = self.keyring.identify(Kind.USER, reference)
        return replace(who, guest=guest) if guest else who, at

    @contextmanager
    def bind(self, user: str | int | UUID | None = None, **caps: Any) -> Generator[Turn]:
        """Open a turn without a request, for jobs, threads and scripts.

        It carries identity and caps to the model calls inside the block, and moderates nothing.
        Inside a protected request its calls keep that route's rules, wait for that turn's verdict
        and end with it.

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
        rules = self.settings.policy if around is None else around.policy
        turn = Turn(Route("bind", Policy(**caps).over(rules)), identity)
        if around is None:
            turn.hold = "reply"
            turn.decide(Decision())
        else:
            turn.hold, turn.ask_again = around.hold, around.ask_again
            turn.admit_first = around.admit_first
            around.admitted.add_done_callback(lambda admitted: turn.decide(admitted.result()))
        try:
            with bound(turn):
                yield turn
        finally:
            if around is not None:
                _count_in(around, turn)

    def suspend(self, identifier: str, hours: float | None = None, *, why: str = "") -> None:
        """Suspend an identity: at once in this process, soon in the others.

        Args:
            identifier: A safety identifier of a user or a session, as records have it.
            hours: How long; None: until it is lifted.
            why: For whoever asks later; kept with the standing, shown to nobody else.

        Raises:
            SettingsError: If *identifier* is none, or an address's: those are shared by many; or
                *hours* are no time.
        """
        if hours is not None and not 0 < hours < math.inf:
            raise SettingsError("hours", f"{hours!r} is not a time", "Try 24, or leave it out.")
        now = time.time()
        until = math.inf if hours is None else now + hours * 3600
        self._rule(identifier, Suspend(until, now, why))

    def lift(self, identifier: str) -> None:
        """End a suspension; the strikes that led to it weigh nothing any more.

        Raises:
            SettingsError: If *identifier* is no safety identifier of a user or a session.
        """
        self._rule(identifier, Lift(time.time()))

    def refusal(self, turn: Turn, decision: Decision, accept: str | None) -> Refusal:
        """The HTTP answer to a refused turn, by the operator's renderer or ours."""
        if self.settings.refusal is not None:
            try:
                return self.settings.refusal(decision, turn.id)
            except Exception:
                _log.exception("the refusal renderer failed: ours is used instead")
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
            told = self._complained.setdefault(service, {})
            if now - told.get(cause, -DEGRADED_EVERY) < DEGRADED_EVERY:
                return
            if ("recovered" in told) != (cause == "recovered"):
                told.clear()  # what was told last is no longer so: the next change is news
            told[cause] = now
        _log.log(logging.INFO if cause == "recovered" else logging.ERROR, "%s: %s", service, cause)
        self.hooks.call(self.settings.on_degraded, service, cause)

    def _settle(self, turn: Turn, outcome: Outcome) -> None:
        record = run(settle(turn, outcome, self.settings.tiers), self)
        self.hooks.call(self.settings.on_decision, record)

    # The ports that need no framework. Adapters add how a body is read and a decision awaited.

    def load_standing(self, identity: Identity) -> Standing:
        """Port: what is known of *identity*."""
        return self.store.standings.load(identity)

    def aload_standing(self, identity: Identity) -> Standing | Awaitable[Standing]:
        """Port: the same for an event loop, which reading must not block."""
        return self.store.standings.aload(identity)

    def save_standing(self, identity: Identity, event: Clean | Strike) -> None:
        """Port: take a turn into what is known of *identity*."""
        self.store.standings.tell(identity.safety_identifier, event)
        if isinstance(event, Strike):
            self.hooks.call(self.settings.on_strike, identity.safety_identifier, event)

    def ask(
        self, question: Question, *, priority: Priority, who: str | None, address: str | None
    ) -> Future[Verdict]:
        """Port: start moderation."""
        return self.desk.ask(question, priority=priority, who=who, address=address)

    def hit(self, wanted: Any) -> Hits:
        """Port: count one turn in every bucket, blocking."""
        return self.limiter.hit(wanted)

    def write(self, record: Record) -> None:
        """Port: hand a record to the writer."""
        self.store.write(record)

    def _rule(self, identifier: str, ruling: Suspend | Lift) -> None:
        if kind_of(identifier) is Kind.ADDRESS:
            raise SettingsError(
                "identifier",
                "it is an address, which is many people",
                "Name a user (u1_…) or a session (s1_…).",
            )
        self.start()
        self.store.standings.tell(identifier, ruling)

    def _suspended(self, identifier: str, standing: Standing) -> None:
        self.hooks.call(self.settings.on_suspend, identifier, standing)

    def _moderated(self) -> bool:
        chosen = self.settings.route_policies() or {}
        policies = (self.settings.policy, *chosen.values(), *self.routes.policies())
        return any(policy.moderation is not False for policy in policies)


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


def _count_in(around: Turn, inner: Turn) -> None:
    """Count the calls of a ``bind()`` as those of the turn it was opened in."""
    around.guarded_calls += inner.guarded_calls
    around.aborted_calls += inner.aborted_calls
    around.route.seen_guarded |= inner.route.seen_guarded
    around.route.blocks_loop |= inner.route.blocks_loop
