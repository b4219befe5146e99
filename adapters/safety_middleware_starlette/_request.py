"""Reading one request: its body, kept for the app, and who sent it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import Any

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.types import Message, Receive, Scope

from safety_middleware import Decision, Reason, Safety, SettingsError
from safety_middleware.content import FormField, RawRequest
from safety_middleware.errors import BadInput
from safety_middleware.identity import (
    SESSION_COOKIE,
    SESSION_USER_KEYS,
    Identity,
    client_address,
)
from safety_middleware.verdict import wait

__all__ = ["Body", "Ports", "header", "identify"]

_COOKIE = re.compile(rf"(?:^|;\s*){SESSION_COOKIE}=([^;]+)")
_CONTENT = (b"content-type", b"content-encoding", b"content-length")
_BOUNDARY = re.compile(r'(?i)multipart/.*;\s*boundary="?([^";,]+)')
_FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")


def header(scope: Scope, name: bytes) -> str | None:
    """The values of a header joined with commas, or None. *name* in lower case."""
    found = [value for key, value in scope.get("headers", ()) if key == name]
    return b", ".join(found).decode("latin-1") if found else None


class Body:
    """A request's body, read ahead and given to the app again, message by message."""

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        said: tuple[tuple[str, str], ...] = (),
        *,
        observe: bool,
    ) -> None:
        self._scope = scope
        self._receive = receive
        self._said = said
        self._observe = observe
        self._seen: list[Message | Exception] = []
        self.disconnected = False

    async def read(self, limit: int) -> RawRequest:
        """Read the whole body.

        Raises:
            BadInput: If it is longer than *limit* bytes, or the client left half-way.
        """
        kind, encoding, declared = _content_headers(self._scope)
        if declared is not None and declared.isdecimal() and int(declared) > limit:
            raise BadInput(Reason.BODY_TOO_LARGE)
        pieces: list[bytes] = []
        total, more = 0, True
        while more:
            message = await self._next()
            if message["type"] == "http.disconnect":
                self.disconnected = True
                raise BadInput(Reason.UNREADABLE_BODY)
            piece = message.get("body", b"")
            total += len(piece)
            if total > limit:
                raise BadInput(Reason.BODY_TOO_LARGE)
            pieces.append(piece)
            more = message.get("more_body", False)
        whole = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return RawRequest(
            method=self._scope["method"],
            query=self._scope.get("query_string", b""),
            path=self._said,
            content_type=kind,
            content_encoding=encoding,
            body=whole,
            forms=await _app_forms(self._scope, whole, kind) if _is_form(kind) else None,
        )

    async def replay(self) -> Message:
        """The app's ``receive``: what was read, then the server's own."""
        if not self._seen:
            return await self._receive()
        message = self._seen.pop(0)
        if isinstance(message, Exception):
            raise message
        return message

    @property
    def replayed(self) -> bool:
        """True when the app has had everything that was read ahead."""
        return not self._seen

    async def _next(self) -> Message:
        try:
            message = await self._receive()
        except Exception as problem:
            # The app's own limits speak through ``receive``. Where we only observe, the app meets
            # the error itself, where it would have; else it is the app's answer already.
            if not self._observe:
                raise
            self._seen.append(problem)
            raise BadInput(Reason.UNREADABLE_BODY) from problem
        self._seen.append(message)
        return message


class Ports:
    """The I/O of one turn under ASGI: the engine's, and what only a request can do."""

    __slots__ = ("_safety", "ask", "load_standing", "read_body", "save_standing", "write")

    def __init__(self, safety: Safety, body: Body) -> None:
        self._safety = safety
        self.ask = safety.ask
        self.load_standing = safety.aload_standing
        self.save_standing = safety.save_standing
        self.write = safety.write
        self.read_body = body.read

    def hit(self, wanted: Any) -> Any:
        """Count one turn in every bucket."""
        return self._safety.async_limiter.hit(wanted)

    def wait(self, admitted: Future[Decision]) -> Any:
        """Wait for the decision about the input."""
        return wait(admitted)


async def identify(safety: Safety, scope: Scope) -> tuple[Identity, Identity]:
    """Who sent the request, and from which address.

    Raises:
        SettingsError: If the user can't be told for a reason the operator must mend.
    """
    settings = safety.settings
    user = await _called(settings.user, scope, "user") if settings.user else _known_user(scope)
    if settings.session is not None:
        own = await _called(settings.session, scope, "session")
        session = None if own is None else f"app:{own}"
    else:
        session = _our_session(safety, scope)
    forwarded: list[str] = []
    if settings.trusted_proxies:
        forwarded = [
            v.decode("latin-1") for n, v in scope.get("headers", ()) if n == b"x-forwarded-for"
        ]
    client = scope.get("client")
    address = client_address(client[0] if client else None, forwarded, settings.trusted_proxies)
    return safety.identify(user=user, session=session, address=address)


def _our_session(safety: Safety, scope: Scope) -> str | None:
    for name, value in scope.get("headers", ()):
        if name == b"cookie":
            found = _COOKIE.search(value.decode("latin-1"))
            if found is not None:
                return safety.keyring.read_session(found.group(1))
    return None


def _known_user(scope: Scope) -> Any:
    """The id of whoever Starlette's own middlewares found logged in, or None."""
    user = scope.get("user")
    if user is not None and getattr(user, "is_authenticated", False):
        for name in ("identity", "id", "username", "display_name"):
            try:
                value = getattr(user, name, None)
            except NotImplementedError:  # BaseUser leaves ``identity`` to its subclasses
                continue
            if value:
                return str(value)
    if isinstance(scope.get("session"), Mapping):
        session: Mapping[str, Any] = scope["session"]
        for key in SESSION_USER_KEYS:
            if session.get(key):
                return str(session[key])
    return None


async def _called(function: Any, scope: Scope, setting: str) -> Any:
    try:
        value = function(Request(scope))
        return await value if hasattr(value, "__await__") else value
    except AssertionError as problem:
        missing = next((m for m in ("Session", "Authentication") if m in str(problem)), None)
        if missing is None:
            raise
        raise SettingsError(
            setting,
            f"it needs {missing}Middleware, which has not run when SafetyMiddleware asks",
            f"Put app.add_middleware({missing}Middleware, …) on the next line after "
            "app.add_middleware(SafetyMiddleware), on the same app: what is added later runs earlier.",
        ) from problem


def _content_headers(scope: Scope) -> tuple[str | None, str | None, str | None]:
    """``Content-Type``, ``-Encoding`` and ``-Length``, in one pass; repeated ones joined."""
    found: dict[bytes, bytes] = {}
    for name, value in scope.get("headers", ()):
        if name in _CONTENT:
            found[name] = found[name] + b", " + value if name in found else value
    kind, encoding, length = map(found.get, _CONTENT)
    return (
        None if kind is None else kind.decode("latin-1"),
        None if encoding is None else encoding.decode("latin-1"),
        None if length is None else length.decode("latin-1"),
    )


def _is_form(content_type: str | None) -> bool:
    return content_type is not None and content_type.strip().lower().startswith(_FORMS)


async def _app_forms(scope: Scope, body: bytes, content_type: str | None) -> Any:
    """What the app's own parser makes of a form, as the reader that extraction asks."""
    if content_type is None:
        return None
    if _unfinished(content_type, body):
        return _unreadable

    async def once() -> Message:
        return {"type": "http.request", "body": body}

    fields: list[FormField] = []
    problem: Exception | None = None
    try:
        async with Request(scope, once).form() as form:
            for name, value in form.multi_items():
                if isinstance(value, UploadFile):
                    data = await value.read()
                    fields.append(FormField(name, data, value.filename, value.content_type))
                else:
                    fields.append(FormField(name, value, None, None))
    except AssertionError:  # python-multipart is not there: the app can't read a form either
        return None
    except Exception as unreadable:
        problem = unreadable

    def read(_body: bytes, _content_type: str) -> Iterable[FormField]:
        if problem is not None:
            raise problem
        return fields

    return read


def _unfinished(content_type: str, body: bytes) -> bool:
    """Whether a multipart body lacks its closing boundary; Starlette leaves its last file open."""
    boundary = _BOUNDARY.search(content_type)
    return boundary is not None and f"--{boundary.group(1)}--".encode("latin-1") not in body


def _unreadable(_body: bytes, _content_type: str) -> Iterable[FormField]:
    raise ValueError("the form has no end")
