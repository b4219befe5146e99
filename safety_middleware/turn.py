"""One turn while it runs: who speaks, under which rules, and what was decided."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextvars import ContextVar
from random import getrandbits
from threading import Lock
from typing import Any

from blake3 import blake3

from .decision import ALLOWED, Decision
from .errors import ContentBlocked, NoCurrentTurn
from .identity import Identity
from .policy import Hold, Policy, Tier, policy_fields

__all__ = ["Findings", "Route", "Turn", "bound", "current_turn", "find_turn"]

_log = logging.getLogger("safety_middleware")
_current: ContextVar[Turn | None] = ContextVar("safety_middleware_turn", default=None)


class Route:
    """What this process has seen of one protected route.

    Attributes:
        name: The route's template, mounts included.
        policy: Its rules.
        scope: Short digest of the rules: routes with equal rules share their limits.
        seen_guarded: A turn here has made a guarded model call, so ``hold="model"`` can be kept.
        blocks_loop: A blocking client was used on the event loop's own thread here; waiting inside
            the call would stop the loop, so this route waits before its handler.
    """

    __slots__ = ("blocks_loop", "name", "policy", "scope", "seen_guarded")

    def __init__(self, name: str, policy: Policy) -> None:
        self.name = name
        self.policy = policy
        self.scope = _scope(policy)
        self.seen_guarded = False
        self.blocks_loop = False


class Findings:
    """What the checks of one turn found; the record is made from it.

    Attributes:
        decision: The first finding that refuses, enforced or not; else the plain allow.
        checked: The checks that were made, in their order.
        skipped: Check -> why it was not made.
        categories: The categories that counted in the verdict.
        scores: Category -> score of the verdict.
        input_chars: New text, in code points.
        images: Images of the turn.
        waited: Seconds the turn waited for its verdict and for nothing else.
        headers: Headers of the rate limits for the answer.
        texts: Hashes of the texts to remember as cleared when the verdict is clean.
    """

    __slots__ = (
        "categories",
        "checked",
        "decision",
        "headers",
        "images",
        "input_chars",
        "scores",
        "skipped",
        "texts",
        "waited",
    )

    def __init__(self) -> None:
        self.decision = ALLOWED
        self.checked: list[str] = []
        self.skipped: dict[str, str] = {}
        self.categories: tuple[str, ...] = ()
        self.scores: Mapping[str, float] = {}
        self.input_chars = 0
        self.images = 0
        self.waited = 0.0
        self.headers: tuple[tuple[str, str], ...] = ()
        self.texts: tuple[bytes, ...] = ()

    def add(self, decision: Decision) -> None:
        """Keep *decision* if nothing was found before it."""
        if self.decision.allowed:
            self.decision = decision


class Turn:
    """One user message to a protected route, and its reply.

    Attributes:
        id: ``req_`` and 24 hexadecimal digits; stands in refusals and records.
        route: The route.
        policy: Its rules.
        identity: Who speaks.
        tier: The identity's tier when the turn began.
        hold: What waits for the verdict in this turn.
        decided: The decision about the input, once it is made; None until then.
        admit_first: Set by an adapter that admits late: called before a model call is made.
        ask_again: Gives a decision about the same input by another thread's loop; used where
            waiting for ``admitted`` would block the loop that has to resolve it.
        guarded_calls: Model calls made through a guarded client.
        aborted_calls: Those that were ended because the turn was refused.
        judged: Resolves when the verdict about the input is in and in ``findings``; None while no
            verdict was asked for.
        findings: What the checks found.
        notes: For the record: name -> number, flag or short word. Never text.
        started: When the turn began, by ``time.monotonic()``, in seconds.
    """

    __slots__ = (
        "_admitted",
        "_ends",
        "_lock",
        "aborted_calls",
        "admit_first",
        "ask_again",
        "decided",
        "findings",
        "guarded_calls",
        "hold",
        "id",
        "identity",
        "judged",
        "notes",
        "policy",
        "route",
        "started",
        "tier",
    )

    def __init__(self, route: Route, identity: Identity | None, *, tier: Tier = "new") -> None:
        self.id = f"req_{getrandbits(96):024x}"  # a name, not a secret; reseeded in forked children
        self.route = route
        self.policy = route.policy
        self.identity = identity
        self.tier: Tier = tier
        self.hold: Hold = "handler"
        self.decided: Decision | None = None
        self.admit_first: Callable[[], None] | None = None
        self.ask_again: Callable[[], Future[Decision]] | None = None
        self.guarded_calls = 0
        self.aborted_calls = 0
        self.judged: Future[None] | None = None
        self.findings = Findings()
        self.notes: dict[str, Any] = {}
        self.started = time.monotonic()
        self._lock = Lock()
        self._admitted: Future[Decision] | None = None
        self._ends: list[Callable[[], None]] = []

    @property
    def safety_identifier(self) -> str:
        """The keyed hash of who speaks, as sent to OpenAI; at most 64 printable ASCII characters.

        Raises:
            NoCurrentTurn: If the turn has no identity.
        """
        if self.identity is None:
            raise NoCurrentTurn("this turn has no identity")
        return self.identity.safety_identifier

    @property
    def max_output_tokens(self) -> int | None:
        """The cap on a model call's output, in tokens, reasoning included; None for none."""
        return self.policy.max_output_tokens

    @property
    def admitted(self) -> Future[Decision]:
        """Resolves to the decision about the input, once. Never carries an exception."""
        with self._lock:  # made only for whoever waits: most turns are decided before that
            if self._admitted is None:
                self._admitted = Future()
                # a running future can't be cancelled, so no waiter can take it from the others
                self._admitted.set_running_or_notify_cancel()
                if self.decided is not None:
                    self._admitted.set_result(self.decided)
            return self._admitted

    @property
    def refusal(self) -> Decision | None:
        """The refusal, once the input is decided and was not allowed; else None."""
        decision = self.decided
        return None if decision is None or decision.allowed else decision

    def finds(self, found: Decision | None) -> bool:
        """Keep a finding; True when it ends the turn, as it does unless the policy observes."""
        if found is None:
            return False
        self.findings.add(found)
        if self.policy.observe:
            return False
        self.decide(found)
        return True

    def decide(self, decision: Decision) -> bool:
        """Decide about the input; the first decision stands. True when this was the first.

        A refusal ends the turn's model calls at once, from whatever thread decides.
        """
        with self._lock:
            if self.decided is not None:
                return False
            self.decided = decision
            ends = [] if decision.allowed else self._ends
            self._ends = []
            admitted = self._admitted
        if admitted is not None:
            admitted.set_result(decision)  # outside the lock: it runs the callbacks of others
        for end in ends:
            try:
                end()
            except Exception:
                _log.exception("ending a model call of a refused turn failed")
        return True

    def on_refused(self, end: Callable[[], None]) -> Callable[[], None]:
        """Have *end* called once if the turn is refused; returns what takes it back.

        Raises:
            ContentBlocked: If the turn is refused already.
        """
        with self._lock:
            decision = self.decided
            if decision is None:
                self._ends.append(end)
        if decision is not None and not decision.allowed:
            raise ContentBlocked(decision)

        def forget() -> None:
            with self._lock:
                if end in self._ends:
                    self._ends.remove(end)

        return forget


def _scope(policy: Policy) -> str:
    # a list of words has no stable name across processes; every other field has
    rules = [(name, getattr(policy, name)) for name in policy_fields() if name != "wordlist"]
    return blake3(repr(rules).encode("utf-8", "surrogatepass")).hexdigest(length=6)


def current_turn() -> Turn:
    """The turn this code runs in: a protected request's, or that of ``safety.bind()``.

    Raises:
        NoCurrentTurn: If there is none. Threads and executors do not inherit it: pass a copied
            context, or open ``safety.bind()`` there.
    """
    turn = _current.get()
    if turn is None:
        raise NoCurrentTurn("no turn runs here; open one with safety.bind(user)")
    return turn


def find_turn() -> Turn | None:
    """The turn this code runs in, or None."""
    return _current.get()


class bound:  # noqa: N801  # used as a function; a class costs a third of a generator
    """Make *turn* the current one inside the ``with`` block."""

    __slots__ = ("_token", "_turn")

    def __init__(self, turn: Turn | None) -> None:
        self._turn = turn

    def __enter__(self) -> None:
        self._token = _current.set(self._turn)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)
