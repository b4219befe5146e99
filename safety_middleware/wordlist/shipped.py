"""The default list as it ships: compiled ahead, so that a start reads it instead of making it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from .compiled import NO_ACCENTS, Compiled, Sorted, Spelling, assemble

__all__ = ["DATA", "Label", "dump", "load"]

DATA: Final = os.path.join(os.path.dirname(__file__), "data")  # noqa: PTH118, PTH120 - pathlib takes long to import
_NAME: Final = "compiled.json"


class Label(NamedTuple):
    """What a match says of its term.

    Attributes:
        id: The term's id.
        category: Its category.
        severity: Its severity, 1 to 4.
    """

    id: str
    category: str
    severity: int


def load() -> tuple[list[Label], Compiled]:
    """Read the list that ships, all languages from the default severity on."""
    with open(os.path.join(DATA, _NAME), "rb") as file:  # noqa: PTH118, PTH123 - as above
        document = json.loads(file.read())
    names: list[str] = document["categories"]
    labels = list(
        map(
            Label,
            document["ids"].split(),
            map(names.__getitem__, document["category"]),
            map(int, document["severity"]),
        )
    )
    texts: list[str] = document["texts"]
    exact = [NO_ACCENTS] * len(texts)
    for place, written in document["exact"]:
        exact[place] = frozenset(written)
    evades = map("1".__eq__, document["evades"])
    modes = map(int, document["mode"])
    spellings = list(map(Spelling, document["term"], modes, texts, exact, evades))
    patterns: list[bytes] = document["bare"].encode().split()
    rules: list[int | list[int]] = document["bare_rules"]
    bare = {
        pattern: (spellings[places],)
        if isinstance(places, int)
        else tuple([spellings[place] for place in places])
        for pattern, places in zip(patterns, rules, strict=True)
    }
    parts = Sorted(
        spellings[: document["direct"]],
        document["shift"],
        bare,
        frozenset(document["allowed"].split()),
        frozenset(document["masks"]),
        document["longest"],
        document["longest_allow"],
    )
    return labels, assemble(parts)


def dump(labels: Sequence[Label], parts: Sorted) -> dict[str, Any]:
    """Write what ``load`` reads."""
    every = dict.fromkeys((*parts.rules, *(s for some in parts.bare.values() for s in some)))
    place_of = {spelling: place for place, spelling in enumerate(every)}
    names = sorted({label.category for label in labels})
    return {
        "ids": " ".join(label.id for label in labels),
        "categories": names,
        "category": [names.index(label.category) for label in labels],
        "severity": "".join(str(label.severity) for label in labels),
        "direct": len(parts.rules),
        "shift": parts.shift,
        "texts": [spelling.text for spelling in every],
        "term": [spelling.term for spelling in every],
        "mode": "".join(str(spelling.mode) for spelling in every),
        "evades": "".join(str(int(spelling.evades)) for spelling in every),
        "exact": [
            [at, sorted(spelling.exact)] for spelling, at in place_of.items() if spelling.exact
        ],
        "bare": b" ".join(parts.bare).decode(),
        "bare_rules": [
            place_of[some[0]] if len(some) == 1 else [place_of[s] for s in some]
            for some in parts.bare.values()
        ],
        "allowed": " ".join(sorted(parts.allowed)),
        "masks": sorted(parts.allowed_masks),
        "longest": parts.longest,
        "longest_allow": parts.longest_allow,
    }
