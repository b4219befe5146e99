"""Lists in files: every format, and what is wrong with them in one sentence."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from safety_middleware.errors import SettingsError
from safety_middleware.wordlist import LANGUAGES, WatchedWordlist, Wordlist

PLAIN = """# our own
durian, durians ! durian tree
! a sour plum
[hate 3 substring near]
plumkin   # with a comment
[profanity 1 word exact]
pêche
"""
TOML = """
severity = 2
allow = ["a sour plum"]
[[terms]]
term = "durian"
variants = ["durians"]
[[terms]]
text = "plumkin"
mode = "substring"
category = "hate"
severity = 2
near = true
"""


def write(folder: Path, name: str, text: str) -> Path:
    place = folder / name
    place.write_text(text, "utf-8")
    return place


def test_plain_lines_have_headers_variants_and_allowed_phrases(tmp_path: Path) -> None:
    words = Wordlist.load(write(tmp_path, "words.txt", PLAIN))
    assert [(t.text, t.category, t.severity, t.mode) for t in words.terms] == [
        ("durian", "profanity", 4, "word"),
        ("plumkin", "hate", 3, "substring"),
        ("pêche", "profanity", 1, "word"),
    ]
    assert words.blocked("two durians")
    assert not words.blocked("a durian tree")
    assert words.blocked("plmkin")
    assert words.allow == ("a sour plum",)
    assert [t.exact for t in words.terms] == [False, False, True]


def test_a_toml_file_says_terms_allow_and_severity(tmp_path: Path) -> None:
    words = Wordlist.load(write(tmp_path, "words.toml", TOML))
    assert words.severity == 2
    assert words.blocked("theplumkins")
    assert Wordlist.load(tmp_path / "words.toml", severity=4).severity == 4


def test_a_json_file_is_a_list_or_an_object(tmp_path: Path) -> None:
    plain = write(tmp_path, "plain.json", json.dumps(["durian", {"text": "plum", "severity": 3}]))
    assert Wordlist.load(plain).blocked("plum")
    full = {"terms": ["durian"], "languages": ["en"], "remove": ["crap"], "allow": ["durian tree"]}
    words = Wordlist.load(write(tmp_path, "full.json", json.dumps(full)))
    assert words.blocked("durian")
    assert not words.blocked("the durian tree in Scunthorpe")
    assert len(words) == len(Wordlist.default(["en"]))


def test_a_csv_file_has_a_column_for_each_field(tmp_path: Path) -> None:
    text = "term,variants,severity,exact,near\ndurian,durians|duriano,3,,yes\npêche,,4,true,\n"
    words = Wordlist.load(write(tmp_path, "words.CSV", text))
    assert words.blocked("durians")
    assert words.blocked("druian")
    assert not words.blocked("peche")


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.toml", "terms = 3", "list"),
        ("a.toml", "words = []", "not known"),
        ("a.toml", "terms = [3]", "neither"),
        ("a.toml", "severity = 7", "severity 7"),
        ("a.toml", "severity = true", "severity True"),
        ("a.toml", 'allow = "x"', "strings"),
        ("a.toml", 'languages = ["tlh"]', "tlh"),
        ("a.toml", "= nonsense", "valid"),
        ("a.json", "[{}]", "text is missing"),
        ("a.json", '[{"text": 3}]', "text is missing"),
        ("a.json", '[{"text": "x", "colour": 3}]', "colour"),
        ("a.json", '[{"text": "x", "variants": "y"}]', "strings"),
        ("a.json", "[" * 100_000, "valid"),
        ("a.csv", "term,severity\nx,high\n", "valid"),
        ("a.txt", "[hate]\nx", "header"),
        ("a.txt", "[hate four word]\nx", "header"),
        ("a.txt", "[hate 4 word bold]\nx", "header"),
        ("a.txt", "[pears 4 word]\nx", "pears"),
    ],
)
def test_a_wrong_file_is_refused_in_words(
    tmp_path: Path, name: str, text: str, problem: str
) -> None:
    with pytest.raises(SettingsError, match=problem):
        Wordlist.load(write(tmp_path, name, text))


def test_a_file_that_is_missing_not_text_or_huge_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        Wordlist.load(tmp_path / "none.txt")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(SettingsError):
        Wordlist.load(tmp_path / "bytes.txt")
    with (tmp_path / "huge.txt").open("wb") as file:
        file.truncate(17 * 1024 * 1024)
    with pytest.raises(SettingsError, match="16 MiB"):
        Wordlist.load(tmp_path / "huge.txt")


def test_the_shipped_lists_are_in_the_format_operators_use(tmp_path: Path) -> None:
    import safety_middleware.wordlist as package

    folder = Path(package.__file__).parent / "data" / "terms"
    assert sorted(path.stem for path in folder.iterdir()) == sorted(LANGUAGES)
    assert len(Wordlist.load(folder / "en.txt")) == len(Wordlist.default(["en"]))


def until(condition: object, seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]  # a function
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    place = write(tmp_path, "words.txt", "durian\n")
    watched = WatchedWordlist(place, every=0)
    match = watched.find("a durian")
    assert match is not None
    assert watched.find_all("a durian") == (match,)
    first = watched.current
    assert watched.current is first
    write(tmp_path, "words.txt", "quince\nplum\n")
    until(lambda: watched.blocked("quince"))
    assert not watched.blocked("durian")
    assert watched.stream().feed("nothing here") is None


def test_a_file_that_became_wrong_leaves_the_old_list_and_is_reported_once(tmp_path: Path) -> None:
    place = write(tmp_path, "words.toml", 'terms = ["durian"]')
    errors: list[SettingsError] = []
    watched = WatchedWordlist(place, every=0, on_error=errors.append)
    write(tmp_path, "words.toml", "terms = [")
    until(lambda: watched.current and errors)
    assert watched.blocked("durian")
    place.unlink()
    until(lambda: watched.blocked("durian") and len(errors) == 2)
    assert watched.blocked("durian")
    assert len(errors) == 2
    write(tmp_path, "words.toml", 'terms = ["quince"]')
    until(lambda: watched.blocked("quince"))


def test_without_a_listener_a_wrong_file_is_ignored(tmp_path: Path) -> None:
    place = write(tmp_path, "words.toml", 'terms = ["durian"]')
    watched = WatchedWordlist(place, every=0)
    write(tmp_path, "words.toml", "terms = [")
    os.utime(place, (1, 1))
    assert watched.blocked("durian")


def test_the_file_is_looked_at_no_more_often_than_asked(tmp_path: Path) -> None:
    place = write(tmp_path, "words.txt", "durian\n")
    watched = WatchedWordlist(place, every=3600)
    write(tmp_path, "words.txt", "quince and more\n")
    assert watched.blocked("durian")


def test_a_watched_file_must_be_there_at_first(tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        WatchedWordlist(tmp_path / "none.txt")
