"""What has to be read or opened before a request can go on, done where blocking is allowed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from anyio import to_thread

__all__ = ["Opening"]


class Opening:
    """Work that a thread does once, before the first requests go on.

    On asyncio those that came meanwhile go on together and in their order, as if there had been
    nothing to wait for; a thread for each would shuffle them.

    Args:
        work: Idempotent; called again where it failed, and on each event loop that needs it.

    Attributes:
        over: Nobody has to wait any more. Set on the event loop and not by the thread, so that a
            request which comes at that very moment does not overtake those that wait.
    """

    def __init__(self, work: Callable[[], object]) -> None:
        self.over = False
        self._work = work
        self._doing: asyncio.Future[object] | None = None

    async def wait(self) -> None:
        """Have the work done, or wait until it is; raises what it raised."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # trio
            await to_thread.run_sync(self._work)
        else:
            doing = self._doing
            if doing is None or doing.done() or doing.get_loop() is not loop:
                doing = self._doing = loop.run_in_executor(None, self._work)
            await asyncio.shield(doing)  # one that is cancelled does not end it for the others
        self.over = True
