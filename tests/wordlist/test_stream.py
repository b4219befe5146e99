"""Texts in pieces: what is found over their borders, and how little is held back."""
# ruff: noqa: RUF001 - look-alikes are part of what is tested

from __future__ import annotations

import pytest

from safety_middleware.wordlist import Term, Wordlist

WORDS = Wordlist(
    [
        Term(text="durian"),
        Term(text="sour gristle", mode="phrase"),
        Term(text="plum", mode="substring"),
        Term(text="坏果子", mode="substring"),
    ],
    allow=["plumage", "plum tree"],
)


def fed(text: str, size: int = 1) -> tuple[str | None, list[str]]:
    """What a reader would see: the slice that is found, and the cleared text after each piece."""
    stream, seen = WORDS.stream(), [""]
    for place in range(0, len(text), size):
        match = stream.feed(text[place : place + size])
        if match is not None:
            return text[match.start : match.end], seen
        seen.append(text[: min(place + size, len(text)) - stream.pending])
    match = stream.finish()
    return (None if match is None else text[match.start : match.end]), seen


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    "term",
    [
        "durian",
        "d.u.r.i.a.n",
        "d u r i a n",
        "duuuurian",
        "d*rian",
        "d****n",
        "dur\nian",
        "sour   gristle",
        "ｄｕｒｉａｎ",
        "&#100;&#117;rian",
        "\u202enairud\u202c",
        "xxplumxx",
        "坏果子",
    ],
)
def test_a_term_is_found_over_borders_and_none_of_it_is_cleared(term: str, size: int) -> None:
    text = f"This is a rather long beginning of the text, {term} and here is how it goes on: well."
    found, seen = fed(text, size)
    assert found is not None
    assert max(map(len, seen)) <= text.index(found)


def test_a_clean_text_is_cleared_nearly_as_it_comes() -> None:
    text = "The weather is nice today, and so we drink our tea in the garden and read a book. " * 20
    found, seen = fed(text)
    assert found is None
    held = [place - len(cleared) for place, cleared in enumerate(seen)]
    assert max(held) <= 24
    assert sum(held) / len(held) <= 8


def test_a_text_without_spaces_is_cleared_too() -> None:
    text = "今天天气很好我们一起去公园散步然后回家吃饭" * 20
    found, seen = fed(text)
    assert found is None
    assert max(place - len(cleared) for place, cleared in enumerate(seen)) <= 4


def test_an_allow_rule_is_waited_for() -> None:
    assert fed("the plumage of a bird")[0] is None
    assert fed("under the plum tree")[0] is None
    assert fed("plumtrees are here, far and wide")[0] == "plum"


def test_offsets_count_from_the_beginning() -> None:
    text = "a clean word " * 2000 + "durian, as it is called in the east of the island"
    stream = WORDS.stream()
    match = None
    for place in range(0, len(text), 11):
        match = match or stream.feed(text[place : place + 11])
        assert stream.pending < 64
    assert match is not None
    assert text[match.start : match.end] == "durian"


def test_the_end_decides_what_was_pending() -> None:
    stream = WORDS.stream()
    assert stream.feed("a durian") is None
    assert stream.pending == len("durian")
    match = stream.finish()
    assert match is not None
    assert (match.start, stream.pending) == (2, 0)


def test_what_was_cleared_is_not_found_again() -> None:
    stream = Wordlist(["durian"]).stream()
    assert stream.feed("nothing here at all ") is None
    assert stream.finish() is None
    assert Wordlist().stream().feed("anything") is None
