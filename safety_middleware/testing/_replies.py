"""What the model says: the reply as configured, cut into tokens and capped."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from ._answers import refused
from ._bodies import fields_of, said

__all__ = ["Reply", "Said", "echo", "plan"]

#: What the model says: a text (cut into words), its chunks as they are to arrive, or a function
#: of the request's JSON that gives either; or any of these by number of the choice.
Spoken: TypeAlias = str | Sequence[str] | Callable[[Any], str | Sequence[str]]
Reply: TypeAlias = Spoken | Mapping[int, Spoken]

_TOKEN = re.compile(r"\S+\s*|\s+")
_FILLER = (
    "and here is what can be said about it. The answer has a beginning, a middle and an end, "
    "and every word of it was chosen before the question was asked. "
)


@dataclass(frozen=True, slots=True)
class Said:
    """One choice: its tokens, and whether a cap cut it short."""

    tokens: tuple[str, ...]
    capped: bool

    @property
    def text(self) -> str:
        """The tokens joined."""
        return "".join(self.tokens)


def echo(tokens: int) -> Callable[[Any], str]:
    """A reply of ``tokens`` words that begins with what the user said."""
    filler = _TOKEN.findall(_FILLER)

    def reply(body: Any) -> str:
        fields = fields_of(body)
        heard = fields.get("messages", fields.get("input"))
        last = cast("list[object]", heard)[-1:] if isinstance(heard, list) else heard
        words = itertools.chain(_TOKEN.findall(f"You said: {said(last)} "), itertools.cycle(filler))
        return "".join(itertools.islice(words, tokens)).rstrip()

    return reply


def plan(reply: Reply, body: Any, cap: Any, choices: int = 1) -> list[Said]:
    """What each choice says.

    Raises:
        Refused: With 400, if ``cap`` is not a positive whole number.
    """
    if cap is not None and (not isinstance(cap, int) or isinstance(cap, bool) or cap < 1):
        raise refused("Invalid value: the output cap must be an integer of at least 1.")
    return [_say(reply, body, cap, index) for index in range(choices)]


def _say(reply: Reply, body: Any, cap: int | None, index: int) -> Said:
    if isinstance(reply, Mapping):
        return _say(cast("Mapping[int, Any]", reply).get(index, ""), body, cap, index)
    value = reply(body) if callable(reply) else reply
    tokens = tuple(_TOKEN.findall(value)) if isinstance(value, str) else tuple(value)
    return Said(tokens[:cap], capped=cap is not None and len(tokens) > cap)


def steps(choices: list[Said]) -> Iterator[list[tuple[int, str]]]:
    """The tokens in the order a model streams them: every choice's first, every choice's second."""
    for row in itertools.zip_longest(*(choice.tokens for choice in choices)):
        yield [(index, token) for index, token in enumerate(row) if token is not None]
