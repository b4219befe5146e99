"""A local stand-in for the OpenAI API, for tests, demos and benchmarks."""

from __future__ import annotations

from ._fake import FakeOpenAI
from ._faults import Failure, Kind
from ._latency import Latency, lognormal
from ._log import Seen
from ._moderation import CATEGORIES, WORDS
from ._replies import Reply

__all__ = [
    "CATEGORIES",
    "WORDS",
    "Failure",
    "FakeOpenAI",
    "Kind",
    "Latency",
    "Reply",
    "Seen",
    "lognormal",
]
