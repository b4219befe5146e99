"""The wordlist an operator holds: immutable, safe to share between threads, cheap to swap."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeVar

from safety_middleware.errors import SettingsError

from .engine import Engine
from .shipped import DATA, load
from .stream import Stream
from .term import Match, Term

if TYPE_CHECKING:
    from pathlib import Path

    from .explanation import Explanation

__all__ = ["LANGUAGES", "Wordlist"]

LANGUAGES: Final = (
    *("ar", "de", "en", "es", "fr", "hi", "it", "ja", "ko", "nl", "pl", "pt", "ru", "tr", "zh"),
)
"""ISO 639-1 codes of the languages the default list has terms for."""

BLOCKING: Final = 3
_T = TypeVar("_T")


class Wordlist:
    """Terms compiled into one automaton.

    Args:
        terms: Terms; a plain string is a word of severity 4 in the category ``profanity``.
        allow: Words and phrases that are innocent although they hold a term.
        severity: From which severity on a term counts, 1 to 4. Milder terms are kept and not
            looked for.

    Raises:
        SettingsError: If a term or the severity is not valid.
    """

    __slots__ = ("_allow", "_engines", "_lock", "_severity", "_terms")

    def __init__(
        self,
        terms: Iterable[str | Term] = (),
        allow: Iterable[str] = (),
        *,
        severity: int = BLOCKING,
    ) -> None:
        if severity not in range(1, 5):
            raise SettingsError("wordlist", f"severity {severity!r}", "Use 1 to 4.")
        self._terms: tuple[Term, ...] | None = _distinct(map(_as_term, _several(terms)))
        self._allow: tuple[str, ...] | None = tuple(dict.fromkeys(_several(allow)))
        self._severity = severity
        self._lock = threading.Lock()
        self._engines = {severity: Engine.of(self._terms, self._allow, severity)}

    @classmethod
    def default(
        cls, languages: Iterable[str] | None = None, *, severity: int = BLOCKING
    ) -> Wordlist:
        """The list that ships, for some languages or for all; built once per choice.

        Raises:
            SettingsError: If a language does not ship; ``LANGUAGES`` are those that do.
        """
        chosen = _languages(LANGUAGES if languages is None else languages)
        if severity == BLOCKING and len(chosen) == len(LANGUAGES):
            return cls._whole()
        return _default(chosen, severity)

    @classmethod
    @lru_cache(maxsize=1)
    def _whole(cls) -> Wordlist:
        """All that ships, as it was compiled ahead; its terms are read when they are asked for."""
        words = Wordlist()
        words._terms = words._allow = None
        words._engines = {BLOCKING: Engine(*load())}
        return words

    @classmethod
    def load(cls, path: str | Path, *, severity: int | None = None) -> Wordlist:
        """Read a file of terms: TOML, JSON, CSV, or plain lines for any other suffix.

        A TOML or JSON file may also say ``languages``, to start from the list that ships for them,
        ``remove``, ``allow`` and ``severity``; *severity* here is stronger.

        Raises:
            SettingsError: If the file cannot be read or an entry is not valid.
        """
        from .source import read_file  # noqa: PLC0415 - its parsers are not needed for the default list

        read = read_file(path)
        terms, allow = read.terms, read.allow
        if read.languages is not None:
            ours, exceptions = read_shipped(_languages(read.languages))
            terms, allow = (*_without(ours, read.remove), *terms), (*exceptions, *allow)
        return cls(terms, allow, severity=severity or read.severity or BLOCKING)

    @property
    def terms(self) -> tuple[Term, ...]:
        """All terms, those too mild to count as well."""
        if self._terms is None:
            self._terms = _distinct(read_shipped(frozenset(LANGUAGES))[0])
        return self._terms

    @property
    def allow(self) -> tuple[str, ...]:
        """The words and phrases that are innocent although they hold a term."""
        if self._allow is None:
            self._allow = read_shipped(frozenset(LANGUAGES))[1]
        return self._allow

    @property
    def severity(self) -> int:
        """From which severity on a term counts."""
        return self._severity

    def find(self, text: str, severity: int | None = None) -> Match | None:
        """Find the first term that counts, by its place in the text.

        A text full of terms costs little more than a clean one.

        Args:
            text: Any string, lone surrogates included.
            severity: Count terms from here on, instead of from the list's own severity.
        """
        return self._engine(severity).find(text)

    def find_all(self, text: str, severity: int | None = None) -> tuple[Match, ...]:
        """Find every term that counts, in order of place; of nested ones the longest."""
        return self._engine(severity).find_all(text)

    def blocked(self, text: str) -> bool:
        """Whether the text holds any term that counts."""
        return self._engines[self._severity].blocked(text)

    def stream(self) -> Stream:
        """Begin to check a text that arrives in pieces."""
        return Stream(self._engines[self._severity])

    def explain(self, text: str) -> Explanation:
        """Say what was found at any severity, how it was read, and which allow rule applied."""
        from .explanation import explain  # noqa: PLC0415 - for operators only

        return explain(self.terms, self.allow, self._severity, text)

    def with_terms(self, terms: Iterable[str | Term] = (), allow: Iterable[str] = ()) -> Wordlist:
        """Return a new list with more terms and allowed phrases; equal ids are replaced."""
        return Wordlist(
            (*self.terms, *_several(terms)),
            (*self.allow, *_several(allow)),
            severity=self._severity,
        )

    def without(self, terms: Iterable[str]) -> Wordlist:
        """Return a new list without some terms, named by id, headword or variant."""
        return Wordlist(_without(self.terms, names=terms), self.allow, severity=self._severity)

    def at(self, severity: int) -> Wordlist:
        """Return the same terms, counted from another severity on."""
        return Wordlist(self.terms, self.allow, severity=severity)

    def __len__(self) -> int:
        return len(self.terms)

    def __repr__(self) -> str:
        return f"<Wordlist of {len(self.terms)} terms, from severity {self._severity}>"

    def _engine(self, severity: int | None) -> Engine:
        wanted = self._severity if severity is None else severity
        engine = self._engines.get(wanted)
        if engine is None:
            with self._lock:
                if wanted not in self._engines:
                    self._engines[wanted] = Engine.of(self.terms, self.allow, wanted)
                engine = self._engines[wanted]
        return engine


def _as_term(term: str | Term) -> Term:
    return term if isinstance(term, Term) else Term(text=term)


def _distinct(terms: Iterable[Term]) -> tuple[Term, ...]:
    return tuple({term.id: term for term in terms}.values())


def _several(items: Iterable[_T]) -> Iterable[_T]:
    """Refuse one string where several are meant: its letters would each become a term."""
    if isinstance(items, str):
        raise SettingsError("wordlist", "got one string", "Give a list of strings or terms.")
    return items


def _without(terms: Iterable[Term], names: Iterable[str]) -> tuple[Term, ...]:
    gone = {str(name).casefold() for name in _several(names)}
    return tuple(term for term in terms if not gone & {term.id, *map(str.casefold, term.spellings)})


def _languages(wanted: Iterable[str]) -> frozenset[str]:
    chosen = frozenset(_several(wanted))
    if unknown := sorted(chosen - set(LANGUAGES)):
        raise SettingsError(
            "languages", f"{unknown[0]!r} does not ship", f"Use {', '.join(LANGUAGES)}."
        )
    return chosen


@lru_cache(maxsize=16)
def _default(languages: frozenset[str], severity: int) -> Wordlist:
    return Wordlist(*read_shipped(languages), severity=severity)


@lru_cache(maxsize=16)
def read_shipped(languages: frozenset[str]) -> tuple[tuple[Term, ...], tuple[str, ...]]:
    """The terms that ship for some languages, and the exceptions, which are for all."""
    from .source import read_lines  # noqa: PLC0415 - as in ``load``

    terms = tuple(
        term
        for language in LANGUAGES
        if language in languages
        for term in read_lines(_text(f"terms/{language}.txt"), language)
    )
    return terms, tuple(_text("exceptions.txt").splitlines())


def _text(name: str) -> str:
    with open(f"{DATA}/{name}", encoding="utf-8") as file:  # noqa: PTH123 - pathlib takes long to import
        return file.read()
