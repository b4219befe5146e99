"""What a verdict means under a policy: the one place where scores become decisions."""

from __future__ import annotations

import logging
from concurrent.futures import Future
from dataclasses import dataclass

from safety_middleware.decision import Action, Decision, Reason
from safety_middleware.errors import ModerationUnavailable
from safety_middleware.policy import CATEGORIES, Policy
from safety_middleware.verdict import Verdict

__all__ = ["Judgement", "judge", "judge_answer", "judge_failure"]

_log = logging.getLogger("safety_middleware")

RETRY_AFTER = 5.0
"""Seconds after which a client may try again when moderation was away."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, judged.

    Attributes:
        decision: Allow or refuse.
        categories: The categories that counted, sorted; flagged-only ones are among them.
        failure: Why there was no verdict to judge, in one word; None where there was one.
    """

    decision: Decision
    categories: tuple[str, ...] = ()
    failure: str | None = None


def judge(policy: Policy, verdict: Verdict) -> Judgement:
    """Judge *verdict* by the thresholds and actions of *policy*.

    A category counts from its threshold on, where the policy sets one, else by the model's own
    flag. Self-harm is answered with care only when nothing but self-harm counted.
    """
    counted = tuple(
        c for c in sorted({*verdict.scores, *verdict.flags}) if _counts(policy, verdict, c)
    )
    actions = {category: policy.action_of(category) for category in counted}
    caring = [category for category in counted if actions[category] == "care"]
    if caring and len(caring) == len(counted):
        return Judgement(Decision(Action.REFUSE, Reason.CARE, detail=caring[0]), counted)
    blocking = [category for category in counted if actions[category] in {"block", "care"}]
    if blocking:
        refusal = Decision(Action.REFUSE, Reason.CONTENT_BLOCKED, param="input", detail=blocking[0])
        return Judgement(refusal, counted)
    return Judgement(Decision(), counted)


def judge_failure(policy: Policy, failure: ModerationUnavailable) -> Judgement:
    """What no verdict means: closed if any category blocks, unless the policy fails open."""
    required = any(policy.action_of(category) in {"block", "care"} for category in CATEGORIES)
    if policy.on_failure == "open" or not required:
        return Judgement(Decision(detail=failure.cause), failure=failure.cause)
    refusal = Decision(
        Action.REFUSE,
        Reason.MODERATION_UNAVAILABLE,
        detail=failure.cause,
        retry_after=RETRY_AFTER,
    )
    return Judgement(refusal, failure=failure.cause)


def judge_answer(policy: Policy, answer: Future[Verdict]) -> Judgement:
    """Judge what *answer*, which is done, carries; whatever goes wrong there is no verdict."""
    try:
        return judge(policy, answer.result())
    except ModerationUnavailable as failure:
        return judge_failure(policy, failure)
    except Exception as error:
        _log.error("a verdict could not be judged: %s", type(error).__name__)
        return judge_failure(policy, ModerationUnavailable("internal"))


def _counts(policy: Policy, verdict: Verdict, category: str) -> bool:
    if policy.action_of(category) == "off":
        return False
    if category in policy.thresholds:
        return verdict.scores.get(category, 0.0) >= policy.thresholds[category]
    return category in verdict.flags
