"""Real servers for the contract: uvicorn for ASGI apps, waitress for Flask, each in a thread."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any


@contextmanager
def asgi(app: Any, *, http: Any = "h11") -> Generator[str, None, None]:
    """Serve *app* with uvicorn; gives the base URL."""
    import uvicorn

    config = uvicorn.Config(app, port=0, log_level="critical", http=http, ws="none")
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            listener.close()
            raise RuntimeError("uvicorn did not start")
        threading.Event().wait(0.005)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()


@contextmanager
def wsgi(app: Any) -> Generator[str, None, None]:
    """Serve *app* with waitress; gives the base URL."""
    from waitress import wasyncore
    from waitress.server import create_server

    server: Any = create_server(app, host="127.0.0.1", port=0, threads=16)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.effective_port}"
    finally:
        server.task_dispatcher.shutdown(timeout=10)
        server.trigger.pull_trigger(lambda: wasyncore.close_all(server._map))  # its loop then ends
        thread.join(20)
