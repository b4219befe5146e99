"""What leaves to the client: not one byte of a reply before the input's verdict."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import Future

from anyio import current_effective_deadline
from starlette.types import Message, Receive, Scope, Send

from safety_middleware.decision import Decision
from safety_middleware.headers import keeps
from safety_middleware.refusal import Refusal
from safety_middleware.turn import Turn
from safety_middleware.verdict import wait

__all__ = ["Gate", "Headers", "send_refusal"]

Headers = list[tuple[bytes, bytes]]


class Gate:
    """Stands between an app and the server for one turn, and looks at the verdict in ``send``.

    A gate that only cancelled the app's task would leak: a response may be sent from a child
    task that runs once more before the cancellation arrives.

    Args:
        turn: The turn.
        send: The server's.
        refuse: Renders the refusal of a decision.
        added: Headers for the reply, whatever becomes of it.

    Attributes:
        open: The input was allowed before the app is called, so that nothing is ever held back.
        status: HTTP status of the reply, once it is sent.
        waited: Seconds that the reply waited for the verdict.
    """

    # on the class, because most turns are decided before their app is called
    status: int | None = None
    waited = 0.0
    _before = 0
    _loop: asyncio.AbstractEventLoop
    _task: asyncio.Task[object] | None = None
    _flush: asyncio.Lock | None = None
    _refusing: asyncio.Task[None] | None = None
    _cancelled = False
    _returned = False

    def __init__(
        self, turn: Turn, send: Send, refuse: Callable[[Decision], Refusal], added: Headers
    ) -> None:
        self._turn = turn
        self._send = send
        self._refuse = refuse
        self._added = added
        self._held: list[Message] = []
        decision = turn.decided
        self.open = decision is not None and decision.allowed
        if not self.open:
            self._loop = asyncio.get_running_loop()
            self._task = asyncio.current_task()
            self._before = 0 if self._task is None else self._task.cancelling()

    async def __call__(self, message: Message) -> None:
        """The app's ``send``."""
        if self.open:
            await self._send(self._noted(message))
            return
        decision = self._turn.decided
        if decision is None:
            if self._silent(message):
                self._held.append(message)
                return
            began = time.monotonic()
            try:
                decision = await wait(self._turn.admitted)
            except asyncio.CancelledError:
                if current_effective_deadline() > -math.inf:
                    raise
                # A scope of anyio goes on cancelling. Without us there was no wait here, and it met
                # the app in the generator that makes the reply, which then closes its model call;
                # a generator left standing would keep that open until garbage is collected.
                self._held.append(message)
                return
            finally:
                self.waited += time.monotonic() - began
        if not decision.allowed:
            await self._ended()
            return
        await self._release()
        await self._send(self._noted(message))

    def watch(self) -> None:
        """Refuse as soon as the verdict blocks, whatever the app is doing then."""
        if self._turn.decided is None:
            self._turn.admitted.add_done_callback(self._decided)

    async def finish(self) -> None:
        """The app has returned: let go what is still held, or see the refusal out."""
        self._returned = True
        if self._cancelled and self._task is not None and self._task.cancelling() > self._before:
            self._task.uncancel()  # the app has swallowed it, which is no reason to go on with it
        if self._turn.decided is None:
            await wait(self._turn.admitted)
        if self._turn.refusal is None:
            await self._release()
        elif self._refusing is not None:
            await self._refusing
        elif self.status is None:
            await self._answer()

    def swallows(self) -> bool:
        """Whether a cancellation that reached us is the one we sent to end the app.

        If not, the request is ended from outside, and nothing more is sent.
        """
        task = self._task
        if self._cancelled and task is not None and task.uncancel() <= self._before:
            return True
        self._returned = True
        return False

    async def receive(self, receive: Receive) -> Message:
        """The app's ``receive`` once the body is read: a refused turn has no client any more."""
        if self._turn.refusal is not None:
            return {"type": "http.disconnect"}
        return await receive()

    def _silent(self, message: Message) -> bool:
        """Whether *message* shows nothing of the reply's body, so that the app may go on."""
        if message["type"] != "http.response.body":
            return bool(message["type"] != "http.response.trailers")
        empties = sum(held["type"] == "http.response.body" for held in self._held)
        return not empties and not message.get("body") and bool(message.get("more_body"))

    async def _ended(self) -> None:
        """Stay until the app is told, so that nothing it does after its reply is begun."""
        if self._refusing is None:
            self._block()
        if self._refusing is not None and not self._cancelled:
            await asyncio.wait((self._refusing,))

    async def _release(self) -> None:
        if not self._held:
            return
        self._flush = self._flush or asyncio.Lock()
        async with self._flush:  # two of the app's tasks may wait at once; order stays
            while self._held:
                await self._send(self._noted(self._held.pop(0)))

    def _noted(self, message: Message) -> Message:
        """*message* as it goes to the server: the start of a reply gets our headers."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self._added:
                return {**message, "headers": [*message.get("headers", ()), *self._added]}
        return message

    def _decided(self, admitted: Future[Decision]) -> None:
        if admitted.result().allowed:
            return
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            self._block()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._block)

    def _block(self) -> None:
        if self._refusing is None and not self._returned and self.status is None:
            self._refusing = self._loop.create_task(self._refuse_now())

    async def _refuse_now(self) -> None:
        # The refusal goes out before the app is told: a handler that swallows cancellation, or
        # sits in a thread, would hold it back for as long as it likes.
        try:
            await self._answer()
        finally:
            if not self._returned and self._task is not None:
                self._cancelled = True
                self._task.cancel()

    async def _answer(self) -> None:
        refusal = self._refuse(self._turn.decided or Decision())
        self.status = refusal.status
        await send_refusal(refusal, [*self._kept(), *self._added], self._send)

    def _kept(self) -> Headers:
        start = next((m for m in self._held if m["type"] == "http.response.start"), None)
        headers: Headers = [] if start is None else [(n, v) for n, v in start.get("headers", ())]
        return [(n, v) for n, v in headers if keeps(n.decode("latin-1"))]


async def send_refusal(refusal: Refusal, headers: Headers, send: Send) -> None:
    """Send *refusal* as the whole answer, with *headers* besides its own."""
    own = [
        (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in refusal.headers
    ]
    names = {name for name, _ in own}
    more = [(name, value) for name, value in headers if name.lower() not in names]
    await send({"type": "http.response.start", "status": refusal.status, "headers": own + more})
    await send({"type": "http.response.body", "body": refusal.body})


def guarded_scope(scope: Scope) -> Scope:
    """*scope* without the extensions through which bytes would pass the gate by."""
    extensions = scope.get("extensions")
    if not extensions:
        return scope
    kept = {name: value for name, value in extensions.items() if name == "http.response.debug"}
    return {**scope, "extensions": kept}
