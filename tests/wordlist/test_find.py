"""What a list finds, where, and what its rules change."""

from __future__ import annotations

import dataclasses
import unicodedata

import pytest

from safety_middleware.errors import SettingsError
from safety_middleware.wordlist import CATEGORIES, LANGUAGES, Match, Term, Wordlist

FRUIT = Wordlist(["durian", Term(text="sour plum", mode="phrase", category="hate", severity=3)])


def found(words: Wordlist, text: str) -> list[str]:
    return [text[m.start : m.end] for m in words.find_all(text)]


def test_a_match_names_term_category_severity_and_place() -> None:
    match = FRUIT.find("one Sour  plum")
    assert match is not None
    assert dataclasses.astuple(match)[1:] == ("hate", 3, 4, 14)
    assert match.category in CATEGORIES
    assert "plum" not in match.term


def test_a_clean_text_has_no_match() -> None:
    assert FRUIT.find("plum and sour cherry") is None
    assert FRUIT.find_all("") == ()
    assert not FRUIT.blocked("indurianed")


def test_all_matches_come_in_order_and_of_nested_ones_the_longest() -> None:
    words = Wordlist(["plum", "plum tree", "pear"])
    assert found(words, "pear, plum tree, plum") == ["pear", "plum tree", "plum"]


@pytest.mark.parametrize(
    ("mode", "hits"),
    [
        ("word", ["plum"]),
        ("phrase", ["plum"]),
        ("prefix", ["plum", "plumage"]),
        ("substring", ["plum", "plumage", "aplum", "aplumb"]),
    ],
)
def test_the_mode_says_where_a_term_may_stand(mode: str, hits: list[str]) -> None:
    words = Wordlist([Term(text="plum", mode=mode)])  # type: ignore[arg-type]  # parametrised
    assert [w for w in ("plum", "plumage", "aplum", "aplumb") if words.blocked(w)] == hits


def test_combining_marks_belong_to_the_match() -> None:
    text = "du\u0301ria\u0301n\u0301!"
    match = FRUIT.find(text)
    assert match is not None
    assert text[match.start : match.end] == text[:-1]


def test_milder_terms_are_kept_and_not_found_unless_asked_for() -> None:
    words = Wordlist([Term(text="darn", severity=1), "durian"])
    assert words.find("darn") is None
    found = words.find("darn", 1)
    assert found is not None
    assert words.find_all("darn durian", 1)[0] == found
    assert words.at(1).blocked("darn")
    assert len(words) == 2
    assert words.severity == 3


def test_an_allowed_word_or_phrase_passes_and_nothing_else() -> None:
    words = Wordlist([Term(text="plum", mode="substring", allow=("plumage",))], ["sour plum"])
    assert not words.blocked("plumage, a sour plum, a sour-plum")
    assert words.blocked("sour plums")
    assert words.blocked("plumages")


def test_an_allow_rule_covers_whole_words_only() -> None:
    words = Wordlist([Term(text="bitch", mode="substring")], allow=["bitche"])
    assert not words.blocked("Bitche is a town")
    assert words.blocked("bitches")


def test_terms_are_added_and_removed_in_a_new_list() -> None:
    more = FRUIT.with_terms(["quince"], allow=["royal quince"])
    assert more.blocked("quince")
    assert not more.blocked("royal quince")
    assert not FRUIT.blocked("quince")
    less = more.without(["Durian"])
    assert not less.blocked("durian")
    assert less.allow == ("royal quince",)
    term = more.terms[0].id
    assert not more.without([term]).blocked("durian")


def test_a_term_added_twice_is_there_once() -> None:
    again = FRUIT.with_terms([Term(text="durian", severity=3)])
    match = again.find("durian")
    assert match is not None
    assert (len(again), match.severity) == (2, 3)


def test_of_two_terms_with_one_spelling_the_graver_speaks() -> None:
    words = Wordlist(
        [Term(text="a", id="mild", severity=3, variants=("plum",)), Term(text="plum", id="grave")]
    )
    match = words.find("plum")
    assert match is not None
    assert match.term == "grave"


def test_an_exact_term_keeps_its_accents() -> None:
    words = Wordlist([Term(text="pêche", exact=True)])
    assert words.blocked("PÊCHE")
    assert words.blocked("pe\u0302che")
    assert not words.blocked("peche")


def test_an_empty_list_finds_nothing() -> None:
    assert not Wordlist().blocked("anything at all \u00e9 f.u.n @ ***")


def test_single_strings_are_refused_where_several_are_meant() -> None:
    with pytest.raises(SettingsError):
        Wordlist("durian")
    with pytest.raises(SettingsError):
        FRUIT.without("durian")


@pytest.mark.parametrize(
    "fields",
    [
        {"text": " "},
        {"text": "x" * 101},
        {"text": "x", "category": "fruit"},
        {"text": "x", "mode": "regex"},
        {"text": "x", "severity": 5},
        {"text": "x", "allow": ("",)},
    ],
)
def test_a_term_that_makes_no_sense_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        Term(**fields)  # type: ignore[arg-type]  # wrong on purpose


def test_a_severity_out_of_range_is_refused() -> None:
    with pytest.raises(SettingsError):
        Wordlist(["x"], severity=0)


def test_the_default_list_is_built_once_per_choice_and_knows_its_languages() -> None:
    english = Wordlist.default(["en"])
    assert english is Wordlist.default({"en"})
    assert {term.language for term in english.terms} == {"en"}
    assert {term.language for term in Wordlist.default().terms} == set(LANGUAGES)
    with pytest.raises(SettingsError, match="tlh"):
        Wordlist.default(["tlh"])


def test_a_list_shows_how_many_terms_it_has_and_none_of_them() -> None:
    assert repr(FRUIT) == "<Wordlist of 2 terms, from severity 3>"


def test_a_match_is_a_value() -> None:
    assert Match("a", "hate", 4, 0, 1) == Match("a", "hate", 4, 0, 1)


def test_latin_words_stand_alone_beside_chinese_and_korean() -> None:
    words = Wordlist(["durian"])
    for text in ("他说durian了", "durian이다", "他说 d u r i a n", "「durian」"):
        assert words.blocked(text)
    assert not words.blocked("morkdurian了")


def test_korean_and_kana_in_parts_are_put_together() -> None:
    words = Wordlist(["시발놈", "くそばばあ"])
    for text in ("시발놈", "くそばばあ"):
        parts = unicodedata.normalize("NFD", text)
        match = words.find(f"x {parts} x")
        assert match is not None
        assert (match.start, match.end) == (2, 2 + len(parts))


def test_find_answers_the_first_by_place() -> None:
    words = Wordlist(["durian", "plumkin"])
    for text in ("d u r i a n plumkin", "&#100;urian plumkin", "plumkin d*rian", "durian, durian"):
        assert words.find(text) == words.find_all(text)[0]
