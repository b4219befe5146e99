"""The way in: which checks a turn meets, in which order, and what their findings do."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeAlias

from safety_middleware.content import Content, check, extract
from safety_middleware.decision import Action, Decision, Reason
from safety_middleware.errors import BadInput
from safety_middleware.flow import Flow, Step
from safety_middleware.identity import Identity, Kind
from safety_middleware.moderation import Question
from safety_middleware.policy import Hold, Matcher
from safety_middleware.ratelimit import buckets
from safety_middleware.standing import hold_of, tier_of
from safety_middleware.turn import Turn
from safety_middleware.verdict import Verdict

from .cleared import Cleared
from .judge import judge_answer
from .steps import AwaitDecision, Hit, LoadStanding, ReadBody, StartModeration

__all__ = ["Guard"]

Finding: TypeAlias = Decision | None
Check: TypeAlias = Generator[Step[Any], Any, Finding]


class Admission:
    """One turn on its way in."""

    __slots__ = ("address", "content", "turn")

    def __init__(self, turn: Turn, identity: Identity, address: Identity) -> None:
        turn.identity = identity
        self.turn = turn
        self.address = address
        self.content: Content | None = None


class Guard:
    """Decides about turns; does no I/O and is shared by every thread and task.

    Args:
        words: The app's wordlist, for policies that say ``wordlist=True``.
        cleared: What identities already had cleared.
        ask_elsewhere: Starts moderation on another thread's loop, for the one case in which
            waiting would block the loop that has to answer.
    """

    def __init__(
        self,
        words: Matcher,
        cleared: Cleared,
        ask_elsewhere: Callable[[Question], Future[Verdict]],
    ) -> None:
        self._words = words
        self._cleared = cleared
        self._ask_elsewhere = ask_elsewhere
        self._checks = (
            self._login,
            self._standing,
            self._limits,
            self._body,
            self._wordlist,
            self._moderation,
        )

    def admit(self, turn: Turn, identity: Identity, address: Identity) -> Flow[Decision]:
        """Decide whether the handler may run; cheapest check first.

        While the verdict is out the answer is to allow, unless the turn holds at the handler:
        ``turn.admitted`` resolves when the input is decided. A policy that observes allows
        everything, and ``turn.findings`` tells what it would have refused.
        """
        admission = Admission(turn, identity, address)
        observe = turn.policy.observe
        for each in self._checks:
            found = yield from each(admission)
            if found is not None:
                turn.findings.add(found)
                if not observe:
                    turn.decide(found)
                    return found
        if observe or turn.judged is None:
            turn.decide(Decision())
        elif turn.hold == "handler" and turn.decided is None:
            began = time.monotonic()
            yield from AwaitDecision(turn.admitted)
            turn.findings.waited += time.monotonic() - began
        return turn.decided or Decision()

    def _login(self, admission: Admission) -> Check:
        yield from ()
        turn = admission.turn
        if turn.policy.require_login and _kind(turn) is not Kind.USER:
            return Decision(Action.REFUSE, Reason.LOGIN_REQUIRED)
        return None

    def _standing(self, admission: Admission) -> Check:
        turn = admission.turn
        assert turn.identity is not None  # noqa: S101  # set by Admission
        standing = yield from LoadStanding(turn.identity)
        turn.tier = tier_of(standing, turn.identity, time.time())
        turn.hold = _hold(turn)
        return None

    def _limits(self, admission: Admission) -> Check:
        turn, policy = admission.turn, admission.turn.policy
        own = policy.limits if _kind(turn) is Kind.USER else policy.anonymous_limits
        scope, address = turn.route.scope, admission.address.safety_identifier
        wanted = (
            *buckets(own, f"{scope}:{turn.safety_identifier}"),
            *buckets(policy.address_limits, f"{scope}:{address}:all"),
        )
        if not wanted:
            turn.findings.skipped["limits"] = "off"
            return None
        hits = yield from Hit(wanted)
        turn.findings.checked.append("limits")
        turn.findings.headers = hits.headers
        if hits.fallback:
            turn.notes["limits_fallback"] = True
        if hits.allowed:
            return None
        return Decision(Action.REFUSE, Reason.RATE_LIMITED, retry_after=hits.retry_after)

    def _body(self, admission: Admission) -> Check:
        turn, policy = admission.turn, admission.turn.policy
        turn.findings.checked.append("content")
        try:
            request = yield from ReadBody(policy.body_limit)
            content = extract(request, policy)
        except BadInput as bad:
            return Decision(Action.REFUSE, bad.reason, param=bad.param)
        admission.content = content
        turn.findings.input_chars = content.new_chars
        turn.findings.images = len(content.images)
        return check(content, policy)

    def _wordlist(self, admission: Admission) -> Check:
        yield from ()
        turn, content, words = admission.turn, admission.content, admission.turn.policy.wordlist
        if content is None or words is False:
            turn.findings.skipped["wordlist"] = "off" if words is False else "unreadable"
            return None
        turn.findings.checked.append("wordlist")
        matcher = self._words if words is True else words
        for text in content.scans(self._unknown(turn)):
            match = matcher.find(text)
            if match is not None:
                blocked = Reason.CONTENT_BLOCKED
                return Decision(Action.REFUSE, blocked, param="input", detail=f"term:{match.term}")
        return None

    def _moderation(self, admission: Admission) -> Check:
        turn, content = admission.turn, admission.content
        skipped = _why_not(turn, content)
        if skipped is not None or content is None:
            turn.findings.skipped["moderation"] = skipped or "unreadable"
            return None
        question, texts = self._question(turn, content)
        if not question.text.strip() and not question.images:
            turn.findings.skipped["moderation"] = "nothing to moderate"
            return None
        turn.findings.texts = texts
        turn.findings.checked.append("moderation")
        answer = yield from StartModeration(question)
        turn.judged = Future()
        turn.ask_again = partial(self._ask_again, turn, question)
        answer.add_done_callback(partial(self._answered, turn, turn.judged))
        return None if turn.policy.observe else turn.refusal

    def _name(self, turn: Turn, text: str) -> bytes:
        """The hash under which *text* is remembered as cleared for who speaks, by these rules."""
        assert turn.identity is not None  # noqa: S101  # set by Admission
        rules = f"{turn.route.scope}{id(turn.policy.wordlist)}"  # a list has no other name
        return self._cleared.name(turn.identity, rules, text)

    def _unknown(self, turn: Turn) -> Callable[[str], bool]:
        """A test for texts of a history that this identity has not had cleared."""
        return lambda text: not self._cleared.known(self._name(turn, text))

    def _question(self, turn: Turn, content: Content) -> tuple[Question, tuple[bytes, ...]]:
        """What to ask: the new text and images, and what of the history is not cleared yet."""
        unknown = self._unknown(turn)
        texts = list(
            dict.fromkeys(p.text for p in content.parts if p.speech and (p.new or unknown(p.text)))
        )
        images = tuple(i.url for i in content.images if i.new or unknown(i.url))
        names = tuple(self._name(turn, text) for text in (*texts, *images))
        return Question("\n".join(texts), images), names

    def _answered(self, turn: Turn, judged: Future[None], answer: Future[Verdict]) -> None:
        """Decide about the input when its verdict comes, on whatever thread that is."""
        judgement = judge_answer(turn.policy, answer)
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
        turn.decide(Decision() if turn.policy.observe else judgement.decision)
        judged.set_result(None)

    def _ask_again(self, turn: Turn, question: Question) -> Future[Decision]:
        decided: Future[Decision] = Future()

        def answered(answer: Future[Verdict]) -> None:
            decision = judge_answer(turn.policy, answer).decision
            turn.findings.add(decision)
            decided.set_result(decision)

        self._ask_elsewhere(question).add_done_callback(answered)
        return decided


def _kind(turn: Turn) -> Kind | None:
    return turn.identity.kind if turn.identity is not None else None


def _hold(turn: Turn) -> Hold:
    """What waits: the policy's word, else the tier's; ``model`` only where a call was seen to."""
    hold = turn.policy.hold or hold_of(turn.tier)
    if hold == "model":
        turn.notes["hold_asked"] = "model"
        if turn.route.blocks_loop or not turn.route.seen_guarded:
            return "handler"
    return hold


def _why_not(turn: Turn, content: Content | None) -> str | None:
    """Why moderation is not asked, or None."""
    if turn.policy.moderation is False:
        return "off"
    return "unreadable" if content is None else None
