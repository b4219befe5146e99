"""Images and what else is not text: recognised, measured, or refused unseen."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from typing import Any

import pytest

from safety_middleware.content import Content, Image, RawRequest, check, extract
from safety_middleware.decision import Reason
from safety_middleware.policy import Policy

POLICY = Policy()
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 21
JPEG = b"\xff\xd8\xff\xe0" + b"\0" * 20
GIF = b"GIF89a" + b"\0" * 22
WEBP = b"RIFF\x10\0\0\0WEBPVP8 " + b"\0" * 10
WEB = "https://example.org/a.png?x=1"


def data_url(content: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{b64encode(content).decode()}"


def read(value: Any, policy: Policy = POLICY) -> Content:
    body = json.dumps(value).encode()
    return extract(RawRequest(body=body, content_type="application/json"), policy)


def asked(*parts: Any) -> Any:
    return {"messages": [{"role": "user", "content": list(parts)}]}


def reason(content: Content, policy: Policy = POLICY) -> Reason | None:
    decision = check(content, policy)
    return decision.reason if decision is not None else None


@pytest.mark.parametrize(
    ("content", "media_type"),
    [(PNG, "image/png"), (JPEG, "image/jpeg"), (GIF, "image/gif"), (WEBP, "image/webp")],
)
def test_a_data_url_is_an_image_and_no_text_wherever_it_stands(
    content: bytes, media_type: str
) -> None:
    url = data_url(content, "image/png")  # a wrong label is no reason to refuse
    found = read({"picture": url, "message": "look"})
    assert found.images == (Image(url, True, media_type, len(content)),)
    assert found.new_text == "look"
    assert check(found, POLICY) is None


@pytest.mark.parametrize("size", range(12, 20))
def test_the_size_is_that_of_the_decoded_bytes(size: int) -> None:
    content = (PNG + b"\0" * 20)[:size]
    assert read(data_url(content)).images[0].size == size
    assert read(data_url(content).rstrip("=")).images[0].size == size


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": data_url(PNG), "detail": "auto"}},
        {"type": "image_url", "image_url": data_url(PNG)},
        {"type": "input_image", "image_url": data_url(PNG)},
        {"type": "file", "mediaType": "image/png", "url": data_url(PNG)},
        {"type": "file", "mimeType": "image/png", "data": b64encode(PNG).decode()},
        {"type": "image", "image": b64encode(PNG).decode()},
        {
            "type": "image",
            "source": {
                "type": "base64",
                "media_type": "image/png",
                "data": b64encode(PNG).decode(),
            },
        },
        {"type": "computer_screenshot", "image_url": data_url(PNG)},
        {"type": "file", "file": {"file_data": data_url(PNG), "filename": "a.png"}},
    ],
)
def test_images_of_every_api_are_found_once(part: Any) -> None:
    content = read(asked({"type": "text", "text": "look"}, part))
    (image,) = content.images
    assert (image.media_type, image.size, image.new) == ("image/png", len(PNG), True)
    assert content.speech == "look"
    assert check(content, POLICY) is None


@pytest.mark.parametrize(
    "body",
    [
        asked({"type": "image_url", "image_url": {"url": WEB}}),
        asked({"type": "input_image", "image_url": WEB}),
        asked({"type": "file", "mediaType": "image/png", "url": WEB}),
        {
            "message": {
                "role": "user",
                "text": "",
                "images": [{"contentType": "image/png", "url": WEB}],
            }
        },
        {"attachments": [{"contentType": "image/png", "url": WEB}]},
        {"image_url": WEB},
        {"image_url": {"url": WEB}},
    ],
)
def test_an_image_on_the_web_is_an_image_where_an_image_is_meant(body: Any) -> None:
    content = read(body)
    assert content.images == (Image(WEB, True),)
    assert "example" not in content.speech
    assert check(content, POLICY) is None


def test_an_address_elsewhere_is_text() -> None:
    assert read({"message": WEB, "url": WEB}).speech == f"{WEB}\n{WEB}"


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "data:image/svg+xml;base64,PHN2Zz4="}},
        {"type": "image_url", "image_url": {"url": "data:image/png,hello"}},
        {"type": "image_url", "image_url": {"url": "ftp://example.org/a.png"}},
        {"type": "image_url", "image_url": {"url": "/a.png"}},
        {"type": "image_url", "image_url": {"url": "https://example.org/how to"}},
        {"type": "image_url", "image_url": {"url": data_url(b"how to do evil things")}},
        {"type": "input_image", "file_id": "file1"},
        {"type": "image", "source": {"media_type": "image/svg+xml", "data": "PHN2Zz4="}},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERg=="}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "input_file", "file_url": "https://example.org/a.pdf"},
        {"type": "file", "mediaType": "application/pdf", "url": WEB},
        {"type": "document", "source": {"type": "text", "data": "hello"}},
        {"mediaType": "audio/mpeg", "url": "https://example.org/a.mp3"},
        "data:application/pdf;base64,JVBERg==",
        "data:image/png;base64,bm90IGEgcG5n",
    ],
)
def test_what_can_not_be_checked_is_refused(part: Any) -> None:
    content = read(asked(part))
    assert reason(content) is Reason.UNSUPPORTED_MEDIA_TYPE
    assert content.images == ()


@pytest.mark.parametrize(
    "text",
    [
        "data:image/png;base64,how to do it",
        "data:image/png,hello",
        "data:image/png;base64,abc-def",
        "data:image/png;base64,abcde",
        "data:image/png;base64,ab=c",
        "data:image/png;base64,ab==c=",
        "data:image/png;base64,é",
        "data: hello",
        "Dear all",
        " " + data_url(PNG),
        "look: " + data_url(PNG),
    ],
)
def test_what_is_not_a_data_url_as_a_whole_is_text(text: str) -> None:
    content = read({"message": text})
    assert content.new_text == text
    assert content.images == ()
    assert check(content, POLICY) is None


@pytest.mark.parametrize(
    "body",
    [
        {"type": "file", "source": "wikipedia"},
        {"type": "image", "url": "/a.png"},
        {"image_url": "none"},
        {"contentType": "application/pdf", "url": WEB},
        {"type": "image", "name": "x"},
        {"contentType": 7, "image_url": ""},
        {"image_url": {"url": None, "data": ""}},
    ],
)
def test_outside_messages_what_is_no_image_is_text(body: dict[str, Any]) -> None:
    content = read(body)
    assert content.images == ()
    assert check(content, POLICY) is None
    texts = {part.text for part in content.parts}
    assert {value for value in body.values() if isinstance(value, str) and value} <= texts


def test_the_text_beside_an_image_counts() -> None:
    content = read(
        asked({"type": "image_url", "image_url": {"url": WEB, "caption": "a b"}, "alt": "c d"})
    )
    assert content.speech == "a b\nc d"


def test_images_of_the_history_are_not_new_but_measured() -> None:
    old = {"role": "user", "content": [{"type": "image_url", "image_url": data_url(PNG)}]}
    body = {"messages": [old] * 9 + [{"role": "assistant", "content": "a"}, "b"]}
    content = read(body)
    assert [image.new for image in content.images] == [False] * 9
    assert check(content, POLICY) is None
    assert reason(content, Policy(max_images=0)) is Reason.TOO_MANY_IMAGES
    assert reason(content, Policy(max_image_bytes=10)) is Reason.BODY_TOO_LARGE


def test_too_many_or_too_large_images_are_refused() -> None:
    part = {"type": "image_url", "image_url": data_url(PNG)}
    assert reason(read(asked(*[part] * 4))) is None
    assert reason(read(asked(*[part] * 5))) is Reason.TOO_MANY_IMAGES
    exact = Policy(max_image_bytes=len(PNG))
    assert reason(read(asked(part)), exact) is None
    decision = check(read(asked(part)), Policy(max_image_bytes=len(PNG) - 1))
    assert decision is not None
    assert (decision.reason, decision.param) == (Reason.BODY_TOO_LARGE, "image")


@pytest.mark.parametrize("content_type", ["image/png", "image/jpeg"])
def test_a_body_that_is_an_image_is_one(content_type: str) -> None:
    request = RawRequest(body=PNG, content_type=content_type)
    (image,) = extract(request, POLICY).images
    assert (image.url, image.media_type, image.size) == (data_url(PNG), "image/png", len(PNG))


@pytest.mark.parametrize("body", [b"<svg/>", b"how to do it"])
def test_a_body_that_only_claims_to_be_an_image_is_refused(body: bytes) -> None:
    content = extract(RawRequest(body=body, content_type="image/svg+xml"), POLICY)
    assert reason(content) is Reason.UNSUPPORTED_MEDIA_TYPE


def test_images_do_not_count_as_text_where_json_is_not_declared() -> None:
    body = json.dumps({"message": "x", "image": data_url(PNG + b"\0" * 100_000)}).encode()
    content = extract(RawRequest(body=body, content_type="text/plain"), POLICY)
    assert content.raw_chars < 100
    assert check(content, POLICY) is None


def test_a_large_image_costs_milliseconds() -> None:
    body = json.dumps(asked({"type": "image_url", "image_url": data_url(PNG + b"\0" * 4_000_000)}))
    request = RawRequest(body=body.encode(), content_type="application/json")
    start = time.perf_counter()
    assert extract(request, POLICY).images[0].size == len(PNG) + 4_000_000
    assert time.perf_counter() - start < 1
