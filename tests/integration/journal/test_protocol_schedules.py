"""Schedules that the journal survives: savepoints, waits for locks, staged files among others, a journal dropped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest

import datajoint_file
from datajoint_file.errors import LeaseLostError
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.journal.schema_registry import ensure_marked
from datajoint_file.testing import Fault, FaultyBackend
from tests.projects import Store, connect


@pytest.fixture
def other(database: Any, table: Any) -> Iterator[Any]:
    """A second user's connection to the same database."""
    made = connect(database)
    yield made.connection
    made.connection.close()


def journal(table: Any, connection: Any) -> str:
    return str(connection.adapter.make_full_table_name(table().database, "~file_intent"))


def noted(table: Any, other: Any) -> list[str]:
    """The objects that the journal speaks for, as everybody sees it."""
    sql = f"SELECT path FROM {journal(table, other)} WHERE state <> 'reclaimed' ORDER BY number"
    return [path for (path,) in other.query(sql).fetchall()]


def named(table: Any, other: Any) -> set[str]:
    """The objects that rows refer to, as everybody sees them."""
    quote = other.adapter.quote_identifier
    cursor = other.query(f"SELECT {quote('raw')}, {quote('extra')} FROM {table().full_table_name}")
    values = [value for row in cursor.fetchall() for value in row if value is not None]
    return {(json.loads(value) if isinstance(value, str) else value)["path"] for value in values}


def test_each_object_has_a_row_or_an_intent_after_savepoints(table: Any, other: Any, store: Store) -> None:
    connection = table().connection
    with connection.transaction:
        table.insert1({"id": 1, "raw": ("a.dat", b"1")})
        for _ in range(3):
            connection.query("SAVEPOINT here")
            table.insert1({"id": 2, "raw": ("a.dat", b"2")})
            connection.query("ROLLBACK TO SAVEPOINT here")
        table.insert1({"id": 2, "raw": ("a.dat", b"2")})

    assert len(named(table, other)) == 2
    assert named(table, other) <= set(store.object_keys()) <= named(table, other) | set(noted(table, other))
    assert not named(table, other).intersection(noted(table, other))


@pytest.mark.parametrize("database", ["mysql"], indirect=True)
def test_a_wait_for_a_lock_that_ends_one_statement_leaves_one_intent(table: Any, other: Any, store: Store) -> None:
    """The transaction goes on, in which the intent was deleted."""
    connection = table().connection
    connection.query("SET SESSION innodb_lock_wait_timeout = 1")
    other.query("BEGIN")
    other.query(f"INSERT INTO {table().full_table_name} (id, raw) VALUES (1, '{{}}')")
    with connection.transaction, pytest.raises(pymysql.err.OperationalError, match="Lock wait timeout"):
        table.insert1({"id": 1, "raw": ("a.dat", b"1")})
    other.query("ROLLBACK")

    assert noted(table, other) == store.object_keys()


def test_a_staged_file_given_twice_for_one_row_is_claimed_once(table: Any, other: Any) -> None:
    staged = datajoint_file.stage(table, {"id": 1}, "raw", ("a.dat", b"1"))
    table.insert([{"id": 1, "raw": staged}, {"id": 1, "raw": staged}], replace=True)
    assert named(table, other) == {staged.path}
    assert noted(table, other) == []


def test_staged_files_and_others_are_claimed_together(table: Any, other: Any, store: Store) -> None:
    one = datajoint_file.stage(table, {"id": 1}, "raw", ("a.dat", b"1"))
    rows = [
        {"id": 1, "raw": one, "extra": ("x.dat", b"x")},
        {"id": 2, "raw": ("y.dat", b"y"), "extra": None},
        {"id": 1, "raw": one, "extra": ("z.dat", b"z")},
    ]
    table.insert(rows, skip_duplicates=True)
    two = datajoint_file.stage(table, {"id": 2}, "raw", ("b.dat", b"2"))
    table.update1({"id": 2, "raw": two, "extra": ("e.dat", b"e")})

    assert {one.path, two.path} <= named(table, other) <= set(store.object_keys())
    assert noted(table, other) == []


def test_a_journal_dropped_during_the_upload_inserts_no_row(table: Any, other: Any) -> None:
    pipeline = pipeline_of(table().connection)
    ensure_marked(pipeline, table().connection, table().database)
    drop = Fault("upload", action=lambda key: other.query(f"DROP TABLE {journal(table, other)}"))
    pipeline.stores._backends[pipeline.project] = FaultyBackend(pipeline.backend, drop)
    path = rf"{pipeline.project}/\S+/a\.dat"
    told = rf"`~file_intent` of schema {table().database} was dropped .* 2 files of {table().table_name} \({path}, …\)"
    with pytest.raises(LeaseLostError, match=told):
        table.insert([{"id": number, "raw": ("a.dat", b"1")} for number in (1, 2)])
    assert named(table, other) == set()

    table.insert1({"id": 1, "raw": ("a.dat", b"1")})
    assert len(named(table, other)) == 1


def test_a_journal_dropped_after_staging_inserts_no_row(table: Any, other: Any) -> None:
    staged = datajoint_file.stage(table, {"id": 1}, "raw", ("a.dat", b"1"))
    other.query(f"DROP TABLE {journal(table, other)}")
    with pytest.raises(LeaseLostError, match=r"1 file of .*a\.dat\).* stage again"):
        table.insert1({"id": 1, "raw": staged})
    assert named(table, other) == set()
