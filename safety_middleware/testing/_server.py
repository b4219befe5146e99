"""A thread with its own event loop that runs an HTTP/1.1 server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from functools import partial

from aiohttp import web

__all__ = ["HOST", "ServerThread"]

HOST = "127.0.0.1"
_STOP_WITHIN = 10.0
_GRACE = 0.05


class ServerThread:
    """Serves from ``start()``, which returns once it listens, to ``stop()``."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        port: int,
        keep_alive: float,
    ) -> None:
        self.port = port
        self._handler = handler
        self._keep_alive = keep_alive
        self._ready = threading.Event()
        self._error: Exception | None = None
        self._wake: Callable[[], object] = self._ready.set
        self._thread = threading.Thread(target=self._run, name="fake-openai", daemon=True)

    def start(self) -> None:
        """Begin to serve.

        Raises:
            OSError: If the port is taken.
            OverflowError: If there is no such port.
        """
        self._thread.start()
        self._ready.wait()
        if self._error:
            self._thread.join()
            raise self._error

    def stop(self) -> None:
        """End every connection, the loop and the thread."""
        self._wake()
        self._thread.join(_STOP_WITHIN)

    def _run(self) -> None:
        try:
            # Not asyncio.run: a policy for the app's loop is none for this one.
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(self._serve())
        except (OSError, OverflowError) as error:
            self._error = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        loop, end = asyncio.get_running_loop(), asyncio.Event()
        self._wake = partial(loop.call_soon_threadsafe, end.set)
        server = web.Server(
            self._handler,
            handler_cancellation=True,
            keepalive_timeout=self._keep_alive,
            access_log=None,
        )
        runner = web.ServerRunner(server, shutdown_timeout=_GRACE)
        await runner.setup()
        try:
            site = web.TCPSite(runner, HOST, self.port, backlog=1024)
            await site.start()
            self.port = runner.addresses[0][1]
            self._ready.set()
            await end.wait()
        finally:
            for connection in server.connections:
                if connection.transport:
                    connection.transport.abort()
            await asyncio.sleep(0)
            await runner.cleanup()
