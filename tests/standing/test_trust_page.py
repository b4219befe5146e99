"""The page about trust says what the code does."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path

from safety_middleware.loading import load
from safety_middleware.standing import Tiers

PAGE = (Path(__file__).parents[2] / "docs" / "trust.md").read_text("utf-8")


def test_the_table_lists_every_field_with_its_default() -> None:
    section = PAGE.split("\n## Settings\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", section, re.MULTILINE)
    tiers = Tiers()
    assert [name for name, _ in rows] == [f.name for f in dataclasses.fields(Tiers)]
    for name, default in rows:
        assert ast.literal_eval(default) == getattr(tiers, name), name


def test_the_example_can_be_read(tmp_path: Path) -> None:
    example = re.search(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert example is not None
    (tmp_path / "safety.toml").write_text(example[1], "utf-8")
    tiers = load(environ={}, directory=tmp_path).settings.tiers
    assert (tiers.known_turns, tiers.weight("hate"), tiers.samples["trusted"]) == (5, 2, 0.1)


def test_the_tiers_have_the_holds_and_shares_of_the_table() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| `(\w+)` \| (all|\d+ %) \|", PAGE, re.MULTILINE)
    assert {tier: hold for tier, hold, _ in rows} == Tiers().holds
    shares = {t: 1.0 if s == "all" else int(s.split()[0]) / 100 for t, _, s in rows}
    assert shares == {**Tiers().samples, "watched": 1.0}
