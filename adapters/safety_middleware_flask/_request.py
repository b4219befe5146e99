"""Reading one request: what it says, and who sent it."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Future
from functools import partial
from inspect import CO_COROUTINE
from io import BytesIO
from types import FunctionType
from typing import Any

from flask import Flask, Request
from flask.globals import request_ctx
from werkzeug.datastructures import EnvironHeaders

from safety_middleware import Decision, Safety, SettingsError
from safety_middleware.content import FormField, RawRequest
from safety_middleware.identity import (
    SESSION_COOKIE,
    SESSION_USER_KEYS,
    Identity,
    client_address,
)

from ._input import Input

__all__ = ["Ports", "identify", "put_input"]

_context: Callable[[], Any] = request_ctx._get_current_object  # type: ignore[attr-defined]  # noqa: SLF001  # the documented way behind the proxy


class Ports:
    """The blocking I/O of one turn: the engine's, and what only a request can do."""

    __slots__ = ("_input", "_request", "ask", "hit", "load_standing", "save_standing", "write")

    def __init__(self, safety: Safety, request: Request, body: Input | None) -> None:
        self._request = request
        self._input = body
        self.ask = safety.desk.ask_from_thread  # never on a loop of this thread, which waits
        self.hit = safety.hit
        self.load_standing = safety.load_standing
        self.save_standing = safety.save_standing
        self.write = safety.write

    def read_body(self, _limit: int) -> RawRequest:
        """Read the request; the input knows the limit.

        Raises:
            BadInput: If the body is too long or incomplete.
            SettingsError: If the app has used the body up where it can't be read again.
        """
        request, environ = self._request, self._request.environ
        body = self._input.read_body() if self._input is not None else _kept(request)
        return RawRequest(
            method=request.method,
            query=environ.get("QUERY_STRING", "").encode("latin-1"),
            path=tuple(
                [(n, v) for n, v in (request.view_args or {}).items() if isinstance(v, str)]
            ),
            content_type=environ.get("CONTENT_TYPE") or None,
            content_encoding=environ.get("HTTP_CONTENT_ENCODING"),
            body=body,
            forms=partial(_forms, request),
        )

    def wait(self, admitted: Future[Decision]) -> Decision:
        """Wait for the decision about the input."""
        return admitted.result()


def put_input(request: Request, limit: int) -> Input | None:
    """Put an ``Input`` before the server's stream, for this request alone.

    Returns:
        It, or None where the app has begun to read the body already.
    """
    if "stream" in vars(request):
        return None
    body = Input(request.environ, limit)
    # a copy: the environ is the caller's, who may use it again
    request.environ = {**request.environ, "wsgi.input": body}
    if type(request.headers) is EnvironHeaders:
        request.headers = EnvironHeaders(request.environ)
    return body


def _kept(request: Request) -> bytes:
    """A body that the app read before its first ``before_request``."""
    body: bytes | None = getattr(
        request, "_cached_data", None
    )  # get_data() would read what is left
    declared = request.content_length
    if body is None and not declared and "HTTP_TRANSFER_ENCODING" not in request.environ:
        return b""
    if body is None or declared not in {None, len(body)}:
        raise SettingsError(
            "request body",
            "it was used up before SafetyMiddleware could read it",
            "Read it in a before_request function or the view; where it must be earlier, call "
            "request.get_data() first, which keeps it.",
        )
    return body


def _forms(request: Request, body: bytes, content_type: str) -> Iterable[FormField]:
    """The fields that the app's own parser finds: on a request of its own, with no limits.

    ``form`` and ``get_data()`` of the app's request would change what the app reads afterwards,
    and the app's limits are the app's own answer.
    """
    environ = {
        **request.environ,
        "wsgi.input": BytesIO(body),
        "wsgi.input_terminated": True,
        "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": content_type,
    }
    with type(request)(environ, populate_request=False) as shadow:
        shadow.max_content_length = shadow.max_form_memory_size = len(body) + 1
        shadow.max_form_parts = len(body) + 1
        fields = [FormField(name, text) for name, text in shadow.form.items(multi=True)]
        for name, file in shadow.files.items(multi=True):
            fields.append(FormField(name, file.read(), file.filename or "", file.content_type))
    return fields


def identify(safety: Safety, app: Flask, request: Request) -> tuple[Identity, Identity]:
    """Who sent the request, and from which address.

    Raises:
        SettingsError: If ``user`` gave something that is no user's id.
    """
    settings = safety.settings
    cookie = _session()
    noticed = getattr(cookie, "accessed", True)
    try:
        user = _called(app, settings.user) if settings.user else _known_user(app)
        if settings.session is not None:
            own = _called(app, settings.session)
            session = None if own is None else f"app:{own}"
        else:
            session = safety.keyring.read_session(request.cookies.get(SESSION_COOKIE))
    finally:
        cookie.accessed = noticed  # Flask adds ``Vary: Cookie`` where an app looked into it
    forwarded = request.environ.get("HTTP_X_FORWARDED_FOR")
    address = client_address(
        request.environ.get("REMOTE_ADDR"),
        () if forwarded is None else (forwarded,),
        settings.trusted_proxies,
    )
    return safety.identify(user=user, session=session, address=address)


def _known_user(app: Flask) -> str | None:
    """The id of whoever Flask-Login or the app's session says is logged in, or None."""
    login = sys.modules.get("flask_login")  # an app that uses it has imported it
    if login is not None and hasattr(app, "login_manager"):
        user: Any = login.current_user
        return str(user.get_id()) if user.is_authenticated else None
    session = _session()
    for key in SESSION_USER_KEYS:
        if session.get(key):
            return str(session[key])
    return None


def _session() -> Any:
    context = _context()
    session = getattr(context, "_session", None)  # the public name marks it from 3.1.3 on
    return context.session if session is None else session


def _called(app: Flask, function: Any) -> Any:
    # ``ensure_sync`` looks behind every wrapper there could be; a plain function has none
    plain = isinstance(function, FunctionType) and not function.__code__.co_flags & CO_COROUTINE
    value = function() if plain else app.ensure_sync(function)()
    if hasattr(value, "__await__"):  # a plain function that gave a coroutine
        return app.async_to_sync(_awaited)(value)
    return value


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value
