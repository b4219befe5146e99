"""The list that is compiled ahead is the one that would be compiled."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

from safety_middleware.wordlist import LANGUAGES, Match, Wordlist

ROOT = Path(__file__).parents[2]
DATA = ROOT / "safety_middleware" / "wordlist" / "data"


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "build_wordlist", ROOT / "scripts" / "build_wordlist.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_compiled_list_is_up_to_date() -> None:
    kept = json.loads((DATA / "compiled.json").read_bytes())
    assert kept == script().document(), "run scripts/build_wordlist.py"


def test_the_list_that_ships_finds_what_the_same_terms_find() -> None:
    shipped = Wordlist.default()
    made = Wordlist(shipped.terms, shipped.allow)
    for text in ("what the fuck", "f u c k", "sh*t", "Scunthorpe", "бл\u044fдь", "fück fuuuck"):
        assert shipped.find_all(text) == made.find_all(text)
    match = shipped.find("what the fuck")
    assert isinstance(match, Match)
    assert match.term in {term.id for term in shipped.terms}


def test_the_list_that_ships_is_the_same_object_each_time() -> None:
    assert Wordlist.default() is Wordlist.default(LANGUAGES)
    assert Wordlist.default().allow
    assert len(Wordlist.default()) == len(Wordlist.default().terms)
