"""Ways round the reading: what a handler could find in a request by any reading was checked."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from flask import Flask
from flask import request as flask_request
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from safety_middleware_flask import SafetyMiddleware as FlaskSafety

from .conftest import Bench, raw

SAID = "[[violence]]"
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-7", "latin-1")
TYPES = (
    None,
    "application/json",
    "application/json; charset=utf-16",
    "application/json, text/plain",
    "application/octet-stream",
    "application/vnd.api+json",
    "application/x-ndjson",
    "application/x-www-form-urlencoded",
    "application/xml",
    "image/png",
    "multipart/form-data; boundary=XX",
    "multipart/mixed; boundary=XX",
    "text/html",
    "text/plain",
    "text/plain; charset=utf-7",
)
FIELD = b"Content-Disposition: form-data; "
FORM = "multipart/form-data; boundary=XX"
MESSAGE = SAID.encode()
ESCAPED = "".join(f"\\u{ord(c):04x}" for c in SAID)


def form(*parts: tuple[bytes, bytes], boundary: bytes = b"XX", end: bool = True) -> bytes:
    pieces = [b"--%s\r\n%s\r\n\r\n%s\r\n" % (boundary, head, body) for head, body in parts]
    return b"".join(pieces) + (b"--%s--\r\n" % boundary if end else b"")


BODIES = {
    "json": f'{{"message": "{SAID}"}}'.encode(),
    "escaped json": f'{{"message": "{ESCAPED}"}}'.encode(),
    "lines of json": f'{{"a": 1}}\n{{"message": "{SAID}"}}\n'.encode(),
    "a form": f"message={quote(SAID)}".encode(),
    "text": MESSAGE,
    "utf-7": SAID.encode("utf-7"),
    "parts": form((FIELD + b'name="message"', MESSAGE)),
    **{
        f"{encoding} json": f'{{"message": "{SAID}"}}'.encode(encoding)
        for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32")
    },
    "utf-16 text": SAID.encode("utf-16"),
}
QUIRKS: dict[str, tuple[bytes, str]] = {
    "twice": (form((FIELD + b'name="m"', b"hi"), (FIELD + b'name="m"', MESSAGE)), FORM),
    "a file": (form((FIELD + b'name="f"; filename="a.txt"', MESSAGE)), FORM),
    "a file of another encoding": (
        form((FIELD + b'name="f"; filename="a.txt"', SAID.encode("utf-16"))),
        FORM,
    ),
    "a file that says it is an image": (
        form((FIELD + b'name="f"; filename="a.png"\r\nContent-Type: image/png', MESSAGE)),
        FORM,
    ),
    "a file name": (form((FIELD + b'name="f"; filename="' + MESSAGE + b'"', b"x")), FORM),
    "a coded file name": (
        form((FIELD + b"name=f; filename*=utf-8''" + quote(SAID).encode(), b"x")),
        FORM,
    ),
    "a coded name": (form((FIELD + b"name*=utf-8''m; name=x", MESSAGE)), FORM),
    "a field name": (form((FIELD + b'name="' + MESSAGE + b'"', b"x")), FORM),
    "two dispositions": (
        form((FIELD + b'name="a"\r\nContent-Disposition: form-data; name="m"', MESSAGE)),
        FORM,
    ),
    "bare line feeds": (form((FIELD + b'name="m"', MESSAGE)).replace(b"\r\n", b"\n"), FORM),
    "a preamble": (b"before\r\n" + form((FIELD + b'name="m"', MESSAGE)), FORM),
    "an epilogue": (
        form((FIELD + b'name="m"', b"hi")) + form((FIELD + b'name="m"', MESSAGE)),
        FORM,
    ),
    "no end": (form((FIELD + b'name="m"', MESSAGE), end=False), FORM),
    "a charset": (
        form(
            (
                FIELD + b'name="m"\r\nContent-Type: text/plain; charset=utf-16',
                SAID.encode("utf-16"),
            )
        ),
        FORM,
    ),
    "two boundaries": (
        form((FIELD + b'name="m"', MESSAGE), boundary=b"YY"),
        "multipart/form-data; boundary=XX; boundary=YY",
    ),
    "a continued boundary": (
        form((FIELD + b'name="m"', MESSAGE), boundary=b"YY"),
        "multipart/form-data; boundary*0=Y; boundary*1=Y; boundary=XX",
    ),
    "two keys": (f'{{"m": "{SAID}", "m": "hi"}}'.encode(), "application/json"),
    "a key": (f'{{"{SAID}": 1}}'.encode(), "application/json"),
    "a role": (
        f'{{"messages": [{{"role": "{SAID}", "content": "x"}}]}}'.encode(),
        "application/json",
    ),
    "json in json": (
        json.dumps({"m": f'{{"x": "{ESCAPED}"}}'}).encode(),
        "application/json",
    ),
    "a semicolon": (f"a=1;m={quote(SAID)}".encode(), "application/x-www-form-urlencoded"),
    "a form's name": (f"{quote(SAID)}=1".encode(), "application/x-www-form-urlencoded"),
}


def readings(body: bytes, fields: list[str]) -> list[str]:
    """All that an app could read in a body, by any means."""
    found = list(fields)
    for encoding in ENCODINGS:
        with suppress(UnicodeError):
            found.append(body.decode(encoding))
    with suppress(ValueError, RecursionError):
        found.append(json.dumps(json.loads(body), ensure_ascii=False))
    found += [
        json.loads(f'"{text}"')
        for text in found
        if text.isascii() and '"' not in text and "\\u" in text
    ]
    return found


async def starlette_handler(request: Request) -> Response:
    body = await request.body()
    fields = [str(request.query_params)]
    with suppress(Exception):
        async with request.form() as posted:
            for name, value in posted.multi_items():
                fields.append(name)
                if isinstance(value, str):
                    fields.append(value)
                else:
                    data = await value.read()
                    fields += [value.filename or "", *readings(data, [])]
    return PlainTextResponse("LEAK" if any(SAID in t for t in readings(body, fields)) else "clean")


def flask_handler() -> str:
    body = flask_request.get_data(cache=True)
    fields = [str(flask_request.args.to_dict(flat=False))]
    with suppress(Exception):
        for name, text in flask_request.form.items(multi=True):
            fields += [name, text]
        for name, file in flask_request.files.items(multi=True):
            fields += [name, file.filename or "", *readings(file.read(), [])]
    return "LEAK" if any(SAID in text for text in readings(body, fields)) else "clean"


@pytest.fixture(params=["h11", "httptools", "waitress"])
def client(request: pytest.FixtureRequest, bench: Bench) -> httpx.Client:
    if request.param != "waitress":
        app = bench.guarded([Route("/chat", starlette_handler, methods=["POST"])])
        return bench.serve(app, http=request.param)
    flask = Flask("bodies")
    flask.add_url_rule("/chat", view_func=flask_handler, methods=["POST"])
    FlaskSafety(flask, safety=bench.safety())
    return bench.serve_flask(flask)


def send(client: httpx.Client, body: bytes, *headers: str, query: str = "") -> bytes:
    lines = [f"POST /chat{query} HTTP/1.1", "Host: x", "Connection: close", *headers]
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode()
    return raw(client, head + body)


def passes(answer: bytes) -> bool:
    assert not answer.startswith(b"HTTP/1.1 5")
    return b"LEAK" in answer


def test_no_encoding_under_no_content_type_hides_text(client: httpx.Client) -> None:
    through = [
        (name, kind)
        for name, body in BODIES.items()
        for kind in TYPES
        if passes(send(client, body, *([] if kind is None else [f"Content-Type: {kind}"])))
    ]
    assert through == []


def test_no_quirk_of_forms_and_json_hides_text(client: httpx.Client) -> None:
    through = [
        name
        for name, (body, kind) in QUIRKS.items()
        if passes(send(client, body, f"Content-Type: {kind}"))
    ]
    assert through == []


def test_no_framing_and_no_query_hides_text(client: httpx.Client) -> None:
    body, kind = BODIES["json"], "Content-Type: application/json"
    answers: list[Any] = [
        send(client, b'{"a": "hi"}', kind, query=f"?q={quote(SAID)}"),
        send(client, b'{"a": "hi"}', kind, query=f"?{quote(SAID)}"),
        send(client, b'{"a": "hi"}', kind, query=f"?a=1;q={quote(SAID)}"),
        send(client, b"", query=f"?q={quote(SAID)}"),
        send(client, body, kind, "Content-Encoding: gzip"),
        send(client, body, kind, "Content-Encoding: identity", "Content-Encoding: gzip"),
        send(client, body, f"Content-Type: {FORM}", kind),
        send(client, body, kind, "Expect: 100-continue"),
        raw(client, _chunked(body)),
    ]
    assert not any(map(passes, answers))


def _chunked(body: bytes) -> bytes:
    head = (
        b"POST /chat HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\nTrailer: x-more\r\n\r\n"
    )
    return head + b"".join(b"1\r\n%c\r\n" % b for b in body) + b"0\r\nx-more: y\r\n\r\n"
