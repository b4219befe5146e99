from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_middleware import Action, ModerationUnavailable, Policy, Reason
from safety_middleware.guard import judge, judge_failure
from safety_middleware.policy import CATEGORIES
from safety_middleware.verdict import Verdict


def said(*flags: str, **scores: float) -> Verdict:
    return Verdict(frozenset(flags), dict.fromkeys(flags, 0.5) | scores)


OK, BLOCKED, CARE = Reason.OK, Reason.CONTENT_BLOCKED, Reason.CARE


@pytest.mark.parametrize(
    ("policy", "verdict", "reason", "categories"),
    [
        ({}, said(), OK, ()),
        ({}, said(violence=0.99), OK, ()),
        ({}, said("violence"), BLOCKED, ("violence",)),
        ({}, said("self-harm"), CARE, ("self-harm",)),
        ({}, said("self-harm", "self-harm/intent"), CARE, ("self-harm", "self-harm/intent")),
        ({}, said("self-harm", "violence"), BLOCKED, ("self-harm", "violence")),
        ({}, said("of-a-newer-model"), BLOCKED, ("of-a-newer-model",)),
        ({"actions": {"violence": "flag"}}, said("violence"), OK, ("violence",)),
        ({"actions": {"violence": "off"}}, said("violence"), OK, ()),
        ({"actions": {"violence*": "off"}}, said("violence/graphic"), OK, ()),
        ({"actions": {"*": "flag"}}, said("self-harm", "hate"), OK, ("hate", "self-harm")),
        ({"actions": {"*": "flag", "hate": "block"}}, said("hate"), BLOCKED, ("hate",)),
        (
            {"actions": {"hate*": "off", "hate/t*": "block"}},
            said("hate/threatening"),
            BLOCKED,
            ("hate/threatening",),
        ),
        ({"actions": {"self-harm*": "block"}}, said("self-harm"), BLOCKED, ("self-harm",)),
        (
            {"actions": {"violence": "flag"}},
            said("self-harm", "violence"),
            BLOCKED,
            ("self-harm", "violence"),
        ),
        ({"actions": {"violence": "off"}}, said("self-harm", "violence"), CARE, ("self-harm",)),
        ({"thresholds": {"violence": 0.4}}, said(violence=0.4), BLOCKED, ("violence",)),
        ({"thresholds": {"violence": 0.4}}, said(violence=0.39), OK, ()),
        ({"thresholds": {"violence": 0.9}}, said("violence"), OK, ()),
        ({"thresholds": {"hate": 0.1}}, said("violence"), BLOCKED, ("violence",)),
        (
            {"thresholds": {"violence": 0.1}, "actions": {"violence": "off"}},
            said("violence"),
            OK,
            (),
        ),
    ],
)
def test_a_verdict_means_what_the_policy_says(
    policy: dict[str, Any], verdict: Verdict, reason: Reason, categories: tuple[str, ...]
) -> None:
    judgement = judge(Policy(**policy), verdict)
    assert judgement.decision.reason is reason
    assert judgement.categories == categories
    assert judgement.decision.allowed is (reason is OK)
    assert judgement.failure is None


def test_a_refusal_names_its_category_for_the_record_only() -> None:
    decision = judge(Policy(), said("violence")).decision
    assert (decision.param, decision.detail) == ("input", "violence")


scores = st.dictionaries(st.sampled_from(CATEGORIES), st.floats(0, 1))


@given(scores, st.sets(st.sampled_from(CATEGORIES)), scores)
def test_nothing_flagged_passes_unless_a_threshold_lets_it(
    score: dict[str, float], flags: set[str], thresholds: dict[str, float]
) -> None:
    verdict = Verdict(frozenset(flags), score)
    decision = judge(Policy(thresholds=thresholds), verdict).decision
    over = {c for c in thresholds if score.get(c, 0.0) >= thresholds[c] and c in {*score, *flags}}
    assert decision.allowed is not bool((flags - thresholds.keys()) | over)


@pytest.mark.parametrize(
    ("policy", "allowed"),
    [
        ({}, False),
        ({"on_failure": "open"}, True),
        ({"actions": {"*": "flag"}}, True),
        ({"actions": {"*": "off"}}, True),
        ({"actions": {"*": "flag", "sexual/minors": "block"}}, False),
        ({"actions": {"*": "flag", "self-harm": "care"}}, False),
    ],
)
def test_without_a_verdict_it_is_closed_where_any_category_blocks(
    policy: dict[str, Any], *, allowed: bool
) -> None:
    judgement = judge_failure(Policy(**policy), ModerationUnavailable("http_500"))
    decision = judgement.decision
    assert decision.allowed is allowed
    assert decision.detail == judgement.failure == "http_500"
    if not allowed:
        assert (decision.action, decision.reason) == (Action.REFUSE, Reason.MODERATION_UNAVAILABLE)
        assert decision.retry_after
