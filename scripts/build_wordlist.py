#!/usr/bin/env python3
"""Compile the default list ahead: ``data/terms/*.txt`` and ``exceptions.txt`` into ``compiled.json``.

usage: build_wordlist.py

A start then reads the file instead of folding every spelling. Run this whenever a list changes; a test
compares.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safety_middleware.wordlist import LANGUAGES, Wordlist
from safety_middleware.wordlist.compiled import sort_out
from safety_middleware.wordlist.fold import folder
from safety_middleware.wordlist.shipped import DATA, Label, dump
from safety_middleware.wordlist.wordlist import BLOCKING, read_shipped

OUT = Path(DATA) / "compiled.json"


def main() -> None:
    """Compile and write."""
    text = json.dumps(document(), ensure_ascii=False, separators=(",", ":"))
    OUT.write_text(text.replace(',"', ',\n"') + "\n", encoding="utf-8")
    print(f"{OUT}: {OUT.stat().st_size:,} bytes")  # noqa: T201 - says what it wrote
    assert Wordlist.default().severity == BLOCKING  # noqa: S101 - the file can be read


def document() -> dict[str, Any]:
    """What the file has to hold."""
    words = Wordlist(*read_shipped(frozenset(LANGUAGES)))
    parts = sort_out(words.terms, words.allow, BLOCKING, folder())
    labels = [Label(term.id, term.category, term.severity) for term in words.terms]
    return dump(labels, parts)


if __name__ == "__main__":
    main()
