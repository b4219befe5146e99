#!/usr/bin/env python3
"""Write the words that look bad and are innocent: what the lists hit in large dictionaries.

usage: build_exceptions.py [--dict DIR] [--review]

DIR holds Debian's word lists: apt-get install wamerican-huge wamerican-small wbritish-huge
wngerman wfrench wspanish wportuguese wbrazilian witalian wdutch wpolish. Every word of them is given to the wordlist
without exceptions. A word that is flagged and is no spelling of a term is innocent, unless it is a
compound or inflection in the term's own language (German ``Riesenarsch``, not ``Marsch``). Typing
errors of common English words (``whre`` for where) count as dictionary words. ``--review`` prints what
was left to block, for the eye of whoever curates the lists.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from safety_middleware.wordlist import LANGUAGES, Term, Wordlist
from safety_middleware.wordlist.fold import folder
from safety_middleware.wordlist.near import neighbours
from safety_middleware.wordlist.source import read_lines

HOME = Path(__file__).parent.parent / "safety_middleware" / "wordlist" / "data"
DICTIONARIES = {
    "american-english-huge": "en",
    "british-english-huge": "en",
    "ngerman": "de",
    "french": "fr",
    "spanish": "es",
    "portuguese": "pt",
    "brazilian": "pt",
    "italian": "it",
    "dutch": "nl",
    "polish": "pl",
}
COMMON = "american-english-small"
SHORTEST_PART = 3
"""Letters of the other part of a compound; ``m`` and ``b`` before ``arsch`` are no words."""

ENDINGS = frozenset("s es ed er ers ery eries ing ings y ier iest ily iness inesses".split())  # noqa: SIM905 - as below
"""What an English word may end in to be an inflection; its compounds are listed or exempt."""

NEVER = (
    "fuck",
    "bullshit",
    "shitstorm",
    "gangbang",
    "bitches",
    "niggerd",
    "niggeri",
    "niggerl",
    "gobshite",
)
"""Never innocent, in whatever language a dictionary has it as a loan-word."""

BY_HAND = """
bitche bitchu chishite cunter cuntis faggeto fagetti fukkatsu ishitani kinoshita matsushita miyashita
morishita mishit mishits mishitting niggemann niggemeyer niggli niggenkopf penistone scunthorpe scunthorpes shitake
shitakes shitamachi shitara shitennoji shitterton shittim takeshita takeshitas titicaca yamashita
yoshitaka hoshit shitsu sashita ashita toshito nishitani nishitokyo ushitora shitang kushitic kashit rashit
""".split()  # noqa: SIM905 - easier to keep in order than a list
"""Places, names and loan-words that the dictionaries do not have."""


def main() -> None:
    """Read the dictionaries and write the exceptions."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--dict", type=Path, default=Path("/usr/share/dict"))
    args.add_argument("--review", action="store_true")
    options = args.parse_args()
    innocent, left = sort_out(options.dict)
    (HOME / "exceptions.txt").write_text("\n".join(sorted(innocent)) + "\n", encoding="utf-8")
    print(f"{len(innocent)} words are exempt, {len(left)} of the dictionaries block")  # noqa: T201
    if options.review:
        print(*sorted(left), sep="\n")  # noqa: T201


def sort_out(place: Path) -> tuple[set[str], set[str]]:
    """Give every word to the lists; answers innocent words, and those that go on blocking."""
    fold = folder().fold
    terms = [
        term
        for language in LANGUAGES
        for term in read_lines((HOME / "terms" / f"{language}.txt").read_text("utf-8"), language)
    ]
    words = Wordlist(terms)
    by_id = {term.id: term for term in terms}
    spellings = {
        fold(text) for term in terms if term.severity >= words.severity for text in term.spellings
    }
    innocent, left = {word for word in BY_HAND if words.blocked(word)}, set[str]()
    for name, language in DICTIONARIES.items():
        vocabulary = {fold(word) for word in read(place / name)}
        for word in vocabulary:
            match = words.find(word)
            if match is None:
                continue
            term = by_id[match.term]
            span = (match.start, match.end)
            if word in spellings or is_vulgar(word, span, term, language, vocabulary):
                left.add(f"{language} {word}: {term.language} {term.text}")
            else:
                innocent.add(word)
    innocent.update(typing_errors(place, words), spelt_out(place, words))
    return innocent - spellings, left


def is_vulgar(
    word: str, span: tuple[int, int], term: Term, language: str, vocabulary: set[str]
) -> bool:
    """Whether a word is the term of its own language, inflected or in a compound."""
    before, after = word[: span[0]], word[span[1] :]
    if any(part in word for part in NEVER):
        return True
    if term.language != language:
        return False
    if term.language == "en":
        return not before and after in ENDINGS
    return not before or (len(before) >= SHORTEST_PART and before in vocabulary)


def spelt_out(place: Path, words: Wordlist) -> Iterator[str]:
    """English words that hold a term which shows when they are spelt out: r e p u t a b l e."""
    for word in set(read(place / "american-english-huge")):
        if word.isalpha() and words.blocked(" ".join(word)) and not words.blocked(word):
            yield word


def typing_errors(place: Path, words: Wordlist) -> Iterator[str]:
    """Misspellings of common innocent words that the lists take for a term."""
    common = {word for word in read(place / COMMON) if word.isalpha() and not words.blocked(word)}
    for word in common:
        yield from (form for form in neighbours(word) if words.blocked(form))


def read(path: Path) -> Iterator[str]:
    """Words of a dictionary, in lower case, without the English genitive."""
    for line in path.read_text("utf-8").splitlines():
        yield line.lower().removesuffix("'s")


if __name__ == "__main__":
    main()
