"""The way in: which checks a turn meets, in which order, and what their findings do."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from safety_middleware.content import Content, check, extract
from safety_middleware.decision import ALLOWED, Action, Decision, Reason
from safety_middleware.errors import BadInput
from safety_middleware.flow import Flow
from safety_middleware.identity import Identity, Kind
from safety_middleware.moderation import Priority, Question
from safety_middleware.policy import Hold, Matcher, Tier
from safety_middleware.ratelimit import Bucket, Hits, buckets
from safety_middleware.standing import Standing, Tiers, tier_of
from safety_middleware.turn import Turn
from safety_middleware.verdict import Verdict

from .cleared import Cleared
from .judge import Judgement, judge_answer
from .sampling import Sampling
from .steps import AwaitDecision, Hit, LoadStanding, ReadBody, StartModeration

__all__ = ["Guard"]

_PRIORITIES: dict[Tier, Priority] = {
    "watched": Priority.WATCHED,
    "known": Priority.KNOWN,
    "trusted": Priority.KNOWN,
}


class Guard:
    """Decides about turns; does no I/O and is shared by every thread and task.

    Args:
        words: The app's wordlist, for policies that say ``wordlist=True``.
        cleared: What identities already had cleared.
        ask_elsewhere: Starts moderation on another thread's loop, for the one case in which
            waiting would block the loop that has to answer.
        sampling: Draws which turns of trusted people are moderated.
        tiers: The rules of trust.
    """

    def __init__(
        self,
        words: Matcher,
        cleared: Cleared,
        ask_elsewhere: Callable[[Question], Future[Verdict]],
        sampling: Sampling,
        tiers: Tiers,
    ) -> None:
        self._words = words
        self._cleared = cleared
        self._ask_elsewhere = ask_elsewhere
        self._sampling = sampling
        self._tiers = tiers

    def admit(self, turn: Turn, identity: Identity, address: Identity) -> Flow[Decision]:
        """Decide whether the handler may run; cheapest check first.

        While the verdict is out the answer is to allow, unless the turn holds at the handler:
        ``turn.admitted`` resolves when the input is decided. A policy that observes allows
        everything, and ``turn.findings`` tells what it would have refused.
        """
        turn.identity = identity
        if turn.finds(_login(turn)):
            return turn.findings.decision
        standing = yield from LoadStanding(identity)
        if turn.finds(self._suspended(turn, identity, standing)):
            return turn.findings.decision
        turn.hold = self._hold(turn)
        wanted = _buckets(turn, address)
        if wanted and turn.finds(_limited(turn, (yield from Hit(wanted)))):
            return turn.findings.decision
        content = yield from self._content(turn)
        if content is None and not turn.policy.observe:
            return turn.findings.decision
        question = self._question(turn, content)
        if question is not None:
            asking = self._asking(turn, question, address)
            self._asked(turn, asking, (yield from asking))
        if turn.policy.observe or turn.judged is None:
            turn.decide(ALLOWED)
        elif turn.hold == "handler" and turn.decided is None:
            began = time.monotonic()
            yield from AwaitDecision(turn.admitted)
            turn.findings.waited += time.monotonic() - began
        return turn.decided or ALLOWED

    def _suspended(self, turn: Turn, identity: Identity, standing: Standing) -> Decision | None:
        """Put who speaks into a tier; a refusal where that is ``suspended``."""
        now = time.time()
        turn.tier = tier_of(standing, identity.kind, now, self._tiers)
        if standing.unread:
            turn.notes["standing_unread"] = True
        until = standing.suspended_until
        if turn.tier != "suspended" or until is None:
            return None
        if until == math.inf:
            return Decision(Action.REFUSE, Reason.SUSPENDED)
        return Decision(Action.REFUSE, Reason.SUSPENDED, retry_after=until - now, retry_at=until)

    def _hold(self, turn: Turn) -> Hold:
        """What waits: the policy's word, else the tier's; ``model`` only where a call was seen to."""
        hold = turn.policy.hold or self._tiers.holds.get(turn.tier, "handler")
        if hold == "model":
            turn.notes["hold_asked"] = "model"
            if turn.route.blocks_loop or not turn.route.seen_guarded:
                return "handler"
        return hold

    def _content(self, turn: Turn) -> Flow[Content | None]:
        """The content of the turn, held to caps, roles, choices and words; None when that ends it."""
        turn.findings.checked.append("content")
        content: Content | None = None
        try:
            request = yield from ReadBody(turn.policy.body_limit)
            content = extract(request, turn.policy)
        except BadInput as bad:
            turn.finds(Decision(Action.REFUSE, bad.reason, param=bad.param))
            turn.findings.skipped["wordlist"] = "unreadable"
            return None
        turn.findings.input_chars = content.new_chars
        turn.findings.images = len(content.images)
        ended = turn.finds(check(content, turn.policy)) or turn.finds(self._word(turn, content))
        return None if ended else content

    def _word(self, turn: Turn, content: Content) -> Decision | None:
        words = turn.policy.wordlist
        if words is False:
            turn.findings.skipped["wordlist"] = "off"
            return None
        turn.findings.checked.append("wordlist")
        matcher = self._words if words is True else words
        for text in content.scans(self._unknown(turn)):
            match = matcher.find(text)
            if match is not None:
                blocked = Reason.CONTENT_BLOCKED
                return Decision(Action.REFUSE, blocked, param="input", detail=f"term:{match.term}")
        return None

    def _name(self, turn: Turn, text: str) -> bytes:
        """The hash under which *text* is remembered as cleared for who speaks, by these rules."""
        assert turn.identity is not None  # noqa: S101  # set by Admission
        rules = f"{turn.route.scope}{id(turn.policy.wordlist)}"  # a list has no other name
        return self._cleared.name(turn.identity, rules, text)

    def _unknown(self, turn: Turn) -> Callable[[str], bool]:
        """A test for texts of a history that this identity has not had cleared."""
        return lambda text: not self._cleared.known(self._name(turn, text))

    def _question(self, turn: Turn, content: Content | None) -> Question | None:
        """What to ask: the new text and images, and what of the history is not cleared yet."""
        skipped = turn.findings.skipped
        if turn.policy.moderation is False or content is None:
            skipped["moderation"] = "off" if turn.policy.moderation is False else "unreadable"
            return None
        unknown = self._unknown(turn)
        texts = list(
            dict.fromkeys(p.text for p in content.parts if p.speech and (p.new or unknown(p.text)))
        )
        images = tuple(i.url for i in content.images if i.new or unknown(i.url))
        if not images and not any(map(str.strip, texts)):
            skipped["moderation"] = "nothing to moderate"
            return None
        question = Question("\n".join(texts), images)
        if self._sampling.skips(turn.safety_identifier, question, self._share(turn), time.time()):
            skipped["moderation"] = "sampled out"
            return None
        turn.findings.texts = tuple(self._name(turn, text) for text in (*texts, *images))
        return question

    def _share(self, turn: Turn) -> float:
        """Share of such turns that is moderated: of those who were demoted, every one."""
        if turn.tier in {"watched", "suspended"}:
            return 1.0
        own = turn.policy.sample
        return self._tiers.samples.get(turn.tier, 1.0) if own is None else own

    def _asking(self, turn: Turn, question: Question, address: Identity) -> StartModeration:
        """Who asks, for their share of the budget: a limit that is off bounds no share either."""
        policy, priority = turn.policy, self._priority(turn)
        who = None if _own_limits(turn) is None else turn.safety_identifier
        where = None if policy.address_limits is None else address.safety_identifier
        return StartModeration(question, priority, who, where)

    def _priority(self, turn: Turn) -> Priority:
        """Whose questions go before: where some would do, this one may be cut."""
        if self._share(turn) < 1:
            return Priority.SAMPLE
        return _PRIORITIES.get(turn.tier, Priority.NEW)

    def _asked(self, turn: Turn, asking: StartModeration, answer: Future[Verdict]) -> None:
        turn.findings.checked.append("moderation")
        turn.judged = Future()
        turn.ask_again = partial(self._ask_again, turn, asking)
        answer.add_done_callback(partial(self._answered, turn, asking.priority, turn.judged))

    def _answered(
        self, turn: Turn, priority: Priority, judged: Future[None], answer: Future[Verdict]
    ) -> None:
        """Decide about the input when its verdict comes, on whatever thread that is."""
        judgement = _judged(turn, priority, answer)
        findings = turn.findings
        if judgement.failure is not None:
            findings.skipped["moderation"] = judgement.failure
            findings.checked.remove("moderation")
        else:
            findings.categories = judgement.categories
            findings.scores = answer.result().scores
            if not judgement.categories:
                self._cleared.add(findings.texts)
        findings.add(judgement.decision)
        turn.decide(ALLOWED if turn.policy.observe else judgement.decision)
        judged.set_result(None)

    def _ask_again(self, turn: Turn, asking: StartModeration) -> Future[Decision]:
        decided: Future[Decision] = Future()

        def answered(answer: Future[Verdict]) -> None:
            decision = _judged(turn, asking.priority, answer).decision
            turn.findings.add(decision)
            decided.set_result(decision)

        self._ask_elsewhere(asking.question).add_done_callback(answered)
        return decided


def _judged(turn: Turn, priority: Priority, answer: Future[Verdict]) -> Judgement:
    """What *answer* means; a sample for which the budget has no room is one not drawn."""
    judgement = judge_answer(turn.policy, answer)
    if judgement.failure == "budget" and not priority.required:
        return Judgement(Decision(detail=judgement.failure), failure=judgement.failure)
    return judgement


def _login(turn: Turn) -> Decision | None:
    if turn.policy.require_login and (turn.identity is None or turn.identity.kind is not Kind.USER):
        return Decision(Action.REFUSE, Reason.LOGIN_REQUIRED)
    return None


def _own_limits(turn: Turn) -> str | None:
    user = turn.identity is not None and turn.identity.kind is Kind.USER
    return turn.policy.limits if user else turn.policy.anonymous_limits


def _buckets(turn: Turn, address: Identity) -> tuple[Bucket, ...]:
    """What the turn counts against: its identity's limits, and its address's."""
    policy, scope = turn.policy, turn.route.scope
    wanted = (
        *buckets(_own_limits(turn), f"{scope}:{turn.safety_identifier}"),
        *buckets(policy.address_limits, f"{scope}:{address.safety_identifier}:all"),
    )
    if not wanted:
        turn.findings.skipped["limits"] = "off"
    return wanted


def _limited(turn: Turn, hits: Hits) -> Decision | None:
    turn.findings.checked.append("limits")
    turn.findings.headers = hits.headers
    if hits.fallback:
        turn.notes["limits_fallback"] = True
    if hits.allowed:
        return None
    return Decision(Action.REFUSE, Reason.RATE_LIMITED, retry_after=hits.retry_after)
