"""Terms in other dress, and innocent text that looks like it."""
# ruff: noqa: RUF001 - look-alikes are what this is about

from __future__ import annotations

from urllib.parse import quote

import pytest

from safety_middleware.wordlist import Term, Wordlist

# Made-up words, so that the tests say how and not what.
WORDS = Wordlist(
    [
        Term(text="durians", mode="word", near=True, variants=("durian",)),
        Term(text="plumkin", mode="substring", near=True),
        Term(text="sour gristle", mode="phrase"),
        Term(text="косточка"),
        Term(text="坏果子", mode="substring"),
    ],
    allow=["plumkinet", "d*rians of"],
)

DRESSED = {
    "upper case": "PLUMKIN",
    "digits": "p1umk1n",
    "signs": "dur!@n",
    "homoglyphs": "рlumкin",
    "wholly look-alike": "ԁurіаn",
    "zero width": "plum\u200bkin",
    "soft hyphen": "du\u00adrian",
    "combining": "d\u0336u\u0336r\u0336i\u0336a\u0336n\u0336",
    "diacritics": "dürïàn",
    "full width": "ｄｕｒｉａｎ",
    "mathematical": "𝓭𝓾𝓻𝓲𝓪𝓷",
    "circled": "ⓓⓤⓡⓘⓐⓝ",
    "regional": "🇩🇺🇷🇮🇦🇳",
    "spaced": "d u r i a n",
    "widely spaced": "d  u  r  i  a  n",
    "punctuated": "d.u.r.i.a.n",
    "mixed marks": "d-u_r.i*a~n",
    "one mark": "dur-ian",
    "line break": "dur\nian",
    "repeated": "duuuriaaan",
    "spaced full width": "ｄ ｕ ｒ ｉ ａ ｎ",
    "masked": "d*rian",
    "masked twice": "du**an",
    "wholly masked": "d****n",
    "masked with a hash": "dur#an",
    "masked in a compound": "xxpl*mkinish",
    "entities": "&#100;&#117;rian",
    "twice escaped": "&amp;#100;urian",
    "url": quote("durian").replace("d", "%64").replace("n", "%6e%20"),
    "backslashes": "\\u0064urian",
    "backwards": "\u202enairud\u202c",
    "tags": "hi " + "".join(chr(0xE0000 + ord(c)) for c in "durian") + "\U000e007f",
    "swapped": "druian",
    "lost vowel": "plmkin",
    "glued": "stupiddurian",
    "phrase without a space": "sourgristle",
    "phrase with marks": "sour_gristle",
    "phrase over lines": "sour\n gristle",
    "phrase in digits": "s0ur gr1stle",
    "cyrillic": "КОСТОЧКА",
    "chinese": "这是坏果子吗",
}


@pytest.mark.parametrize("how", DRESSED)
def test_a_term_is_found_in_other_dress(how: str) -> None:
    assert WORDS.blocked(f"you {DRESSED[how]}, really")
    assert WORDS.blocked(DRESSED[how])


@pytest.mark.parametrize(
    "text",
    [
        "the endurians of old",
        "dur ian",
        "x-d-u-r-i-a-n-x",
        "plumkinet",
        "plum kin",
        "d*rians of old",
        "d*rians of the east",
        "54u12 5h17a9b 100% d @ n",
        "d#1 **bold** #durable @dur",
        "2 * 3 * 4, a*b, *a*",
        "aaa bbb ... !!! hmmm soooo",
        "AT&amp;T and 100%25 \\x41 \u202e\u202c",
        "Дурианы и персики, костяника",
        "日本語の文章です。보통 문장입니다.",
        "durian\u0301t",
        "sour and gristle",
    ],
)
def test_innocent_text_passes(text: str) -> None:
    assert WORDS.find_all(text) == ()


@pytest.mark.parametrize(
    "word",
    [
        "Scunthorpe",
        "Penistone",
        "Matsushita",
        "Arsenal",
        "Bitche",
        "snigger",
        "niggardly",
        "Cockburn",
        "Hitchcock",
        "Essex",
        "mishit",
        "assassin",
        "classic",
        "therapist",
        "cocktail",
        "peacock",
        "titular",
        "analysis",
        "Dickens",
        "shiitake",
        "retardant",
        "grape",
        "Cummings",
        "Lightwater",
        "Clitheroe",
        "Titicaca",
        "Takeshita",
        "tittle",
        "swanker",
        "accountant",
        "countess",
    ],
)
def test_names_and_words_that_look_bad_pass_all_languages(word: str) -> None:
    for text in (word, word.upper(), f"I saw {word} today.", f"#{word}"):
        assert Wordlist.default().find(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "As a gay man, a Jew, a Muslim and a black woman we all agree.",
        "My breast cancer screening, and sex education for teens",
        "How do I kill a Python process?",
        "Moby Dick, the cock crowed, a hoe and a rake",
        "retard the growth; le train a du retard",
        "Spick and span; chink in the armour; pussy willow; Maine coon",
        "Please call 455-5175 at 5:17, ref 5h17a9b",
    ],
)
def test_clean_sentences_pass_the_default_list(text: str) -> None:
    assert Wordlist.default().find(text) is None
