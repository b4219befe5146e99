from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from safety_middleware import Action, Decision, Reason
from safety_middleware.refusal import CARE, MESSAGES, Refusal, refusal_of

ID = "req_0123456789abcdef01234567"
STATUSES = {
    "unreadable_body": 400,
    "forbidden_role": 400,
    "content_blocked": 400,
    "reply_blocked": 400,
    "login_required": 401,
    "suspended": 403,
    "held_for_review": 202,
    "body_too_large": 413,
    "input_too_long": 413,
    "too_many_images": 413,
    "unsupported_media_type": 415,
    "not_a_choice": 422,
    "rate_limited": 429,
    "moderation_unavailable": 503,
    "care": 200,
    "ok": 200,
}
refusals = pytest.mark.parametrize("reason", list(MESSAGES))


def of(reason: Reason, *, accept: str | None = None, **fields: Any) -> Refusal:
    return refusal_of(Decision(Action.REFUSE, reason, **fields), ID, accept=accept)


def headers(refusal: Refusal) -> Mapping[str, str]:
    assert len({name.lower() for name, _ in refusal.headers}) == len(refusal.headers)
    return dict(refusal.headers)


def test_every_reason_has_its_status() -> None:
    assert {reason.value: reason.status for reason in Reason} == STATUSES


def test_every_refusal_has_its_words() -> None:
    assert set(MESSAGES) == set(Reason) - {Reason.OK, Reason.CARE}


@refusals
def test_a_refusal_is_the_envelope_that_clients_of_openai_parse(reason: Reason) -> None:
    refusal = of(reason, param="input", detail="term:secret-word")
    assert refusal.status == STATUSES[reason.value]
    assert json.loads(refusal.body) == {
        "error": {
            "message": MESSAGES[reason],
            "type": "safety_error",
            "code": reason.value,
            "param": "input",
            "request_id": ID,
        }
    }
    assert headers(refusal) == {
        "Content-Type": "application/json",
        "Content-Length": str(len(refusal.body)),
        "Cache-Control": "no-store",
        "X-Request-Id": ID,
    }


@pytest.mark.parametrize("accept", [None, "application/json", "application/problem+json"])
@pytest.mark.parametrize("reason", [*MESSAGES, Reason.CARE])
def test_what_was_found_is_never_told(reason: Reason, accept: str | None) -> None:
    refusal = of(reason, accept=accept, detail="self-harm/intent gadzooks")
    told = refusal.body + repr(refusal.headers).encode()
    assert b"gadzooks" not in told
    assert b"self-harm" not in told


@refusals
@pytest.mark.parametrize(
    "accept", ["application/problem+json", "text/html, Application/Problem+JSON;q=0.9"]
)
def test_problem_details_for_those_who_ask(reason: Reason, accept: str) -> None:
    refusal = of(reason, accept=accept, param="input")
    assert headers(refusal)["Content-Type"] == "application/problem+json"
    assert json.loads(refusal.body) == {
        "type": "about:blank",
        "title": MESSAGES[reason],
        "status": refusal.status,
        "code": reason.value,
        "param": "input",
        "request_id": ID,
    }


@pytest.mark.parametrize(
    ("seconds", "header"), [(None, None), (0.0, "1"), (0.2, "1"), (5.0, "5"), (5.1, "6")]
)
def test_retry_after_is_whole_seconds_and_never_too_early(
    seconds: float | None, header: str | None
) -> None:
    refusal = of(Reason.RATE_LIMITED, retry_after=seconds)
    assert headers(refusal).get("Retry-After") == header


def test_more_headers_are_passed_on() -> None:
    limits = (("RateLimit", '"5-60s";r=0;t=7'),)
    decision = Decision(Action.REFUSE, Reason.RATE_LIMITED, retry_after=7)
    refusal = refusal_of(decision, ID, headers=limits)
    assert refusal.headers[-2:] == (*limits, ("Retry-After", "7"))


@pytest.mark.parametrize("accept", [None, "application/problem+json"])
def test_care_is_an_answer_and_no_error(accept: str | None) -> None:
    refusal = of(Reason.CARE, accept=accept)
    assert refusal.status == 200
    assert json.loads(refusal.body) == {"care": dict(CARE), "request_id": ID}
    assert headers(refusal)["Content-Type"] == "application/json"
    assert all(set(r) == {"name", "contact", "region"} for r in CARE["resources"])


def test_cares_words_are_the_operators() -> None:
    own: dict[str, Any] = {"message": "Talk to us.", "resources": [], "phone": "1"}
    refusal = refusal_of(Decision(Action.REFUSE, Reason.CARE), ID, care=own)
    assert json.loads(refusal.body)["care"] == own


def test_only_an_allowing_decision_allows() -> None:
    assert Decision().allowed
    assert not any(Decision(action).allowed for action in Action if action is not Action.ALLOW)
