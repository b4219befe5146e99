"""A local stand-in for the OpenAI API, for tests, demos and benchmarks.

What its ``/moderations`` flags: a text with a marker such as ``[[violence]]`` or ``[[hate:0.93]]``
(any of ``CATEGORIES``; the score is 0.97 unless given, and flagged from 0.5), or with one of
``WORDS``: ``UNSAFE`` (violence) and ``SELFHARM`` (self-harm), whole and in capitals. An image is
flagged by the same in its URL, or in the bytes of a data URL, if the category is one that
omni-moderation scores for images: ``self-harm*``, ``sexual`` and ``violence*``.
"""

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
