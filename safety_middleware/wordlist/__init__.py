"""The wordlist: the check that works when every service is down, in microseconds."""

from .explanation import Explanation, Finding, Reading
from .stream import Stream
from .term import CATEGORIES, Match, Mode, Term
from .watch import WatchedWordlist
from .wordlist import LANGUAGES, Wordlist

__all__ = [
    "CATEGORIES",
    "LANGUAGES",
    "Explanation",
    "Finding",
    "Match",
    "Mode",
    "Reading",
    "Stream",
    "Term",
    "WatchedWordlist",
    "Wordlist",
]
