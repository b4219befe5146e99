from __future__ import annotations

import gc
import sqlite3
from dataclasses import fields
from pathlib import Path

import pytest
from sqlalchemy import Engine, inspect

from safety_middleware.errors import SettingsError
from safety_middleware.store import Record, Store, migrations
from safety_middleware.store._place import connect, locate
from safety_middleware.store._tables import METADATA, RECORDS

STEP_NEW = ("CREATE TABLE safety_things (id TEXT NOT NULL PRIMARY KEY)",)


def engine_of(url: str) -> Engine:
    return connect(locate(url, Path()))


def versions(url: str) -> list[int]:
    engine = engine_of(url)
    with engine.begin() as connection:
        found = connection.exec_driver_sql("SELECT version FROM safety_schema ORDER BY version")
        listed = [int(row[0]) for row in found]
    engine.dispose()
    return listed


def add_step(monkeypatch: pytest.MonkeyPatch, step: tuple[str, ...]) -> None:
    monkeypatch.setattr(migrations, "STEPS", (*migrations.STEPS, step))
    monkeypatch.setattr(migrations, "LATEST", len(migrations.STEPS))


def test_the_steps_lead_to_the_tables_as_they_are_declared(url: str) -> None:
    Store.open(url).close()
    engine = engine_of(url)
    looked = inspect(engine)
    assert set(looked.get_table_names()) == {*METADATA.tables, "safety_schema"}
    for name, table in METADATA.tables.items():
        found = {column["name"]: column for column in looked.get_columns(name)}
        assert list(found) == table.columns.keys()
        for column in table.columns:
            made = found[column.name]
            assert made["nullable"] == column.nullable, column.name
            assert made["type"].python_type is column.type.python_type, column.name
        key = looked.get_pk_constraint(name)["constrained_columns"]
        assert key == [column.name for column in table.primary_key]
    engine.dispose()


def test_every_field_of_a_record_has_its_column() -> None:
    assert [field.name for field in fields(Record)] == RECORDS.columns.keys()


def test_opening_twice_changes_nothing(url: str) -> None:
    Store.open(url).close()
    Store.open(url).close()
    assert versions(url) == [1, 2]


def test_an_older_schema_is_upgraded_and_its_records_stay(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(url) as store:
        store.write(Record(id="req_1", at=1.0, route="/chat"))
    add_step(monkeypatch, STEP_NEW)
    with Store.open(url) as store:
        assert len(store.latest()) == 1
    assert versions(url) == [1, 2, 3]


def test_a_step_that_fails_is_undone_as_a_whole(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Store.open(url).close()
    with monkeypatch.context() as patch:
        add_step(patch, (*STEP_NEW, "CREATE TABLE safety_records (id TEXT)"))
        with pytest.raises(SettingsError) as caught:
            Store.open(url)
        assert caught.value.setting == "store"
    assert versions(url) == [1, 2]
    with monkeypatch.context() as patch:
        add_step(patch, STEP_NEW)
        Store.open(url).close()
    assert versions(url) == [1, 2, 3]
    gc.collect()


def test_a_newer_schema_is_an_error_that_says_what_to_do(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        add_step(patch, STEP_NEW)
        Store.open(url).close()
    with pytest.raises(SettingsError) as caught:
        Store.open(url)
    assert caught.value.setting == "store"
    assert "schema 3" in str(caught.value)
    assert "Upgrade safety-middleware" in caught.value.remedy
    gc.collect()


def test_an_older_schema_is_an_error_where_nothing_may_be_made(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(url).close()
    add_step(monkeypatch, STEP_NEW)
    with pytest.raises(SettingsError) as caught:
        Store.open(url, create=False)
    assert "Start the app once" in caught.value.remedy
    monkeypatch.undo()
    assert versions(url) == [1, 2]


def test_an_empty_database_is_an_error_where_nothing_may_be_made(postgres_url: str) -> None:
    with pytest.raises(SettingsError, match="an older schema, or none"):
        Store.open(postgres_url, create=False)


def test_tables_of_others_by_our_names_are_an_error_and_stay(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "their.db") as theirs:
        theirs.execute("CREATE TABLE safety_records (theirs TEXT)")
    theirs.close()
    with pytest.raises(SettingsError, match="SQLITE_ERROR"):
        Store.open("sqlite:///their.db", base=tmp_path)
    with sqlite3.connect(tmp_path / "their.db") as theirs:
        tables = theirs.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    theirs.close()
    assert tables == [("safety_records",)]
    gc.collect()
