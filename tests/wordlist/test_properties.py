"""What holds for every text."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from safety_middleware.wordlist import Term, Wordlist

TERMS = ("plumkin", "durian", "sour gristle", "bananarama")
WORDS = Wordlist([Term(text=text, mode="word") for text in TERMS])
DEFAULT = Wordlist.default()

any_text = st.text(st.characters(), max_size=200)  # lone surrogates included
clean = st.lists(
    st.sampled_from(
        ["the", "weather", "is", "nice", "and", "we", "like", "tea", "über", "日本", "мир"]
    ),
    max_size=8,
).map(" ".join)


def spaced(word: str) -> str:
    return " ".join(word)


def marked(word: str) -> str:
    return ".".join(word)


def wide(word: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if c != " " else c for c in word)


def zalgo(word: str) -> str:
    return "".join(c + "\u0336\u0301" if c != " " else c for c in word)


def stretched(word: str) -> str:
    return word.replace("a", "aaaa").replace("u", "uuuu").replace("i", "iiii")


def entities(word: str) -> str:
    return "".join(f"&#{ord(c)};" for c in word)


def same(word: str) -> str:
    return word


def put_on(word: str, dress: Callable[[str], str]) -> str:
    return dress(word)


dressed = st.builds(
    put_on,
    st.sampled_from(TERMS),
    st.sampled_from([same, str.upper, spaced, marked, wide, zalgo, entities]),
) | st.sampled_from(TERMS[:2]).map(stretched)


@given(clean, dressed, clean)
def test_clean_text_around_a_match_never_hides_it_and_the_slice_holds_it(
    before: str, term: str, after: str
) -> None:
    alone = WORDS.find(term)
    assert alone is not None
    text = f"{before} {term} {after}"
    match = WORDS.find(text)
    assert match is not None
    assert match.term == alone.term
    piece = text[match.start : match.end]
    again = WORDS.find(piece)
    assert again is not None
    assert (again.term, again.start) == (match.term, 0)


@given(st.text("abcdefghijklmnopqrstuvwxyz", min_size=5, max_size=12), st.data())
def test_an_allow_rule_never_hides_a_longer_term(word: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(word) - 1))
    end = data.draw(st.integers(start + 1, len(word)))
    part = word[start:end]
    words = Wordlist([Term(text=word, mode="substring")], allow=[part] if part != word else [])
    assert words.blocked(word)
    assert words.blocked(f"so {word} it is")


@given(any_text)
@settings(max_examples=300, deadline=None)
def test_any_string_is_read_without_error(text: str) -> None:
    found = DEFAULT.find_all(text, 1)
    places = [(match.start, match.end) for match in found]
    assert all(0 <= start < end <= len(text) for start, end in places)
    assert places == sorted(places)
    assert DEFAULT.blocked(text) == (DEFAULT.find(text) is not None)


@given(any_text, dressed, any_text)
@settings(max_examples=200, deadline=None)
def test_offsets_lie_in_any_text(before: str, term: str, after: str) -> None:
    text = f"{before} {term} {after}"
    for match in WORDS.find_all(text):
        assert 0 <= match.start < match.end <= len(text)


@given(st.lists(st.one_of(clean, dressed), max_size=6).map(" ".join), st.data())
@settings(deadline=None)
def test_a_stream_finds_what_the_whole_text_has_and_clears_none_of_it(
    text: str, data: st.DataObject
) -> None:
    whole = WORDS.find(text)
    stream = WORDS.stream()
    match, place, cleared = None, 0, 0
    while place < len(text) and match is None:
        size = data.draw(st.integers(1, 12))
        match = stream.feed(text[place : place + size])
        place = min(place + size, len(text))
        if match is None:
            assert 0 <= stream.pending <= place
            assert place - stream.pending >= cleared
            cleared = place - stream.pending
    match = match or stream.finish()
    assert match == whole
    assert match is None or cleared <= match.start


@given(any_text)
@settings(deadline=None)
def test_an_explanation_agrees_with_the_verdict(text: str) -> None:
    assert DEFAULT.explain(text).blocked == DEFAULT.blocked(text)
