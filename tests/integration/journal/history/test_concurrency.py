"""Removals beside others: what two do at once is written down once, and never something else than what goes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any

import datajoint as dj
import pytest
from datajoint.errors import DataJointError

from datajoint_file.journal import history
from tests.projects import connect

from .conftest import Entries, held


@pytest.fixture
def other(database: Any, table: Any) -> Iterator[Any]:
    """The same table on another connection."""
    with closing(connect(database).connection) as connection:
        yield dj.FreeTable(connection, table.full_table_name)


def is_mysql(table: Any) -> bool:
    return str(table().connection.adapter.backend) == "mysql"


@pytest.fixture
def watcher(database: Any, table: Any) -> Iterator[Any]:
    """A connection that sees who waits; at the end no transaction is open that a drop would wait for."""
    with closing(connect(database).connection) as connection:
        yield connection
    table().connection.query("ROLLBACK")


def waits(watcher: Any) -> bool:
    """Tell whether a session waits for another's lock."""
    if str(watcher.adapter.backend) == "mysql":
        sql = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
    else:
        sql = "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    return bool(watcher.query(sql).fetchone()[0])


def while_waiting(watcher: Any, act: Callable[[], Any], then: Callable[[], Any]) -> list[Any]:
    """Start *act* in a thread, wait until it waits for a lock, then do *then*; return what *act* gave, or its error."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(act())
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    deadline = time.monotonic() + 20
    while not waits(watcher) and thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.15)  # MariaDB tells nothing new to whoever asks more often
    then()
    thread.join(20)
    return results


def test_two_who_delete_the_same_rows_write_them_down_once(
    table: Any, other: Any, watcher: Any, entries: Entries
) -> None:
    gone = held(table, "id < 3")
    connection = table().connection
    connection.start_transaction()
    (table & "id < 3").delete_quick()
    found = while_waiting(
        watcher, lambda: (other & "id < 3").delete_quick(get_count=True), connection.commit_transaction
    )
    assert found == [0]
    assert entries(where="path IS NOT NULL") == gone
    assert len(entries("row_text", "row_text IS NOT NULL")) == 3


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ"])
def test_row_that_another_changes_just_before_is_written_down_as_it_went(
    table: Any, other: Any, watcher: Any, entries: Entries, level: str
) -> None:
    if not is_mysql(table) and level == "REPEATABLE READ":
        pytest.skip("the server refuses the delete then, as without a history")
    connection = table().connection
    connection.query(
        f"SET SESSION {'' if is_mysql(table) else 'CHARACTERISTICS AS '}TRANSACTION ISOLATION LEVEL {level}"
    )
    other.connection.query("START TRANSACTION")
    other.connection.query(
        f"UPDATE {table.full_table_name} SET {'`rank`' if is_mysql(table) else 'rank'} = 77 WHERE id = 1"
    )
    found = while_waiting(
        watcher,
        lambda: (table & "id = 1").delete_quick(get_count=True),
        lambda: other.connection.query("COMMIT"),
    )
    assert found == [1]
    (text,) = entries("row_text", "row_text IS NOT NULL")
    assert '"text rank"' in text[0]
    assert '"77"' in text[0]


def test_row_that_comes_between_copy_and_delete_is_not_deleted_unwritten(
    table: Any, other: Any, entries: Entries, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_mysql(table):
        pytest.skip("one statement does both there")
    table().connection.query("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
    gone, original = held(table, "id = 0"), history.Event._run

    def run(self: Any, sql: str) -> Any:
        if sql.startswith("DELETE"):
            other.connection.query(
                f"INSERT INTO {table.full_table_name} SELECT 0, 'late', raw, extra, `rank` "
                f"FROM {table.full_table_name} WHERE id = 5"
            )
        return original(self, sql)

    monkeypatch.setattr(history.Event, "_run", run)
    (table & "id = 0").delete_quick()
    assert entries() == gone
    assert (table & "id = 0").to_arrays("name").tolist() == ["late"]


def test_rows_that_chance_selects_go_with_an_entry_or_not_at_all(table: Any, entries: Entries) -> None:
    before = held(table)
    for _ in range(20):
        with suppress(DataJointError):
            (table & "RAND() < 0.5" if is_mysql(table) else table & "RANDOM() < 0.5").delete_quick()
        assert sorted([*entries(), *held(table)]) == before


def test_drop_that_waits_for_the_history_keeps_nobody_from_deleting(
    table: Any, other: Any, watcher: Any, schema: dj.Schema, entries: Entries
) -> None:
    if not is_mysql(table):
        pytest.skip("the history is not locked there")
    dropped = schema(type("Dropped", (dj.Manual,), {"definition": "id : int32\n---\nraw : file"}))
    dropped.insert1({"id": 1, "raw": ("a.dat", b"a")})
    (table & "id = 0").delete_quick()  # which makes the history
    watcher.query("START TRANSACTION")
    watcher.query(f"SELECT COUNT(*) FROM `{schema.database}`.`~file_history`")
    thread = threading.Thread(target=lambda: dropped.drop(prompt=False))
    thread.start()
    waiting = "SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE 'Waiting for table%%'"
    while thread.is_alive() and not watcher.query(waiting).fetchone()[0]:
        time.sleep(0.05)
    assert (other & "id = 1").delete_quick(get_count=True) == 1
    assert thread.is_alive()
    watcher.query("COMMIT")
    thread.join(20)
    assert ("drop",) in entries("why")
    assert schema.connection.query("SELECT @@lock_wait_timeout").fetchone()[0] > 1
