"""The budget: requests and tokens a minute, spent by priority, a bounded share for each identity."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from enum import IntEnum
from threading import Lock

from .parts import Parts
from .purse import Purse, Window
from .quota import quota_of, retry_after
from .settings import Question

__all__ = ["Budget", "Priority", "tokens_of"]

# https://help.openai.com/en/articles/4936856: a token is about four characters of English; other
# scripts take more, and a third of the bytes of UTF-8 is a token for each Chinese character
CHARS_PER_TOKEN = 4
BYTES_PER_TOKEN = 3
# https://platform.openai.com/docs/guides/images-vision: 85 + 4 x 170 for an image of 1024 x 1024
IMAGE_TOKENS = 765
# what an identity may ask in a minute however small the budget, in questions
FLOOR = 5
# identities of one minute; past that the one seen longest ago is forgotten
MAX_NAMES = 100_000
# in seconds, where the service says 429 and no time
PAUSE = 1.0


class Priority(IntEnum):
    """Whose question goes first; samples are optional: they are cut rather than kept waiting."""

    WATCHED = 0
    NEW = 1
    KNOWN = 2
    REPLY = 3
    SAMPLE = 4

    @property
    def required(self) -> bool:
        """Whether it waits for the budget instead of being cut."""
        return self < Priority.SAMPLE


# the part of a minute's budget that is kept back for whoever goes before, by priority
_RESERVES = (0.0, 0.05, 0.1, 0.2, 0.4)
_OPTIONAL = Priority.SAMPLE


def tokens_of(asked: str | Parts | Question) -> int:
    """About how many tokens the service will count for *asked*."""
    if isinstance(asked, str):
        return _tokens(asked)
    if isinstance(asked, Question):
        return _tokens(asked.text) + IMAGE_TOKENS * len(asked.images)
    texts = [str(part["text"]) for part in asked if "text" in part]
    return sum(map(_tokens, texts)) + IMAGE_TOKENS * (len(asked) - len(texts))


def _tokens(text: str) -> int:
    if text.isascii():
        return len(text) // CHARS_PER_TOKEN + 1
    return len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN + 1


class Budget:
    """What may be asked in any minute: by the settings, and as the service's headers tell.

    A lower priority may spend only what is above a reserve for the higher ones, so that whenever
    a question is let go, one of the same size and a higher priority would have been, too. The
    service's own count of what is left, which other processes share, is kept to as well. As long as
    no limit is known there is none. Thread-safe.

    Args:
        requests: Most requests a minute; None: what the service says.
        tokens: Most tokens a minute; None: what the service says.
        share: Most of either for one identity or client address, 0 to 1.
        clock: Gives the time in seconds; it must never go back.
        period: The length of a "minute", in seconds.
    """

    def __init__(
        self,
        requests: int | None = None,
        tokens: int | None = None,
        share: float = 0.05,
        clock: Callable[[], float] = time.monotonic,
        period: float = 60.0,
    ) -> None:
        self._requests = Purse(requests, period)
        self._tokens = Purse(tokens, period)
        self._spent = Window(period)
        self._share = share
        self._clock = clock
        self._period = period
        self._paused = 0.0
        self._lock = Lock()
        self._names: OrderedDict[str, Window] = OrderedDict()

    def spend(self, priority: Priority, tokens: int, requests: int = 1) -> bool:
        """Spend *tokens*, and *requests* (0 for one more text of a request), if they are there."""
        reserve, required = _RESERVES[priority], priority < _OPTIONAL
        spent = self._spent
        with self._lock:
            now = self._clock()
            spent.roll(now)
            if (
                now < self._paused
                or not self._tokens.fits(tokens, spent.tokens, reserve, now, required=required)
                or not self._requests.fits(
                    requests, spent.requests, reserve, now, required=required
                )
            ):
                return False
            self._spend(requests, tokens, now)
            self._tokens.flying += tokens
            self._requests.flying += requests
            return True

    def again(self, tokens: int) -> bool:
        """Spend *tokens* on the second attempt of a request, whose time the service may name.

        It keeps to the limits, and not to reserves or to what the service says is left: the
        question has waited enough, and the service is about to answer for itself.
        """
        with self._lock:
            now = self._clock()
            spent = self._spent
            spent.roll(now)
            if (
                self._tokens.excess(tokens, spent.tokens, 0.0) > 0
                or self._requests.excess(1, spent.requests, 0.0) > 0
            ):
                return False
            self._spend(1, tokens, now)
            return True

    def ended(self, tokens: int) -> None:
        """Take note that a request on which *tokens* were spent is no longer under way."""
        with self._lock:
            self._tokens.flying -= tokens
            self._requests.flying -= 1

    def heard(self, status: int, headers: Mapping[str, str], tokens: int) -> None:
        """Learn from the service's answer to a request on which *tokens* were spent."""
        of_requests, of_tokens = quota_of(headers, "requests"), quota_of(headers, "tokens")
        with self._lock:
            now = self._clock()
            self._requests.told(of_requests, 1, now)
            self._tokens.told(of_tokens, tokens, now)
            if status == 429:  # noqa: PLR2004  # Too Many Requests
                named = retry_after(headers)
                self._paused = now + min(PAUSE if named is None else named, self._period)

    def wait(self, priority: Priority, tokens: int) -> float:
        """Seconds after which to try again to spend *tokens*; at most a minute."""
        reserve = _RESERVES[priority]
        with self._lock:
            now = self._clock()
            spent = self._spent
            spent.roll(now)
            waits = (
                self._paused - now,
                self._tokens.wait(tokens, reserve, now),
                self._requests.wait(1, reserve, now),
                spent.wait(
                    self._requests.excess(1, spent.requests, reserve),
                    self._tokens.excess(tokens, spent.tokens, reserve),
                    now,
                ),
            )
        return min(max(waits), self._period)

    def share(self, names: tuple[str, ...], tokens: int) -> bool:
        """Count a question of *tokens* for each of *names*; False if it is beyond a share."""
        requests, allowed = self._requests.limit, self._tokens.limit
        if self._share >= 1 or (requests is None and allowed is None):
            return True  # no bound, or nothing to have a share in
        most = math.inf if requests is None else requests * self._share
        most_tokens = math.inf if allowed is None else allowed * self._share
        with self._lock:
            now = self._clock()
            self._forget(now)
            windows = [self._window(name) for name in names]
            for spent in windows:
                spent.roll(now)
                asked = spent.requests + 1
                if asked > FLOOR and (asked > most or spent.tokens + tokens > most_tokens):
                    return False
            for spent in windows:
                spent.add(1, tokens, now)
            return True

    def _spend(self, requests: int, tokens: int, now: float) -> None:
        self._spent.add(requests, tokens, now)
        self._tokens.spend(tokens, now)
        self._requests.spend(requests, now)

    def _forget(self, now: float) -> None:
        """Drop who asked longest ago: all who asked nothing for a minute, and whoever is too many."""
        while self._names:
            spent = next(iter(self._names.values()))
            spent.roll(now)
            if len(self._names) < MAX_NAMES and spent.requests:
                break
            self._names.popitem(last=False)

    def _window(self, name: str) -> Window:
        found = self._names.get(name)
        if found is None:
            found = self._names[name] = Window(self._period)
        else:
            self._names.move_to_end(name)
        return found
