"""One request to a protected rule, from its routing to the record of its turn."""

from __future__ import annotations

from threading import RLock

from flask import Flask, Request, Response

from safety_middleware import Action, Decision, Reason, Safety
from safety_middleware.errors import is_block
from safety_middleware.flow import run
from safety_middleware.guard import Outcome
from safety_middleware.headers import added_headers
from safety_middleware.refusal import Refusal
from safety_middleware.turn import Route, Turn

from ._request import Ports, identify, put_input

__all__ = ["Headers", "Visit", "with_more"]

Headers = list[tuple[str, str]]


class Visit:
    """Takes one request's turn through admission, refusal and settling.

    Attributes:
        turn: The turn.
        observe: Its policy refuses nothing, so that the app's reply is left alone.
        early: The reply was made without the handler: it goes out as it is, refused turn or not.
        waited: Seconds that the reply waited for the verdict.
        status: HTTP status of the reply, once it is known.
        length: Bytes that the reply says it has, or None.
    """

    def __init__(self, safety: Safety, app: Flask, request: Request, route: Route) -> None:
        self.turn = Turn(route, None)
        self.turn.admit_first = self._admit_once
        self.observe = route.policy.observe
        self.early = False
        self.waited = 0.0
        self.status: int | None = None
        self.length: int | None = None
        self._safety = safety
        self._app = app
        self._request = request
        self._input = put_input(request, route.policy.body_limit)
        self._lock = RLock()
        self._begun = False
        self._settled = False

    def admit(self) -> Response | None:
        """Have the input checked, once; the refusal, or None where the app may go on."""
        self._admit_once()
        if self.turn.refusal is None or self.observe:
            return None
        self.early = not self.turn.guarded_calls
        return self.response()

    def decide(self) -> Response | None:
        """The same, and wait for the verdict whatever the turn holds at."""
        refused = self.admit()
        if refused is None and not self.turn.admitted.result().allowed:
            return self.response()
        return refused

    def conclude(self) -> None:
        """The app has answered: a turn that never came to its handler was its own affair."""
        with self._lock:
            if self._begun:
                return
            self._begun = True
        self.turn.admit_first = None
        self.turn.notes["not_admitted"] = True
        self.turn.decide(Decision())

    def blocks(self, problem: BaseException) -> bool:
        """Whether the app's error is but our own, of this turn's refusal."""
        return self.turn.refusal is not None and is_block(problem)

    def response(self) -> Response:
        """The refusal as a response, for the app's ``after_request`` functions."""
        refusal = self.refusal()
        return Response(refusal.body, refusal.status, list(refusal.headers))

    def refusal(self) -> Refusal:
        """The HTTP answer to the refused turn."""
        decision = self.turn.admitted.result()
        accept = self._request.environ.get("HTTP_ACCEPT")
        return self._safety.refusal(self.turn, decision, accept)

    def added(self) -> Headers:
        """What the reply gets besides the app's own: the limits, and a session where there is none."""
        safety, secure = self._safety, self._request.is_secure
        return added_headers(self.turn, safety.keyring, safety.settings, secure=secure)

    def settle(self, *, disconnected: bool = False, failed: bool = False) -> None:
        """The reply is over: settle the turn, once, now or when its verdict is in."""
        if self._settled:
            return
        self._settled = True
        findings, notes = self.turn.findings, self.turn.notes
        findings.waited += self.waited + notes.pop("model_wait_ms", 0.0) / 1000
        gone = disconnected or (self._input is not None and self._input.disconnected)
        method = self._request.method
        self._safety.finish(
            self.turn, Outcome(self.status, method, disconnected=gone, failed=failed)
        )

    def _admit_once(self) -> None:
        with self._lock:  # a model call of another thread waits for the one that is at it
            if self._begun:
                return
            self._begun = True
            turn, safety = self.turn, self._safety
            try:
                identity, address = identify(safety, self._app, self._request)
                ports = Ports(safety, self._request, self._input)
                run(safety.guard.admit(turn, identity, address), ports)
            except BaseException:
                # what the app makes of the error is the answer; nothing else goes on
                self.early = True
                refused = Decision(Action.REFUSE, Reason.MODERATION_UNAVAILABLE, detail="internal")
                turn.findings.add(refused)
                turn.decide(refused)
                raise
            finally:
                turn.admit_first = None


def with_more(headers: Headers, more: Headers) -> Headers:
    """*headers*, and those of *more* that are not among them; cookies always."""
    names = {name.lower() for name, _ in headers} - {"set-cookie"}
    return [*headers, *((name, value) for name, value in more if name.lower() not in names)]
