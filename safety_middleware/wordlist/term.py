"""What a wordlist is made of: terms, and the matches it answers with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from safety_middleware.errors import SettingsError

__all__ = ["CATEGORIES", "Match", "Mode", "Severity", "Term"]

Mode = Literal["word", "prefix", "substring", "phrase"]
Severity = Literal[1, 2, 3, 4]

CATEGORIES: Final = frozenset(
    {
        "profanity",
        "harassment",
        "harassment/threatening",
        "hate",
        "hate/threatening",
        "illicit",
        "illicit/violent",
        "self-harm",
        "self-harm/instructions",
        "self-harm/intent",
        "sexual",
        "sexual/minors",
        "violence",
        "violence/graphic",
    }
)
"""The moderation categories of OpenAI's API, and ``profanity``, which it does not have."""

LONGEST_TERM: Final = 100
_MODES: Final = frozenset[object](get_args(Mode))
_SEVERITIES: Final = frozenset[object](get_args(Severity))


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One entry of a wordlist, with its spellings.

    Attributes:
        text: The headword, in any case; at most 100 characters.
        language: ISO 639-1 code, or "" when it belongs to none.
        category: One of ``CATEGORIES``.
        severity: 1 mild, 2 rude, 3 strong obscenity, 4 slur. From 3 on it blocks by default.
        mode: ``word`` stands alone; ``prefix`` may go on; ``substring`` may stand inside a word;
            ``phrase`` is several words with any white space between them.
        variants: Other spellings and inflections, matched in the same mode.
        allow: Words or phrases that hold this term and are innocent.
        exact: Matched as written only; no look for spaced, masked or misspelt forms.
        near: Also matched with two letters side by side swapped, or a vowel left out.
        id: Stable name for logs and records; does not show the text. Made from language and
            headword when not given.

    Raises:
        SettingsError: If a field is empty, too long or not one of its values.
    """

    text: str
    language: str = ""
    category: str = "profanity"
    severity: int = 4
    mode: Mode = "word"
    variants: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    exact: bool = False
    near: bool = False
    id: str = ""

    def __post_init__(self) -> None:
        """Check every field and name the term."""
        for spelling in (self.text, *self.variants, *self.allow):
            if not spelling.strip() or len(spelling) > LONGEST_TERM:
                raise SettingsError(
                    "wordlist",
                    f"a spelling has {len(spelling.strip())} characters",
                    f"Give each spelling 1 to {LONGEST_TERM} characters.",
                )
        _check("category", self.category, CATEGORIES)
        _check("mode", self.mode, _MODES)
        _check("severity", self.severity, _SEVERITIES)
        if not self.id:
            object.__setattr__(self, "id", term_id(self.language, self.text))

    @property
    def spellings(self) -> tuple[str, ...]:
        """The headword and its variants."""
        return (self.text, *self.variants)


@dataclass(frozen=True, slots=True)
class Match:
    """One term found in a text.

    Attributes:
        term: The term's id, fit for logs and records.
        category: The term's category.
        severity: The term's severity, 1 to 4.
        start: Offset of the first character, in code points of the original text.
        end: Offset after the last character.
    """

    term: str
    category: str
    severity: int
    start: int
    end: int


def term_id(language: str, text: str) -> str:
    """Name a term without showing it: its language and a hash of its headword."""
    import hashlib  # noqa: PLC0415 - loads OpenSSL, which the list that ships does not need

    key = text.casefold().encode("utf-8", "surrogatepass")
    return f"{language or 'own'}-{hashlib.blake2b(key, digest_size=4).hexdigest()}"


def _check(name: str, value: object, known: frozenset[object] | frozenset[str]) -> None:
    if value not in known:
        choices = ", ".join(sorted(map(str, known)))
        raise SettingsError("wordlist", f"{value!r} is not a {name}", f"Use one of: {choices}.")
