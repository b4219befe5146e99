"""The middleware: binds to the app's routes and takes each protected request through its turn."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import lru_cache
from threading import Lock
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from safety_middleware import Decision, Safety, SettingsError
from safety_middleware.errors import is_block
from safety_middleware.flow import arun
from safety_middleware.guard import Outcome
from safety_middleware.headers import added_headers
from safety_middleware.refusal import Refusal
from safety_middleware.safety import engine
from safety_middleware.turn import Route, Turn, bound

from ._binding import Binding, find_router
from ._gate import Gate, Headers, guarded_scope, send_refusal
from ._leaves import KEY, Leaf, Opaque, Said, guarded_already, mark
from ._opening import Opening
from ._request import Body, Ports, header, identify

__all__ = ["SafetyMiddleware"]

_log = logging.getLogger("safety_middleware")


AnyASGIApp = Callable[[Any, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Any]
"""An ASGI app by the types of any framework: each has names of its own for the same thing."""


class SafetyMiddleware:
    """Guards the chat routes of an ASGI app: ``app.add_middleware(SafetyMiddleware)``.

    Args:
        app: The app, or the next middleware.
        safety: A ready engine to share; else one is made from *settings*.
        settings: Every field of ``Settings`` and, for the default policy, of ``Policy``. What is
            not given comes from ``SAFETY_*``, then ``safety.toml``, then the defaults.

    Raises:
        SettingsError: If a setting is unknown or impossible.
    """

    def __init__(
        self, app: AnyASGIApp, /, *, safety: Safety | None = None, **settings: Any
    ) -> None:
        self.app: ASGIApp = app
        self._given = (safety, settings)
        self._engine = safety
        self._lock = Lock()
        self._loaded = Opening(self._load)
        self._started = Opening(self._start)
        self._binding: Binding | None = None
        self._opaque: ASGIApp | None = None
        if safety is not None:
            self._loaded.over, self._started.over = True, safety.started
        elif asyncio._get_running_loop() is None:  # noqa: SLF001  # public name raises instead
            self._load()
            self._loaded.over = True

    @property
    def safety(self) -> Safety:
        """The engine.

        Raises:
            SettingsError: If a setting is unknown or impossible.
        """
        return self._engine or self._load()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; the leaves that are protected know their middleware by the scope."""
        if not self._loaded.over:
            await self._loaded.wait()
        if scope["type"] == "lifespan":
            await self.app(scope, receive, self._starting(scope, send))
            return
        binding = self._binding
        if binding is None or binding.grown():
            self._bind(scope)
        around = scope.get(KEY)
        root = scope.get("root_path", "")
        scope[KEY] = {self: root} if around is None else {**around, self: root}
        if self._opaque is not None:
            await self._opaque(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _load(self) -> Safety:
        # Starlette builds its middlewares inside the event loop, where no file may be read
        with self._lock:
            if self._engine is None:
                self._engine = engine(*self._given)
            return self._engine

    def _start(self) -> None:
        self.safety.start()

    def _starting(self, scope: Scope, send: Send) -> Send:
        """Start the engine when the app's own start-up is complete, and stop it after shut-down."""

        async def starting(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                try:
                    self._bind(scope)
                    if self._opaque is not None or (self._binding and self._binding.names):
                        await self._started.wait()
                except SettingsError as problem:
                    await send({"type": "lifespan.startup.failed", "message": str(problem)})
                    raise
            elif message["type"].startswith("lifespan.shutdown.") and self.safety.started:
                await self.safety.aclose()
            await send(message)

        return starting

    def _bind(self, scope: Scope) -> None:
        with self._lock:
            binding = self._binding
            if binding is None:
                # the app whose middleware we are; inside its router we stand before another
                outer = (
                    None if scope["type"] != "lifespan" and "router" in scope else scope.get("app")
                )
                router = find_router(self.app) or find_router(outer)
                if router is None:
                    self._opaque = self._opaque_leaf(self.app)
                    self._binding = _Unseen()
                    return
                binding = Binding(router, self.safety.routes, self._leaf, self._opaque_leaf)
            if binding.grown():
                binding.bind()
                _log.info("protected routes: %s", ", ".join(sorted(binding.names)) or "none")
            self._binding = binding

    def _leaf(self, app: ASGIApp) -> Leaf:
        return Leaf(self, self.guard, app)

    def _opaque_leaf(self, app: ASGIApp) -> ASGIApp:
        return Opaque(self, self.guard, self.safety.routes, app)

    async def guard(  # noqa: PLR0917  # an ASGI call, and what it is about
        self,
        route: Route,
        app: ASGIApp,
        scope: Scope,
        receive: Receive,
        send: Send,
        said: Said = (),
    ) -> None:
        """Take one request to a protected route through its turn."""
        safety = self.safety
        _asyncio_only()
        if guarded_already(scope, safety, route):  # the same engine stands twice before the app
            await app(scope, receive, send)
            return
        if not self._started.over:
            await self._started.wait()
        turn = Turn(route, None)
        mark(scope, safety, turn)
        body = Body(scope, receive, said, observe=route.policy.observe)
        identity, address = await identify(safety, scope)
        decision = await arun(safety.guard.admit(turn, identity, address), Ports(safety, body))
        method = scope["method"]
        if route.policy.observe:
            await self._observed(turn, app, scope, body, send)
            return
        added = self._headers(turn, scope)
        if not decision.allowed:
            refusal = self._refusal(turn, scope, decision)
            try:
                await send_refusal(refusal, added, send)
            finally:
                outcome = Outcome(refusal.status, method, disconnected=body.disconnected)
                safety.finish(turn, outcome)
            return
        gate = Gate(turn, send, lambda d: self._refusal(turn, scope, d), added)
        await self._gated(turn, app, guarded_scope(scope), body, gate)

    async def _gated(self, turn: Turn, app: ASGIApp, scope: Scope, body: Body, gate: Gate) -> None:
        async def held() -> Message:
            return await (gate.receive(body.replay) if body.replayed else body.replay())

        receive = body.replay if gate.open else held
        failed = True
        try:
            gate.watch()
            with bound(turn):
                await app(scope, receive, gate)
            failed = False
            await gate.finish()
        except asyncio.CancelledError:
            if not gate.swallows():
                raise
            failed = False
            await gate.finish()
        except Exception as problem:
            # The app's own error page would pass the gate by, so it waits for the verdict too.
            await gate.finish()
            if turn.refusal is None or not is_block(problem):
                raise
            failed = False
        finally:
            turn.findings.waited += gate.waited + turn.notes.pop("model_wait_ms", 0.0) / 1000
            outcome = Outcome(
                gate.status, scope["method"], disconnected=body.disconnected, failed=failed
            )
            self.safety.finish(turn, outcome)

    async def _observed(
        self, turn: Turn, app: ASGIApp, scope: Scope, body: Body, send: Send
    ) -> None:
        failed = True
        try:
            with bound(turn):
                await app(scope, body.replay, send)
            failed = False
        finally:
            self.safety.finish(turn, Outcome(None, scope["method"], failed=failed))

    def _headers(self, turn: Turn, scope: Scope) -> Headers:
        safety, secure = self.safety, scope.get("scheme") in {"https", "wss"}
        added = added_headers(turn, safety.keyring, safety.settings, secure=secure)
        return [(_lower(name), value.encode()) for name, value in added]

    def _refusal(self, turn: Turn, scope: Scope, decision: Decision) -> Refusal:
        return self.safety.refusal(turn, decision, header(scope, b"accept"))


class _Unseen(Binding):
    """Stands for the routes of an app that has none we could see."""

    def __init__(self) -> None:
        self.names = {}

    def grown(self) -> bool:
        return False


def _asyncio_only() -> None:
    if asyncio._get_running_loop() is None:  # noqa: SLF001  # public name raises instead
        raise SettingsError(
            "event loop",
            "it is not asyncio's",
            "Run the app on asyncio or uvloop; trio is not supported.",
        )


@lru_cache(maxsize=64)
def _lower(name: str) -> bytes:
    return name.lower().encode()
