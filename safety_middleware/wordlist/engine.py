"""The search: one pass over the folded text, one over its letters, more only where it is odd."""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple, Protocol

from ahocorasick_rs import BytesAhoCorasick

from . import skeleton
from .compiled import ALLOW, PREFIX, SUBSTRING, WORD, Compiled, Spelling, compile_terms
from .dressed import is_repeated, is_separated, spelt_around
from .escapes import Reading, retraced, rewritten
from .fold import folder
from .masked import HIDERS, Masks, masks, stars, unmask
from .term import Match, Term

__all__ = ["Engine", "Hit"]

_GLUE: Final = frozenset(
    (
        *("ass", "big", "boy", "da", "dat", "dumb", "face", "girl", "head", "im", "lil", "lmao"),
        *("lol", "my", "no", "real", "so", "stupid", "tard", "the", "this", "u", "ur", "wad", "x"),
        *("xd", "xx", "xxx", "ya", "you", "your"),
    )
)
"""Words people stick to a term to hide it."""

_LETTERS: Final = "a-z0-9"
_WITH_SIGNS: Final = "a-z0-9@$!|+(<{#"


class Hit(NamedTuple):
    """A spelling found in the folded text.

    Attributes:
        start: Where it begins.
        end: Where it ends.
        spelling: Which one.
        dress: How it was written, one of the names of ``explanation.Dress``.
    """

    start: int
    end: int
    spelling: Spelling
    dress: str


class Named(Protocol):
    """What a match says of its term: a ``Term``, or a ``Label``."""

    @property
    def id(self) -> str:
        """The term's id."""
        ...

    @property
    def category(self) -> str:
        """The term's category."""
        ...

    @property
    def severity(self) -> int:
        """The term's severity."""
        ...


class Engine:
    """Terms compiled for one severity. Never changed, so threads may share it."""

    __slots__ = ("_forms", "_lock", "compiled", "folder", "terms")

    def __init__(self, terms: Sequence[Named], compiled: Compiled) -> None:
        self.terms = terms
        self.folder = folder()
        self.compiled = compiled
        self._forms: Masks | None = None
        self._lock = threading.Lock()

    @classmethod
    def of(cls, terms: Sequence[Term], allow: Sequence[str], severity: int) -> Engine:
        """Compile terms that count from a severity on."""
        return cls(terms, compile_terms(terms, allow, severity, folder()))

    def blocked(self, text: str) -> bool:
        """Whether any term that counts is there."""
        if next(self.hits(self.folder.fold(text), text), None) is not None:
            return True
        other = rewritten(text)
        return other is not None and self.blocked_plain(other)

    def blocked_plain(self, text: str) -> bool:
        """Whether any term is there, escapes left alone."""
        return next(self.hits(self.folder.fold(text), text), None) is not None

    def find(self, text: str) -> Match | None:
        """The first term that counts, by its place; of overlapping ones that begin there the longest."""
        found = self._first(text, None)
        other = rewritten(text)
        if other is not None and self.blocked_plain(other):
            outer = retraced(text)
            found += self._first(outer.text, outer)
        return min(found, key=_order)[0] if found else None

    def _first(self, text: str, outer: Reading | None) -> list[tuple[Match, Hit]]:
        """For each way to read a text the first hit, and a few more as long as they overlap it."""
        flat = self.folder.fold(text)
        found: list[Hit] = []
        for stage in self._stages(flat, text):
            first = next(stage, None)
            if first is not None:
                found.append(first)
                for hit in islice(stage, _OVERLAPPING):
                    if hit.start >= first.end:
                        break
                    found.append(hit)
        return self._located(found, text, outer) if found else []

    def find_all(self, text: str) -> tuple[Match, ...]:
        """Every term that counts, in order of place; of nested ones the longest."""
        if not self.blocked(text):
            return ()
        return tuple(match for match, _ in self.findings(text))

    def findings(self, text: str) -> list[tuple[Match, Hit]]:
        """Every term that counts, with how it was found."""
        found = self._matches(text, None)
        if rewritten(text) is not None:
            other = retraced(text)
            found += self._matches(other.text, other)
        found.sort(key=_order)
        kept: list[tuple[Match, Hit]] = []
        for pair in found:
            if not kept or pair[0].end > kept[-1][0].end:
                kept.append(pair)
        return kept

    def _matches(self, text: str, outer: Reading | None) -> list[tuple[Match, Hit]]:
        flat = self.folder.fold(text)
        hits = list(self.hits(flat, text))
        return self._located(hits, text, outer) if hits else []

    def _located(
        self, hits: Iterable[Hit], text: str, outer: Reading | None
    ) -> list[tuple[Match, Hit]]:
        """Matches in the original, of which ``text`` may be a reading without escapes."""
        reading = self.folder.trace(text)
        matches: list[tuple[Match, Hit]] = []
        for hit in hits:
            start, end = reading.origin(hit.start, hit.end)
            if outer is not None:
                start, end = outer.origin(start, end)
                hit = hit._replace(dress="escaped")  # noqa: PLW2901 - the same hit, seen from outside
            term = self.terms[hit.spelling.term]
            matches.append((Match(term.id, term.category, term.severity, start, end), hit))
        return matches

    def allowed_by(self, text: str, start: int, end: int) -> str | None:
        """The allow rule that covers a span of the original text: a word, or a phrase."""
        flat, reading = self.folder.fold(text), self.folder.trace(text)
        places = [at for at in range(len(flat)) if start <= reading.starts[at] < end]
        if not places:
            return None
        first, last = places[0], places[-1] + 1
        left, right = _word(flat, first, last)
        if flat[left:right] in self.compiled.allowed:
            return flat[left:right]
        for rule in self.compiled.allowed_masks:
            if rule.startswith(stars(flat[first:last])) and stars(flat).startswith(rule, first):
                return rule
        for begin, stop in self._allowed(flat, self._raw_hits(flat)):
            if begin <= first and last <= stop:
                return flat[begin:stop]
        return None

    def hits(self, flat: str, text: str) -> Iterator[Hit]:
        """Find spellings in folded text, as written first, then in other dress."""
        for stage in self._stages(flat, text):
            yield from stage

    def _stages(self, flat: str, text: str) -> Iterator[Iterator[Hit]]:
        """The ways to read a text one after the other, each with its hits in order."""
        raw_hits = self._raw_hits(flat)
        if raw_hits:
            yield self._direct(flat, text, raw_hits)
        bare = self.compiled.bare
        if bare is None:
            return
        yield from self._bare(flat, bare)
        if not flat.isascii():
            if skeleton.spelt_out(flat):
                latin = self.folder.latin(flat)
                if latin != flat:
                    yield from self._bare(latin, bare)
            yield self._lookalikes(flat, bare)

    def _lookalikes(self, flat: str, bare: BytesAhoCorasick) -> Iterator[Hit]:
        for word, start, end in self.folder.disguised(flat):
            for spelling in self._spelt(bare, word):
                yield Hit(start, end, spelling, "lookalike")

    def _spelt(self, bare: BytesAhoCorasick, word: str) -> Iterator[Spelling]:
        """The spellings a whole word is."""
        for index, _, _ in bare.find_matches_as_indexes(skeleton.skeleton(word), overlapping=True):
            for spelling in self.compiled.bare_rules[index]:
                if spelling.text == word:
                    yield spelling

    def _raw_hits(self, flat: str) -> list[tuple[int, int, int]]:
        plain, other = self.compiled.plain, self.compiled.other
        hits = [] if plain is None else plain.find_matches_as_indexes(flat, overlapping=True)
        if other is not None and not flat.isascii():
            shift = self.compiled.shift
            found = other.find_matches_as_indexes(flat, overlapping=True)
            hits += [(index + shift, start, end) for index, start, end in found]
        return hits

    def _direct(
        self, flat: str, text: str, raw_hits: Sequence[tuple[int, int, int]]
    ) -> Iterator[Hit]:
        rules = self.compiled.rules
        allowed: list[tuple[int, int]] | None = None
        for index, start, end in raw_hits:
            spelling = rules[index]
            if spelling.mode == ALLOW or not self._stands(flat, start, end, spelling):
                continue
            if allowed is None:
                allowed = self._allowed(flat, raw_hits)
            if any(a <= start and end <= b for a, b in allowed):
                continue
            if spelling.exact and not self._is_exact(flat, text, start, end, spelling):
                continue
            yield Hit(start, end, spelling, "written")

    def _allowed(
        self, flat: str, raw_hits: Sequence[tuple[int, int, int]]
    ) -> list[tuple[int, int]]:
        """Spans of allowed phrases that stand as words."""
        return [
            (start, end)
            for index, start, end in raw_hits
            if self.compiled.rules[index].mode == ALLOW
            and not _letter_before(flat, start)
            and not _letter_at(flat, end)
        ]

    def _stands(self, flat: str, start: int, end: int, spelling: Spelling) -> bool:
        """Whether a spelling may stand where it was found, and is not part of an innocent word."""
        before, after = _letter_before(flat, start), _letter_at(flat, end)
        if not before and not after:
            return not self.compiled.allowed or flat[start:end] not in self.compiled.allowed
        if spelling.mode == SUBSTRING or (spelling.mode == PREFIX and not before):
            return not self._is_innocent(flat, start, end)
        if spelling.mode != WORD or not spelling.evades:
            return False
        left, right = _word(flat, start, end)
        return (
            (left == start or flat[left:start] in _GLUE)
            and (right == end or flat[end:right] in _GLUE)
            and flat[left:right] not in self.compiled.allowed
        )

    def _is_innocent(self, flat: str, start: int, end: int) -> bool:
        """Whether the whole word around a span is allowed, also with digits for letters."""
        left, right = _word(flat, start, end)
        allowed = self.compiled.allowed
        if flat[left:right] in allowed:
            return True
        if not allowed or not (flat[left - 1 : left] + flat[right : right + 1]).isdigit():
            return False
        before = _DIGITS_ON.match(flat[max(0, left - _LONGEST_WORD) : left][::-1])
        after = _DIGITS_ON.match(flat[right : right + _LONGEST_WORD])
        word = f"{before[0][::-1] if before else ''}{flat[left:right]}{after[0] if after else ''}"
        return any(word.translate(reading) in allowed for reading in _DIGITS)

    def _is_spelt(self, flat: str, start: int, end: int) -> bool:
        """Whether the letters go on before or after, and spell an allowed word."""
        return spelt_around(flat, start, end) in self.compiled.allowed

    def _is_exact(self, flat: str, text: str, start: int, end: int, spelling: Spelling) -> bool:
        """Whether the original has the accents too; the way back is traced only if it is long."""
        drift = len(text) - len(flat)
        for shift in range(min(0, drift), max(0, drift) + 1) if abs(drift) <= _DRIFT else ():
            piece = text[start + shift : end + shift]
            if self.folder.fold(piece) == flat[start:end]:
                after = end + shift
                while self.folder.is_mark(text[after : after + 1]):
                    after += 1
                piece = text[start + shift : after]
                break
        else:
            start, end = self.folder.trace(text).origin(start, end)
            piece = text[start:end]
        return unicodedata.normalize("NFC", piece).lower() in spelling.exact

    def _bare(self, flat: str, bare: BytesAhoCorasick) -> Iterator[Iterator[Hit]]:
        """Look at the letters alone: set apart, digits and signs for letters, repeats."""
        raw = flat.encode("ascii", "replace")
        found = bare.find_matches_as_indexes(skeleton.letters(raw), overlapping=True)
        if found:
            yield self._separated(flat, raw, found, signs=False)
        if skeleton.has_signs(raw):
            letters = skeleton.letters(raw, signs=True)
            found = bare.find_matches_as_indexes(letters, overlapping=True)
            if found:
                yield self._separated(flat, raw, found, signs=True)
        stretches = skeleton.stretched(raw)
        if stretches:
            yield self._repeated(flat, raw, bare, stretches)
        if any(sign in flat for sign in HIDERS):
            yield self._masked(flat)

    def _masked(self, flat: str) -> Iterator[Hit]:
        for start, end, spelling in unmask(flat, self._masks()):
            yield Hit(start, end, spelling, "masked")

    def _separated(
        self, flat: str, raw: bytes, found: Sequence[tuple[int, int, int]], *, signs: bool
    ) -> Iterator[Hit]:
        places = skeleton.Places(raw, signs=signs)
        letter = _WITH_SIGNS if signs else _LETTERS
        allowed: list[tuple[int, int]] | None = None
        for index, first, last in found:
            start, end = places[first], places[last - 1] + 1
            for spelling in self.compiled.bare_rules[index]:
                if last - first != len(spelling.text.replace(" ", "")) or not is_separated(
                    flat, start, end, spelling, letter
                ):
                    continue
                if allowed is None:
                    allowed = self._allowed(flat, self._raw_hits(flat))
                if not (
                    self._is_innocent(flat, start, end)
                    or (
                        end - start > last - first == len(spelling.text)
                        and self._is_spelt(flat, start, end)
                    )
                    or any(a <= start and end <= b for a, b in allowed)
                ):
                    yield Hit(start, end, spelling, "separated")

    def _repeated(
        self, flat: str, raw: bytes, bare: BytesAhoCorasick, stretches: Iterable[tuple[int, int]]
    ) -> Iterator[Hit]:
        for begin, stop in stretches:
            read = skeleton.read(raw[begin:stop])
            pressed, starts = skeleton.press(read)
            for index, first, last in bare.find_matches_as_indexes(pressed, overlapping=True):
                run = read[starts[first] : starts[last]]
                start, end = begin + starts[first], begin + starts[last]
                inside = _letter_before(flat, start) or _letter_at(flat, end)
                for spelling in self.compiled.bare_rules[index]:
                    if (
                        is_repeated(run, spelling)
                        and (spelling.mode == SUBSTRING or not inside)
                        and not self._is_innocent(flat, start, end)
                    ):
                        yield Hit(start, end, spelling, "repeated")

    def _masks(self) -> Masks:
        """Made when the first star is met: most texts have none."""
        if self._forms is None:
            with self._lock:
                if self._forms is None:
                    rules = (s for some in self.compiled.bare_rules for s in some)
                    self._forms = masks(rules, self.compiled.allowed_masks)
        return self._forms


def _order(pair: tuple[Match, Hit]) -> tuple[int, int, int]:
    return pair[0].start, -pair[0].end, -pair[0].severity


def _is_letter(char: str) -> bool:
    return char.isalpha() or (char > "\u02ff" and unicodedata.category(char)[0] == "M")


def _letter_before(text: str, place: int) -> bool:
    """Whether the word at ``place`` has begun before; Latin words need no space beside Chinese."""
    return place > 0 and _is_letter(text[place - 1]) and not _parted(text, place)


def _letter_at(text: str, place: int) -> bool:
    """Whether the word that ends at ``place`` goes on."""
    return place < len(text) and _is_letter(text[place]) and not _parted(text, place)


def _parted(text: str, place: int) -> bool:
    """Whether one of the characters beside ``place`` is East Asian and the other is not."""
    return 0 < place < len(text) and (text[place - 1] < _EAST_ASIAN) != (text[place] < _EAST_ASIAN)


_EAST_ASIAN: Final = "\u2e80"
"""From here on scripts are written without spaces, or, as Korean, with endings put to Latin words."""

_LONGEST_WORD: Final = 60
_OVERLAPPING: Final = 16
"""Hits that overlap the first one and are compared with it."""

_DRIFT: Final = 64
"""Characters a text may have gained or lost by folding for the original to be looked for nearby."""

_DIGITS_ON: Final = re.compile("[a-z0-9]*")
_DIGITS: Final = tuple(str.maketrans("0134578", letters) for letters in ("oieastb", "oleastb"))
_LETTERS_ON: Final = re.compile("[a-z]*", re.IGNORECASE)


def _word(text: str, start: int, end: int) -> tuple[int, int]:
    """The letters around a span; looks at a bounded stretch only."""
    before = text[max(0, start - _LONGEST_WORD) : start]
    after = text[end : end + _LONGEST_WORD]
    if before.isascii() and after.isascii():
        left, right = _LETTERS_ON.match(before[::-1]), _LETTERS_ON.match(after)
        return start - (left.end() if left else 0), end + (right.end() if right else 0)
    left_end, right_end = start, end
    while left_end > start - len(before) and _letter_before(text, left_end):
        left_end -= 1
    while right_end < end + len(after) and _letter_at(text, right_end):
        right_end += 1
    return left_end, right_end
