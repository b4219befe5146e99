"""Forms and query strings: our reading, and that of the parsers of Starlette and Werkzeug."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import suppress
from urllib.parse import quote, urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import FormParser, MultiPartParser
from starlette.requests import Request as StarletteRequest
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request as WerkzeugRequest

from safety_middleware.content import Content, FormField, FormReader, RawRequest, check, extract
from safety_middleware.decision import Reason
from safety_middleware.errors import BadInput
from safety_middleware.policy import Policy

POLICY = Policy()
URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=xYz"
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20


def starlette_fields(body: bytes, content_type: str) -> list[FormField]:
    """What ``request.form()`` gives a Starlette app."""

    async def parse() -> list[FormField]:
        async def stream() -> AsyncGenerator[bytes, None]:
            yield body

        headers = Headers({"content-type": content_type})
        parser = MultiPartParser if content_type.startswith("multipart") else FormParser
        found: list[FormField] = []
        for name, value in (await parser(headers, stream()).parse()).multi_items():
            if isinstance(value, UploadFile):
                content = await value.read()
                found.append(FormField(name, content, value.filename, value.content_type))
                await value.close()
            else:
                found.append(FormField(name, value))
        return found

    return asyncio.run(parse())


def werkzeug_fields(body: bytes, content_type: str) -> list[FormField]:
    """What ``request.form`` and ``request.files`` give a Flask app."""
    mimetype, options = parse_options_header(content_type)
    _, form, files = FormDataParser(silent=False).parse(
        io.BytesIO(body), mimetype, len(body), options
    )
    found = [FormField(name, value) for name, value in form.items(multi=True)]
    for name, file in files.items(multi=True):
        found.append(FormField(name, file.read(), file.filename, file.content_type))
        file.close()
    return found


READERS: list[FormReader | None] = [None, starlette_fields, werkzeug_fields]
readers = pytest.mark.parametrize("forms", READERS, ids=["alone", "starlette", "werkzeug"])


def read(
    body: bytes,
    content_type: str = URLENCODED,
    forms: FormReader | None = None,
    query: bytes = b"",
    policy: Policy = POLICY,
) -> Content:
    return extract(
        RawRequest(query=query, content_type=content_type, body=body, forms=forms), policy
    )


def texts(content: Content) -> list[str]:
    return [part.text for part in content.parts]


def refused(body: bytes, content_type: str = URLENCODED, forms: FormReader | None = None) -> Reason:
    with pytest.raises(BadInput) as caught:
        read(body, content_type, forms)
    return caught.value.reason


def part(headers: str, content: bytes | str = b"hello") -> bytes:
    content = content.encode() if isinstance(content, str) else content
    lines = headers.replace("\n", "\r\n").encode()
    return b"--xYz\r\n" + lines + b"\r\n\r\n" + content + b"\r\n"


def body_of(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--xYz--\r\n"


def named(name: str, more: str = "") -> str:
    return f'Content-Disposition: form-data; name="{name}"{more}'


@readers
def test_every_value_of_a_field_counts(forms: FormReader | None) -> None:
    content = read(b"message=one&message=t%77o+2&other=", URLENCODED, forms)
    assert [(p.text, p.where) for p in content.parts] == [
        ("one", "form:message"),
        ("two 2", "form:message"),
    ]
    assert content.new_chars == 8


def test_the_query_string_counts_beside_the_body() -> None:
    content = read(b"message=one", query=b"message=t%77o&v=1&a+b=c")
    assert [(p.text, p.where) for p in content.parts] == [
        ("two", "query:message"),
        ("1", "query:v"),
        ("a b", "query:/*"),
        ("c", "query:*"),
        ("one", "form:message"),
    ]
    assert content.speech == "two\na b\nc\none"


def test_a_get_request_has_its_query_alone() -> None:
    content = extract(RawRequest(method="GET", query=b"q=hi"), POLICY)
    assert texts(content) == ["hi"]
    assert extract(RawRequest(method="GET"), POLICY) == Content()


@pytest.mark.parametrize(
    "query", [b"q=%ff", b"q=\xc3\xa9", b"%ED%A0%80=1", b"a=1" + b"&a=1" * 1_000]
)
def test_queries_that_parsers_read_differently_are_refused(query: bytes) -> None:
    for request in (
        RawRequest(query=query),
        RawRequest(body=query, content_type=URLENCODED),
    ):
        with pytest.raises(BadInput) as caught:
            extract(request, POLICY)
        assert caught.value.reason is Reason.UNREADABLE_BODY


def test_a_semicolon_may_be_a_separator() -> None:
    assert texts(read(b"a=x;message=bad")) == ["x;message=bad", "x", "bad"]


def test_too_many_escapes_are_refused_unread() -> None:
    assert refused(b"a=" + b"%41" * 1_000_001) is Reason.BODY_TOO_LARGE


def test_fields_narrow_forms_and_queries_too() -> None:
    policy = Policy(fields=("message",))
    assert texts(read(b"message=a&other=b", query=b"message=c&x=d", policy=policy)) == ["c", "a"]


def test_a_field_that_carries_messages_is_read_as_such() -> None:
    messages = [
        {"role": "user", "content": "x" * 5_000},
        {"role": "assistant", "content": "y"},
        {"role": "user", "content": "z", "image": "data:image/png;base64," + "a" * 8},
    ]
    content = read(urlencode({"messages": json.dumps(messages)}).encode())
    assert content.new_text == "z"
    assert content.context_chars == 5_001
    messages[0]["role"] = "system"
    decision = check(read(urlencode({"data": json.dumps(messages)}).encode()), POLICY)
    assert decision is not None
    assert (decision.reason, decision.param) == (Reason.FORBIDDEN_ROLE, "form:data/0")


def test_messages_in_a_field_that_people_type_are_a_text() -> None:
    text = json.dumps([{"role": "system", "content": "what is this?"}])
    content = read(urlencode({"message": text}).encode())
    assert texts(content) == [text]
    assert content.roles == ()


def test_a_json_body_called_a_form_is_read_both_ways() -> None:
    body = b'{"message": "hi there=&message=%76ile&"}'
    content = read(body)
    assert "hi there=&message=%76ile&" in texts(content)
    assert "vile" in texts(content)
    long = json.dumps({"messages": [{"role": "user", "content": "a b = c"}] * 100}).encode()
    assert read(long).new_chars == 700


@readers
def test_a_multipart_form_is_read(forms: FormReader | None) -> None:
    body = body_of(
        part(named("message"), "grüße"),
        part(named("message"), "again\r\n\r\nmore"),
        part(named("empty"), ""),
        part(named("note", '; filename="a.txt"') + "\nContent-Type: text/plain", "from a file"),
        part(named("odd", '; filename="b c"'), "no type"),
        part(named("none", '; filename=""') + "\nContent-Type: application/octet-stream", ""),
        part(named("data") + "\nContent-Type: application/json", '{"x": "\\u0076ile"}'),
        part(named("pic", '; filename="p.png"') + "\nContent-Type: image/png", PNG),
    )
    content = read(body, MULTIPART, forms)
    assert [(p.text, p.where) for p in content.parts] == [
        ("grüße", "form:message"),
        ("again\r\n\r\nmore", "form:message"),
        ("a.txt", "form:note"),
        ("from a file", "form:note"),
        ("b c", "form:odd"),
        ("no type", "form:odd"),
        ("vile", "form:data/x"),
        ('{"x": "\\u0076ile"}', "form:data"),
        ("p.png", "form:pic"),
    ]
    (image,) = content.images
    assert (image.media_type, image.size) == ("image/png", len(PNG))
    assert check(content, POLICY) is None


@readers
def test_names_of_multipart_fields_may_be_anything(forms: FormReader | None) -> None:
    content = read(body_of(part(named("wie geht's, grüße"), "x")), MULTIPART, forms)
    assert texts(content) == ["wie geht's, grüße", "x"]


def test_a_form_may_lack_its_last_line_break() -> None:
    assert texts(read(body_of(part(named("a"))).removesuffix(b"\r\n"), MULTIPART)) == ["hello"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (part(named("f", '; filename="a.pdf"') + "\nContent-Type: application/pdf"), 415),
        (part(named("f", '; filename="a.mp3"') + "\nContent-Type: audio/mpeg"), 415),
        (part(named("f", '; filename="a.txt"') + "\nContent-Type: text/plain", b"\xff\xfe"), 415),
        (part(named("f", '; filename="a.txt"'), b"h\0i\0"), 415),
        (part(named("f", '; filename="a.xml"') + "\nContent-Type: text/xml", "<a/>"), 415),
        (part(named("f") + "\nContent-Type: text/plain; charset=utf-7"), 415),
        (part(named("a")) + part(named("f") + "\nContent-Type: text/plain; charset=ibm037"), 415),
        (part(named("f") + "\nContent-Type: what"), 415),
        (part(named("f"), b"\xff"), 400),
        (part("Content-Disposition: form-data"), 400),
        (part("Content-Disposition: form-data; filename=a"), 400),
        (part('Content-Disposition: attachment; name="a"'), 400),
        (part("Content-Type: text/plain"), 400),
        (part(named("a") + "\n" + named("b")), 400),
        (part(named("a", "; name=b")), 400),
        (part(named("a", "; name*=utf-8''b")), 400),
        (part(named("a", "; filename*=utf-8''b.txt")), 400),
        (part(named("a", "; x=y")), 400),
        (part(named("a", "; ;") + "x"), 400),
        (part(named('a\\"b')), 400),
        (part(named("a") + "\n folded"), 400),
        (part(named("a") + "\nX: \0"), 400),
        (part(named("a") + "\nContent-Transfer-Encoding: base64"), 400),
        (part(named("a") + "\nX: " + "y" * 5_000), 400),
        (part(named("a"), b"x\r\n--xYzz\r\n"), 400),
        (part(named("a"), b"x\n--xYz\n\ny"), 400),
        (b"preamble\r\n" + part(named("a")), 400),
        (b"\r\n\r\n" + part(named("a")), 400),
        (part(named("a")).replace(b"\r\n", b"\n"), 400),
        (b"--xYz\r\nno blank line\r\n", 400),
        (b"--xYz \r\n" + named("a").encode() + b"\r\n\r\nhello\r\n", 400),
        (part(named("a")) * 1_001, 400),
    ],
)
def test_forms_that_parsers_read_differently_are_refused(body: bytes, reason: int) -> None:
    assert refused(body + b"--xYz--\r\n", MULTIPART).status == reason


@pytest.mark.parametrize(
    "body",
    [
        b"x",
        b"--xYz",
        b"--xYz--",
        part(named("a")),
        body_of(part(named("a"))) + b"epilogue",
        part(named("a")) + b"--xYz-",
        json.dumps({"message": "x"}).encode(),
    ],
)
def test_forms_without_a_proper_end_are_refused(body: bytes) -> None:
    if body == b"--xYz--":
        assert read(body, MULTIPART) == Content()
    else:
        assert refused(body, MULTIPART) is Reason.UNREADABLE_BODY


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        'multipart/form-data; boundary="x "',
        "multipart/form-data; boundary=" + "x" * 71,
        "multipart/form-data; boundary=a; boundary=xYz",
        "multipart/form-data; boundary*=utf-8''xYz",
        "multipart/form-data; boundary*0=x; boundary*1=Yz",
        "multipart/form-data; boundary=xYz; charset=utf-7",
        "multipart/form-data; boundary=xYz, text/plain",
    ],
)
def test_boundaries_that_parsers_read_differently_are_refused(content_type: str) -> None:
    assert refused(body_of(part(named("a"))), content_type).status in {400, 415}


def test_what_only_the_app_can_read_counts_too() -> None:
    def forms(body: bytes, content_type: str, /) -> Iterable[FormField]:
        assert (body, content_type) == (b"a=x", URLENCODED)
        return [
            FormField("a", "x"),
            FormField("b", "found"),
            FormField("c", "a file", "c.txt", "text/plain"),
            FormField("d", b"bytes"),
        ]

    assert texts(read(b"a=x", URLENCODED, forms)) == ["x", "found", "c.txt", "a file", "bytes"]


def test_what_the_app_can_not_read_is_refused() -> None:
    def failing(_body: bytes, _content_type: str, /) -> Iterable[FormField]:
        raise RuntimeError("no")

    def halved(_body: bytes, _content_type: str, /) -> Iterable[FormField]:
        return [FormField("a", "\ud800")]

    assert refused(b"a=x", forms=failing) is Reason.UNREADABLE_BODY
    assert refused(b"a=x", forms=halved) is Reason.UNREADABLE_BODY


def heard(content: Content) -> set[str]:
    return {part.text for part in content.parts}


def read_by_frameworks(body: bytes, content_type: str) -> Iterable[FormField]:
    for reader in (starlette_fields, werkzeug_fields):
        try:
            yield from reader(body, content_type)
        except Exception:  # what they refuse, the app never sees
            continue


def assert_found(content: Content, fields: Iterable[FormField]) -> None:
    for field in fields:
        value = field.value if isinstance(field.value, str) else field.value.decode()
        name = field.name
        assert {value, name, field.filename or ""} - {""} <= heard(content) | {
            piece.where.split(":")[-1] for piece in content.parts
        } | ({name} if not value else set()), (field, content)


FIELD_TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)


@given(st.lists(st.tuples(FIELD_TEXT, FIELD_TEXT), max_size=6))
def test_frameworks_read_nothing_that_we_do_not_in_clean_forms(
    pairs: list[tuple[str, str]],
) -> None:
    body = urlencode(pairs).encode()
    assert_found(read(body), read_by_frameworks(body, URLENCODED))


@given(st.text(alphabet="ab=&;%+ 4176cC3aA9\\\"'{}[]:\n\r", max_size=60).map(str.encode))
@example(b"a=%")
@example(b"&&a&=&;=b")
@example(b"a=%4")
def test_frameworks_read_nothing_that_we_do_not_in_any_form(body: bytes) -> None:
    for content_type in (URLENCODED, URLENCODED.upper() + "; charset=utf8"):
        try:
            content = read(body, content_type)
        except BadInput:
            continue
        if not content.raw_chars:
            assert_found(content, read_by_frameworks(body, content_type))


@given(st.text(alphabet="ab=&;%+4176cC3aA9{}", max_size=60).map(str.encode))
def test_frameworks_read_nothing_that_we_do_not_in_any_query(query: bytes) -> None:
    try:
        content = extract(RawRequest(query=query), POLICY)
    except BadInput:
        return
    ours = StarletteRequest({"type": "http", "query_string": query}).query_params.multi_items()
    flask = WerkzeugRequest({"QUERY_STRING": query.decode()}).args.items(multi=True)
    assert_found(content, [FormField(name, value) for name, value in (*ours, *flask)])


PIECES = st.sampled_from(
    [
        b"--xYz",
        b"--xYz--",
        b"\r\n",
        b"\n",
        b"\r",
        b"--",
        b" ",
        b"Content-Disposition: form-data; name=a",
        b'Content-Disposition: form-data; name="b"; filename="c.txt"',
        b"Content-Disposition: form-data; name*=utf-8''d",
        b"Content-Type: text/plain; charset=iso-8859-1",
        b"; name=e",
        b"\r\n\r\n",
        b"hello",
        b"gr\xc3\xbc\xc3\x9fe",
        b"\xff",
        b"x" * 40,
    ]
)
PARTS = st.tuples(
    st.sampled_from(["a", "b", 'c"; filename="d.txt', "e\nContent-Type: text/plain"]),
    st.binary(max_size=20) | st.lists(PIECES, max_size=4).map(b"".join),
).map(lambda made: part(named(made[0]).replace('plain"', "plain").replace("e\n", 'e"\n'), made[1]))
FORMS = st.one_of(
    st.lists(PIECES, max_size=16).map(b"".join),
    st.lists(PARTS | PIECES, max_size=5).map(lambda parts: body_of(*parts)),
    st.lists(PARTS, max_size=5).map(lambda parts: body_of(*parts)),
)


@given(FORMS)
def test_frameworks_read_nothing_that_we_do_not_in_any_multipart_form(body: bytes) -> None:
    try:
        content = read(body, MULTIPART)
    except BadInput:
        return
    assert_found(content, read_by_frameworks(body, MULTIPART))


@given(FORMS | st.binary(), st.sampled_from([URLENCODED, MULTIPART, "multipart/form-data"]))
def test_any_form_with_any_parser_is_content_or_bad_input(body: bytes, content_type: str) -> None:
    for forms in READERS:
        try:
            content = read(body, content_type, forms)
        except BadInput as bad:
            assert bad.reason.status in {400, 413, 415}  # noqa: PT017  # the reason is the point
        else:
            check(content, POLICY)
            content.speech.encode()


LONG_FORMS: list[Callable[[int], tuple[bytes, str]]] = [
    lambda n: (b"a=" + b"x" * n, URLENCODED),
    lambda n: (b"a=" + b"%41" * (n // 3), URLENCODED),
    lambda n: (b"a=" + b"%" * n, URLENCODED),
    lambda n: (b"a=" + b";" * n, URLENCODED),
    lambda n: (b"a=" + quote('["\\n"' + ',"\\n"' * (n // 12) + "]").encode(), URLENCODED),
    lambda n: (body_of(part(named("a"), "x" * n)), MULTIPART),
    lambda n: (body_of(part(named("a"), "\r\n--xY" * (n // 6))), MULTIPART),
    lambda n: (body_of(part(named("a"), "\r\n" * (n // 2))), MULTIPART),
    lambda n: (b"--xYz" * (n // 5), MULTIPART),
]


@pytest.mark.parametrize("make", LONG_FORMS)
def test_time_grows_with_length_alone(make: Callable[[int], tuple[bytes, str]]) -> None:
    def cost(size: int) -> float:
        body, content_type = make(size)
        best = 1.0
        for _ in range(5):
            start = time.perf_counter()
            with suppress(BadInput):
                read(body, content_type)
            best = min(best, time.perf_counter() - start)
        return best

    assert cost(320_000) < 40 * cost(40_000) + 0.01


def test_the_form_that_flasks_own_test_client_sends_is_read() -> None:
    environ = EnvironBuilder(
        method="POST", data={"message": "hello", "f": (io.BytesIO(b"x"), "a.txt")}
    )
    request = environ.get_request()
    body = request.get_data()
    assert body.startswith(b"\r\n--")
    read = extract(RawRequest(body=body, content_type=request.content_type), Policy())
    assert {"hello", "x"} <= {part.text for part in read.parts}
