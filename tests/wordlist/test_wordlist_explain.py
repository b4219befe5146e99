"""Why a text was blocked or not, for the operator."""

from __future__ import annotations

import pytest

from safety_middleware.wordlist import Finding, Reading, Term, Wordlist

WORDS = Wordlist(
    [
        Term(text="durian", near=True),
        Term(text="plum", mode="substring", allow=("plumage",)),
        Term(text="drat", severity=1),
    ],
    allow=["sweet durian"],
)


def only(text: str) -> Finding:
    (finding,) = WORDS.explain(text).findings
    return finding


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("durian", Reading.WRITTEN),
        ("Durian", Reading.WRITTEN),
        ("dürian", Reading.FOLDED),
        ("d u r i a n", Reading.SEPARATED),
        ("dur1an", Reading.SEPARATED),
        ("duuurian", Reading.REPEATED),
        ("d*rian", Reading.MASKED),
        ("druian", Reading.MISSPELT),
        ("&#100;urian", Reading.ESCAPED),
        ("\u0501\u057d\u0433\u0456\u0430\u0578", Reading.LOOKALIKE),
    ],
)
def test_it_says_how_the_text_was_read(text: str, reading: Reading) -> None:
    finding = only(text)
    assert (finding.reading, finding.written, finding.blocks) == (reading, text, True)
    if reading is not Reading.MISSPELT:
        assert finding.read == "durian"


@pytest.mark.parametrize(
    ("text", "rule"), [("a sweet durian", "sweet durian"), ("PLUMAGE", "plumage")]
)
def test_it_names_the_allow_rule_that_lets_a_term_pass(text: str, rule: str) -> None:
    finding = only(text)
    assert (finding.blocks, finding.allowed_by) == (False, rule)
    assert not WORDS.explain(text).blocked


def test_mild_terms_are_shown_and_do_not_block() -> None:
    finding = only("drat")
    assert (finding.blocks, finding.allowed_by, finding.match.severity) == (False, None, 1)


def test_a_masked_word_may_be_allowed_too() -> None:
    words = Wordlist(["durian"], allow=["d*rian of"])
    (finding,) = words.explain("d*rian of").findings
    assert (finding.blocks, finding.allowed_by) == (False, "d*rian of")


def test_a_clean_text_has_no_findings() -> None:
    assert WORDS.explain("nothing here").findings == ()
