"""Serves a probe app: python -m tests.servers.serve SERVER FD, with a socket that listens."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any, cast

ASGI = (
    "uvicorn-h11-asyncio",
    "uvicorn-httptools-uvloop",
    "hypercorn",
    "gunicorn-asgi",
)
WSGI = ("gunicorn-gthread", "waitress")
_GRACE = 3
"""Seconds a server may take to end."""


def _uvicorn(http: Any, loop: Any, fd: int) -> None:
    import uvicorn

    config = uvicorn.Config(
        "tests.servers.asgi_app:app",
        http=http,
        loop=loop,
        log_level="warning",
        timeout_graceful_shutdown=_GRACE,
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=fd)])


def _hypercorn(fd: int) -> None:
    from hypercorn import asyncio as hypercorn
    from hypercorn.config import Config

    from .asgi_app import app

    config = Config()
    config.bind = [f"fd://{fd}"]
    config.graceful_timeout = _GRACE
    asyncio.run(cast("Any", hypercorn).serve(app, config))  # its types name no part of theirs


def _gunicorn(fd: int, app: str, *more: str) -> None:
    from gunicorn.app.wsgiapp import run  # type: ignore[import-untyped]  # it has no types

    own = ["--bind", f"fd://{fd}", "--graceful-timeout", str(_GRACE), "--no-control-socket"]
    sys.argv = ["gunicorn", *own, *more, f"tests.servers.{app}:app"]
    run()


def _waitress(fd: int) -> None:
    from waitress import serve

    from .wsgi_app import app

    # by default it keeps pieces back until it has 18,000 bytes, which is no stream of words
    serve(app, sockets=[socket.socket(fileno=fd)], threads=32, send_bytes=1, _quiet=True)


def main(server: str, fd: int) -> None:
    """Serve until a signal comes."""
    match server.split("-"):
        case ["uvicorn", http, loop]:
            _uvicorn(http, loop, fd)
        case ["hypercorn"]:
            _hypercorn(fd)
        case ["gunicorn", "asgi"]:
            _gunicorn(fd, "asgi_app", "--worker-class", "asgi")
        case ["gunicorn", "gthread"]:
            _gunicorn(fd, "wsgi_app", "--worker-class", "gthread", "--threads", "200")
        case _:
            _waitress(fd)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
