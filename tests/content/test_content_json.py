"""JSON bodies: what counts as text, what is refused, and every encoding an app would decode."""

from __future__ import annotations

import inspect
import json
import sys
import time
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_middleware.content import Content, RawRequest, check, extract
from safety_middleware.decision import Reason
from safety_middleware.errors import BadInput
from safety_middleware.policy import Policy

POLICY = Policy()
UTF8 = "application/json"


def read(body: bytes, content_type: str | None = UTF8, policy: Policy = POLICY) -> Content:
    return extract(RawRequest(body=body, content_type=content_type), policy)


def read_value(value: Any, policy: Policy = POLICY) -> Content:
    return read(json.dumps(value).encode(), policy=policy)


def texts(content: Content) -> list[str]:
    return [part.text for part in content.parts]


def refused(body: bytes, content_type: str | None = UTF8) -> Reason:
    with pytest.raises(BadInput) as caught:
        read(body, content_type)
    return caught.value.reason


def test_every_string_counts_wherever_it_is() -> None:
    content = read_value({"message": "a", "more": {"deep": ["b", {"x": "c"}]}, "n": 7, "no": None})
    assert [(part.text, part.where) for part in content.parts] == [
        ("a", "/message"),
        ("b", "/more/deep/0"),
        ("c", "/more/deep/1/x"),
    ]
    assert content.new_text == "a\nb\nc"
    assert content.new_chars == 3
    assert content.context_chars == 0


def test_an_empty_body_is_empty_content() -> None:
    assert read(b"") == Content()
    assert check(read(b""), POLICY) is None


def test_a_body_that_is_one_string_counts() -> None:
    content = read(b' "hello" ')
    assert [(part.text, part.where) for part in content.parts] == [("hello", "/")]


@pytest.mark.parametrize("body", [b"7", b"null", b"true", b"{}", b"[]", b'""', b'{"a": ""}'])
def test_values_without_text_are_fine(body: bytes) -> None:
    assert read(body).parts == ()


def test_keys_that_are_no_names_are_text() -> None:
    content = read_value({"how to build a bomb": 1, "a~/b": "x", "": "y"})
    assert [(part.text, part.where) for part in content.parts] == [
        ("how to build a bomb", "/*"),
        ("a~/b", "/*"),
        ("x", "/*"),
        ("y", "/*"),
    ]
    assert "how to build a bomb" in content.speech


@pytest.mark.parametrize("key", ["k" * 41, "how_do_i_build_one_at_home_now"])
def test_long_keys_are_text_however_they_are_spelt(key: str) -> None:
    assert texts(read_value({key: 1})) == [key]


def test_keys_the_operator_wrote_are_places() -> None:
    policy = Policy(fields=("Your message", "/a~1b"))
    content = read_value({"Your message": "x", "a/b": "y", "c d": "z"}, policy)
    assert [(p.text, p.where) for p in content.parts] == [("x", "/Your message"), ("y", "/a~1b")]


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"],
)
@pytest.mark.parametrize("content_type", [UTF8, None, "text/plain", "application/x-unheard-of"])
def test_unlabelled_json_is_decoded_as_the_app_decodes_it(
    encoding: str, content_type: str | None
) -> None:
    body = json.dumps({"message": "grüße 😀"}, ensure_ascii=False).encode(encoding)
    assert json.loads(body) == {"message": "grüße 😀"}
    assert texts(read(body, content_type)) == ["grüße 😀"]


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "text/plain;charset=UTF-8",
        "application/octet-stream",
        "image/png",
        "application/pdf",
        "application/x-www-form-urlencoded",
        "application/vnd.api+json",
        "text/json",
        'Application/JSON ; Charset="utf-8";',
    ],
)
def test_json_is_read_whatever_it_is_called(content_type: str | None) -> None:
    content = read(b'{"message": "\\u0076ile", "role": "x"}', content_type)
    assert texts(content)[0] == "vile"


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": 1, "a": 2}',
        b'{"x": [{"a": "good", "\\u0061": "bad"}]}',
        b'{"a": NaN}',
        b"[Infinity]",
        b"[-Infinity]",
        b"[1e99999]",
        b"[" + b"9" * 5000 + b"]",
        b"[" * 65 + b"]" * 65,
        b'{"a":' * 65 + b"1" + b"}" * 65,
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'"\\ud800"',
        b'{"\\udfff": 1}',
        b'["\\ud83d\\ude00", "\\uDE00"]',
        b'"\xed\xa0\x80"',
        b'"\xff"',
        b"\xff\xfe\x00\xd8",
        b"{",
        b"{'a': 1}",
        b'{"a": 1} x',
        b'"a\nb"',
        b" ",
        b"\xef\xbb\xbf\xef\xbb\xbf{}",
    ],
)
def test_doubtful_json_is_refused(body: bytes) -> None:
    assert refused(body) is Reason.UNREADABLE_BODY


@pytest.mark.parametrize("body", [b'{"a": 1, "a": 2}', b"[NaN]", b'"\\ud800"', b"[" * 9_000])
def test_doubtful_json_is_refused_whatever_it_is_called(body: bytes) -> None:
    assert refused(body, "text/plain") is Reason.UNREADABLE_BODY


@pytest.mark.parametrize(
    "text",
    ["NaN", "[NaN is no number", '{"a": 1, "a": 2} why is this wrong?', "[1e9999 apples]", "{x}"],
)
def test_plain_text_that_begins_like_json_stays_text(text: str) -> None:
    assert texts(read(text.encode(), "text/plain")) == [text]


def test_json_of_many_digits_that_is_not_json_after_all_is_refused_too() -> None:
    body = b'[{"a": 1, "a": 2}, ' + b"9" * 5000 + b"]"
    assert refused(body, "text/plain") is Reason.UNREADABLE_BODY


def test_paired_surrogates_are_fine() -> None:
    assert texts(read(b'"\\ud83d\\ude00"')) == ["\N{GRINNING FACE}"]


def test_nesting_of_64_is_fine() -> None:
    assert texts(read(b"[" * 64 + b'"x"' + b"]" * 64)) == ["x"]


def test_too_many_values_are_refused_before_they_are_parsed() -> None:
    assert refused(b"[" + b"1," * 50_001 + b"1]") is Reason.BODY_TOO_LARGE


def test_a_stack_that_is_nearly_full_refuses() -> None:
    body = b"[" * 60 + b"]" * 60

    def deeper(frames: int) -> Content:
        return deeper(frames - 1) if frames else read(body)

    limit = sys.getrecursionlimit()
    depth = len(inspect.stack())
    sys.setrecursionlimit(depth + 260)
    try:
        with pytest.raises(BadInput):
            deeper(130)
    finally:
        sys.setrecursionlimit(limit)


@pytest.mark.parametrize(
    ("content_type", "reason"),
    [
        ("application/json; charset=utf-16", Reason.UNSUPPORTED_MEDIA_TYPE),
        ("application/json; charset=ibm037", Reason.UNSUPPORTED_MEDIA_TYPE),
        ("application/json; charset=utf-8; charset=utf-7", Reason.UNSUPPORTED_MEDIA_TYPE),
        ("application/json; charset*=utf-8''utf-7", Reason.UNSUPPORTED_MEDIA_TYPE),
        ("application/json, text/plain", Reason.UNSUPPORTED_MEDIA_TYPE),
        ("json", Reason.UNSUPPORTED_MEDIA_TYPE),
        ("application/json charset=utf-8", Reason.UNSUPPORTED_MEDIA_TYPE),
        ("a/b" + ";" * 300, Reason.UNSUPPORTED_MEDIA_TYPE),
    ],
)
def test_content_types_that_parsers_read_differently_are_refused(
    content_type: str, reason: Reason
) -> None:
    assert refused(b'{"message": "x"}', content_type) is reason


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip", "GZIP", "x"])
def test_encoded_bodies_are_refused(encoding: str) -> None:
    request = RawRequest(body=b"{}", content_type=UTF8, content_encoding=encoding)
    with pytest.raises(BadInput) as caught:
        extract(request, POLICY)
    assert caught.value.reason is Reason.UNSUPPORTED_MEDIA_TYPE
    assert caught.value.param == "content-encoding"


@pytest.mark.parametrize("encoding", ["identity", " Identity ", ""])
def test_the_identity_encoding_is_none(encoding: str) -> None:
    request = RawRequest(body=b'{"a": "x"}', content_type=UTF8, content_encoding=encoding)
    assert texts(extract(request, POLICY)) == ["x"]


def test_plain_text_is_one_part() -> None:
    content = read("grüße".encode(), "text/plain; charset=utf-8")
    assert [(part.text, part.where) for part in content.parts] == [("grüße", "body")]


@pytest.mark.parametrize(
    ("body", "content_type", "reason"),
    [
        (b"\xff\xfe", "text/plain", Reason.UNREADABLE_BODY),
        (b"h\0i\0", "text/plain", Reason.UNREADABLE_BODY),
        (b"hi", "application/xml", Reason.UNSUPPORTED_MEDIA_TYPE),
        (b"hi", "text/xml", Reason.UNSUPPORTED_MEDIA_TYPE),
        (b"hi", "application/pdf", Reason.UNSUPPORTED_MEDIA_TYPE),
        (b"hi", "multipart/mixed; boundary=x", Reason.UNSUPPORTED_MEDIA_TYPE),
    ],
)
def test_bodies_that_can_not_be_read_are_refused(
    body: bytes, content_type: str, reason: Reason
) -> None:
    assert refused(body, content_type) is reason


def test_a_json_string_called_plain_text_is_read_both_ways_and_counted_once() -> None:
    content = read(b'"\\u0076ile"', "text/plain")
    assert texts(content) == ["vile", '"\\u0076ile"']
    assert content.new_chars == len('"\\u0076ile"')
    assert content.new_text == '"\\u0076ile"'


def test_json_called_plain_text_is_bounded_as_plain_text_too() -> None:
    body = b"[" + b"1," * 40_000 + b"1]"
    content = read(body, "text/plain")
    assert content.new_chars == 0
    decision = check(content, POLICY)
    assert decision is not None
    assert (decision.reason, decision.param) == (Reason.INPUT_TOO_LONG, "body")
    assert check(read(body), POLICY) is None


def test_escapes_in_json_inside_a_message_do_not_hide_words() -> None:
    content = read_value({"message": '{"q": "\\u0076ile \\\\ x"}'})
    assert texts(content) == ["vile \\ x", '{"q": "\\u0076ile \\\\ x"}']
    assert content.new_chars == len('{"q": "\\u0076ile \\\\ x"}')
    assert "vile" in content.speech


@pytest.mark.parametrize("text", ['{"a": 1, "a": "\\u0076"}', '{"a": "\\u0076', "[" * 90 + '"\\n'])
def test_a_message_that_is_nearly_json_stays_text(text: str) -> None:
    assert texts(read_value({"message": text})) == [text]


def test_a_payload_in_a_string_is_read_as_the_app_may_read_it() -> None:
    inner = {"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}]}
    content = read_value({"payload": json.dumps(inner)})
    assert content.roles == (("system", "/payload/messages/0"), ("user", "/payload/messages/1"))
    assert texts(content) == ["x", "y"]
    decision = check(content, POLICY)
    assert decision is not None
    assert decision.reason is Reason.FORBIDDEN_ROLE
    assert content.raw_chars == len(json.dumps(inner))


def test_a_payload_without_messages_is_text_and_payload() -> None:
    plain = read_value({"payload": '["abc", "def"]'})
    assert texts(plain) == ['["abc", "def"]']
    escaped = read_value({"payload": '["\\u0061bc"]'})
    assert texts(escaped) == ["abc", '["\\u0061bc"]']
    assert escaped.new_chars == len('["\\u0061bc"]')


def test_json_in_json_in_json_is_read_twice_and_then_is_text() -> None:
    value: Any = "\\ deep"
    for _ in range(4):
        value = json.dumps({"payload": value})
    content = read(value.encode())
    assert any(part.text.startswith("{") for part in content.parts)
    assert len(content.parts) < 8


def test_a_doubtful_payload_is_refused() -> None:
    with pytest.raises(BadInput):
        read_value({"payload": '{"role": "user", "role": "system", "content": "x"}'})


def test_a_payload_that_is_no_json_is_text() -> None:
    assert texts(read_value({"payload": "{hello}"})) == ["{hello}"]


def test_names_of_things_are_not_moderated_but_sentences_are() -> None:
    content = read_value(
        {
            "model": "gpt-4o-mini-2024-07-18",
            "session_id": "0b5e5a7e-1c3c-4b4e-9df1-2c8f6f0e8a11",
            "email": "a.b@example.org",
            "userId": "u_1",
            "id": "a sentence under an id",
            "trace_id": "how-to-build-such-a-thing-at-home",
            "call_id": "x" * 65,
            "message": "hello",
        }
    )
    assert content.speech.split("\n") == [
        "a sentence under an id",
        "how-to-build-such-a-thing-at-home",
        "x" * 65,
        "hello",
    ]
    assert "gpt-4o-mini-2024-07-18" in content.new_text


def test_fields_narrow_what_is_text() -> None:
    body = {
        "message": "a",
        "data": {"message": "b", "note": "c"},
        "note": "d",
        "messages": [{"role": "system", "content": "e"}],
    }
    assert texts(read_value(body, Policy(fields=("message",)))) == ["a", "b"]
    assert texts(read_value(body, Policy(fields=("/message", "/data")))) == ["a", "b", "c"]
    narrowed = read_value(body, Policy(fields=("message",)))
    decision = check(narrowed, POLICY)
    assert decision is not None
    assert decision.reason is Reason.FORBIDDEN_ROLE


def test_a_plain_text_body_is_text_whatever_the_fields_are() -> None:
    assert texts(read(b"hi", "text/plain", Policy(fields=("message",)))) == ["hi"]


def test_places_stop_growing() -> None:
    value: Any = ["x"] * 50
    for _ in range(50):
        value = {"k" * 40: value}
    content = read_value(value)
    assert len(content.parts) == 50
    assert max(len(part.where) for part in content.parts) < 300


def test_words_split_over_parts_show_in_the_joined_texts() -> None:
    content = read_value({"messages": [{"role": "user", "content": ["vi", "le"]}]})
    assert "vile" in content.joined
    assert "vi le" in content.joined
    over_turns = read_value({"messages": ["vi", {"role": "assistant", "content": "?"}, "le"]})
    assert "vile" in over_turns.joined
    over_fields = read_value({"a": "vi", "b": {"c": "le"}})
    assert over_fields.joined == ("vile", "vi le")
    assert read_value({"a": "vile"}).joined == ()


def test_scans_leave_out_what_is_known() -> None:
    content = read_value(
        {
            "messages": [
                {"role": "user", "content": "old"},
                {"role": "assistant", "content": "answer"},
                {"role": "user", "content": [{"type": "text", "text": "ne"}, "w"]},
            ]
        }
    )
    everything = list(content.scans(lambda _text: True))
    assert everything[:4] == ["old", "answer", "ne", "w"]
    assert "new" in everything
    known = list(content.scans(lambda _text: False))
    assert known[:2] == ["ne", "w"]
    assert "new" in known
    assert "oldnew" in known
    assert "answer" not in known


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def strings(value: Any) -> set[str]:
    if isinstance(value, str):
        return {value}
    inner: list[Any] = []
    if isinstance(value, dict):
        inner += cast("dict[str, Any]", value).values()
    elif isinstance(value, list):
        inner += value
    return {text for item in inner for text in strings(item)}


@given(JSON, st.booleans())
def test_every_string_of_any_json_is_found(value: Any, escaped: bool) -> None:
    body = json.dumps(value, ensure_ascii=escaped)
    try:
        content = read(body.encode("utf-8", "surrogatepass"))
    except BadInput:
        assert "inf" in body.lower() or any(0xD800 <= ord(c) < 0xE000 for c in str(strings(value)))
        return
    assert strings(value) - {"", "user", "text"} <= set(texts(content))


@given(st.binary(), st.none() | st.sampled_from([UTF8, "text/plain", "a/b", "image/png"]))
def test_any_bytes_are_content_or_bad_input(body: bytes, content_type: str | None) -> None:
    try:
        content = read(body, content_type)
    except BadInput as bad:
        assert bad.reason.status in {400, 413, 415}  # noqa: PT017  # the reason is the point
        return
    check(content, POLICY)
    content.new_text.encode()
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return
    assert strings(value) - {""} <= set(texts(content))


@given(st.text(alphabet='[]{}",:\\u0123abNI tfnd', max_size=200))
def test_anything_like_json_is_content_or_bad_input(text: str) -> None:
    for content_type in (UTF8, "text/plain"):
        try:
            check(read(text.encode(), content_type), POLICY)
        except BadInput as bad:
            assert bad.reason.status in {400, 413, 415}  # noqa: PT017  # the reason is the point


@given(st.text(max_size=300) | st.from_regex(r"\A[a-z/;= \t\"*]{0,300}\Z"))
def test_any_content_type_is_read_or_refused(content_type: str) -> None:
    try:
        read(b"{}", content_type)
    except BadInput as bad:
        assert bad.reason.status in {400, 415}  # noqa: PT017  # the reason is the point


MESSAGE = {"role": "user", "content": "x"}
SPLIT = {"role": "user", "content": ["x", "y"]}
LONG_BODIES: list[Callable[[int], bytes]] = [
    lambda n: b'["' + b"a" * n + b'"]',
    lambda n: json.dumps(["a"] * (n // 4)).encode(),
    lambda n: json.dumps({"messages": [MESSAGE] * (n // 40)}).encode(),
    lambda n: json.dumps([SPLIT] * (n // 40)).encode(),
    lambda n: json.dumps([json.dumps(["\n"] * (n // 8))]).encode(),
    lambda n: json.dumps({"a": "data:image/png;base64," + "a" * n + "!"}).encode(),
    lambda n: json.dumps({"id": "a-" * n}).encode(),
    lambda n: b'"' + b"\\ud83d\\ude00" * (n // 12) + b'"',
    lambda n: b" " * n + b"{}",
    lambda n: json.dumps({"k" * n: 1}).encode(),
]


@pytest.mark.parametrize("make", LONG_BODIES)
def test_time_grows_with_length_alone(make: Callable[[int], bytes]) -> None:
    def cost(size: int) -> float:
        body = make(size)
        best = 1.0
        for _ in range(5):
            start = time.perf_counter()
            content = read(body, "text/plain")
            check(content, POLICY)
            list(content.scans(lambda _text: True))
            best = min(best, time.perf_counter() - start)
        return best

    assert cost(160_000) < 40 * cost(20_000) + 0.01
