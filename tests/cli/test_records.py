from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from safety_middleware.store import Record, Store

if TYPE_CHECKING:
    from tests.cli.conftest import Shell


ALICE, BOB = "u1_AAAAAA" + "a" * 43, "s1_AAAAAA" + "b" * 43


@pytest.fixture
def filled(shell: Shell) -> Shell:
    with Store.open(base=shell.directory) as store:
        for number in range(30):
            blocked = number % 10 == 0
            store.write(
                Record(
                    id=f"req_{number:03}",
                    at=1_800_000_000.0 + number,
                    route="/chat",
                    method="POST",
                    identity=ALICE if number % 2 else BOB,
                    action="refuse" if blocked else "allow",
                    reason="content_blocked" if blocked else "ok",
                    detail="violence" if blocked else None,
                    observed=number == 20,
                    checked=("limits", "caps"),
                    scores={"violence": 0.9} if blocked else {},
                    status=400 if blocked else 200,
                )
            )
        assert store.flush()
    return shell


def _files(directory: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def test_the_newest_records_come_first_in_aligned_columns(filled: Shell) -> None:
    result = filled("records", "--limit", "3")
    header, *rows = result.stdout.splitlines()
    assert header.startswith("time (UTC)")
    assert [row[:19] for row in rows] == [
        "2027-01-15 08:00:29",
        "2027-01-15 08:00:28",
        "2027-01-15 08:00:27",
    ]
    assert {row.index("POST /chat") for row in rows} == {header.index("route")}
    assert len(filled("records").stdout.splitlines()) == 21


def test_the_table_fits_the_terminal(filled: Shell) -> None:
    filled.set(COLUMNS="100")
    lines = filled("records").stdout.splitlines()
    assert max(map(len, lines)) <= 100
    assert any("…" in line for line in lines)


def test_a_very_narrow_terminal_still_shows_every_column(filled: Shell) -> None:
    filled.set(COLUMNS="10")
    assert len(filled("records", "--limit", "1").stdout.splitlines()[1].split("  ")) >= 9


def test_records_are_chosen_by_identity_and_by_reason(filled: Shell) -> None:
    result = filled("records", "--json", "--identity", BOB, "--reason", "content_blocked")
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [record["id"] for record in found] == ["req_020", "req_010", "req_000"]
    assert found[0]["checked"] == ["limits", "caps"]
    assert found[0]["scores"] == {"violence": 0.9}


def test_what_was_only_observed_says_so(filled: Shell) -> None:
    shown = filled("records", "--reason", "content_blocked").stdout
    assert shown.count("refuse (observed)") == 1


def test_reading_changes_no_file(filled: Shell) -> None:
    before = _files(filled.directory)
    assert filled("records").exit_code == 0
    assert _files(filled.directory) == before


def test_where_there_is_no_database_one_line_says_so_and_none_is_made(shell: Shell) -> None:
    result = shell("records")
    assert result.exit_code == 2
    assert "there is no database" in result.stderr
    assert result.stderr.count("\n") == 1
    assert list(shell.directory.iterdir()) == []


def test_an_empty_answer_is_said_beside_the_output(filled: Shell) -> None:
    result = filled("records", "--json", "--reason", "suspended")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "No records.\n")
    Store.open("sqlite:///empty.db", base=filled.directory).close()
    filled.set(SAFETY_STORE="sqlite:///empty.db")
    assert filled("records").stderr == "No records yet.\n"


def test_a_database_that_does_not_answer_is_exit_code_1(shell: Shell) -> None:
    shell.set(SAFETY_STORE="postgresql://nobody:hunter2@127.0.0.1:1/none?connect_timeout=2")
    result = shell("records")
    assert result.exit_code == 1
    assert "hunter2" not in result.output
    assert result.stderr.count("\n") == 1


def test_an_unknown_reason_is_refused_with_the_known_ones(shell: Shell) -> None:
    result = shell("records", "--reason", "nonsense")
    assert result.exit_code == 2
    assert "content_blocked" in result.stderr
