"""What was removed from rows: kept for the retention, then deleted, unless anybody still claims it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file import gc
from datajoint_file.collector import execute_plan, make_plan, server_facts
from datajoint_file.collector.books import HistoryBook
from datajoint_file.collector.snapshot import Snapshot
from datajoint_file.errors import CollectionRefusedError
from datajoint_file.testing import Fault
from tests.projects import Store, over_local_and_s3

from .collecting import (
    Area,
    connect_to,
    connected,
    declare,
    drop_by_sql,
    execute_sql,
    faulty,
    give_up,
    history,
    insert,
    is_mysql,
    kinds,
    let_grace_pass,
    make_older,
    objects,
    own,
    path_of,
    raw_json,
    scan,
    set_raw_json,
    sweep,
)


@pytest.fixture
def other_schema(pipeline: dj.Instance, database: Area) -> dj.Schema:
    return pipeline.Schema(database.schema())


@over_local_and_s3
def test_deleted_row_loses_its_object_after_the_retention_and_two_runs(
    table: Any, connection: Any, store: Store
) -> None:
    insert(table, 1, 2)
    kept, lost = path_of(table, 1), path_of(table, 2)
    (table & {"recording_id": 2}).delete()
    backend = faulty(connection)
    plan = gc.plan(connection)
    assert (plan.wait, bool(plan)) == (gc.Amount(1, 6), False)
    make_older(connection, table.database, "~file_history", "at", timedelta(days=29))
    assert sweep(connection).expired.count == 0
    make_older(connection, table.database, "~file_history", "at", timedelta(days=2))
    plan = gc.plan(connection)
    assert (plan.wait.count, plan.expire, plan.purge.count) == (0, gc.Amount(1, 6), 0)
    first = gc.execute(plan)
    assert (first.expired.count, first.purged.count, objects(store)) == (1, 0, {kept, lost})
    make_older(connection, table.database, "~file_history", "due_at", timedelta(minutes=1))
    last = sweep(connection)
    assert (last.purged, last.failures) == (gc.Amount(1, 6), ())
    assert objects(store) == {kept}
    assert history(table, "path, state") == [(lost, "purged")]
    assert not gc.plan(connection)
    assert {key for verb, key in backend.history if verb == "list" and "~registry" not in key} == set()


def test_row_that_was_put_back_and_removed_by_sql_is_kept_as_from_its_first_removal(
    table: Any, connection: Any, store: Store
) -> None:
    insert(table, 1)
    path = path_of(table, 1)
    table.delete()
    make_older(connection, table.database, "~file_history", "at", timedelta(days=29))
    (first,) = datajoint_file.history(table)
    assert datajoint_file.undelete(table, event=first.event)
    execute_sql(connection, f"DELETE FROM {table().full_table_name}")
    plan, (kept,) = scan(connection), gc.kept(connection)
    assert (plan.unknown.count, plan.wait.count, kept.since, kept.event) == (0, 1, first.at, first.event)
    assert datajoint_file.history(table) == [first]
    make_older(connection, table.database, "~file_history", "at", timedelta(days=2))
    assert sweep(connection).expired.count == 1
    make_older(connection, table.database, "~file_history", "due_at", timedelta(minutes=1))
    assert (sweep(connection).purged.count, path in objects(store)) == (1, False)


def test_no_retention_at_all_still_takes_two_runs(table: Any, connection: Any, database: Area, store: Store) -> None:
    insert(table, 1)
    table.delete()
    with connected(database, store, object_storage={"retention": "0 days"}) as another:
        assert (sweep(another).expired.count, len(objects(store))) == (1, 1)
        make_older(connection, table.database, "~file_history", "due_at", timedelta(minutes=1))
        assert (sweep(another).purged.count, objects(store)) == (1, set())


def test_newest_versions_of_each_cell_are_kept_whatever_their_age(
    table: Any, connection: Any, database: Area, store: Store
) -> None:
    insert(table, 1, 2)
    paths = [path_of(table, 1)]
    for content in (b"1", b"2", b"3"):
        table.update1({"recording_id": 1, "raw": ("1.dat", content)})
        paths.append(path_of(table, 1))
    table.update1({"recording_id": 2, "raw": ("2.dat", b"2")})
    (table & "recording_id = 1").delete()
    let_grace_pass(connection, table.database)
    with connected(database, store, object_storage={"versions": 2}) as another:
        plan = gc.plan(another)
        assert (plan.purge.count, plan.wait.count) == (2, 3)
        assert gc.execute(plan).purged.count == 2
        assert objects(store) & set(paths) == set(paths[2:])
        assert sweep(another).purged.count == 0


@over_local_and_s3
def test_rolled_back_delete_keeps_the_object(table: Any, connection: Any, store: Store) -> None:
    insert(table, 1)
    with pytest.raises(RuntimeError), connection.transaction:
        table.delete()
        raise RuntimeError
    plan = gc.plan(connection)
    assert (plan.wait.count, bool(plan), history(table)) == (0, False, [])
    assert objects(store) == {path_of(table, 1)}


def copy(source: Any, other_schema: dj.Schema) -> Any:
    copies = declare(other_schema, "Copy")
    copies.insert(source)
    return copies


def test_row_of_another_schema_holds_the_object(
    table: Any, connection: Any, store: Store, other_schema: dj.Schema
) -> None:
    insert(table, 1)
    path = path_of(table, 1)
    copies = copy(table, other_schema)
    table.delete()
    let_grace_pass(connection, table.database)
    plan = gc.plan(connection)
    assert (bool(plan), plan.wait.count, plan.references) == (False, 0, 1)
    assert (sweep(connection).purged.count, history(table)) == (0, [("kept",)])
    copies.delete()
    assert (sweep(connection).purged.count, gc.plan(connection).wait.count) == (0, 1)  # its own retention begins
    let_grace_pass(connection, other_schema.database)
    assert sweep(connection).purged.count == 0  # the first entry was found in use, and has to be seen over anew
    let_grace_pass(connection, table.database)
    assert sweep(connection).purged.count == 1
    assert path not in objects(store)
    assert history(table) == history(copies) == [("purged",)]


def test_table_made_by_select_holds_its_objects(table: Any, connection: Any) -> None:
    insert(table, 1)
    name = own(connection, table.database, "by_hand")
    execute_sql(connection, f"CREATE TABLE {name} AS SELECT * FROM {own(connection, table.database, 'recording')}")
    table.delete()
    let_grace_pass(connection, table.database)
    assert (sweep(connection).purged.count, gc.plan(connection).references) == (0, 1)
    execute_sql(connection, f"DROP TABLE {name}")
    plan = gc.plan(connection)
    assert plan.references == 0
    assert plan.wait.count + plan.expire.count == 1  # MySQL copies comments: to drop that table is noted as well


def test_json_of_a_schema_that_is_not_registered_holds_what_it_names(
    table: Any, connection: Any, store: Store, other_schema: dj.Schema
) -> None:
    insert(table, 1)
    name = own(connection, other_schema.database, "notes")
    execute_sql(connection, f"CREATE TABLE {name} (id INT PRIMARY KEY, note JSON)")
    note = json.dumps({"list": [{"deep": path_of(table, 1)}]})
    connection.query(f"INSERT INTO {name} VALUES (1, %s)", (note,))
    table.delete()
    let_grace_pass(connection, table.database)
    assert (sweep(connection).purged.count, len(objects(store))) == (0, 1)


@pytest.mark.parametrize("state", ["begun", "stored", "sharing"])
def test_intent_of_any_schema_that_names_the_object_holds_it(
    table: Any, connection: Any, store: Store, other_schema: dj.Schema, state: str
) -> None:
    insert(table, 1)
    path = path_of(table, 1)
    other = declare(other_schema, "Other")
    give_up(other, 1, by=timedelta(0))
    claim(other, path, state)
    table.delete()
    let_grace_pass(connection, table.database)
    assert (sweep(connection).purged.count, path in objects(store)) == (0, True)


def claim(table: Any, path: str, state: str) -> None:
    """Let the intents of a table name an object."""
    name = own(table().connection, table.database, "~file_intent")
    table().connection.query(f"UPDATE {name} SET path = %s, state = %s", (path, state))


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let something happen after a run has said what it asks about, and before it looks who claims that, or *then*."""

    def act(action: Callable[[], object], *, then: bool = False) -> None:
        judged = make_plan.judged

        def then_judged(*args: Any, with_rows: bool = True) -> Any:
            if with_rows and not then:
                action()
            found = judged(*args, with_rows=with_rows)
            if with_rows and then:
                action()
            return found

        monkeypatch.setattr(execute_plan, "judged", then_judged)

    return act


def test_schema_that_is_dropped_while_a_run_asks_is_let_go_with_what_it_noted(
    table: Any, connection: Any, store: Store, other_schema: dj.Schema, between: Callable[..., None]
) -> None:
    other = declare(other_schema, "Other")
    for one in (table, other):
        insert(one, 1, 2)
        (one & "recording_id = 1").delete()
        let_grace_pass(connection, one.database)
    give_up(other, 3)
    between(lambda: drop_by_sql(connection, other_schema.database), then=True)
    done = sweep(connection)
    assert (done.purged.count, done.reclaimed.count, done.spared, done.failures) == (1, 0, 2, ())
    assert len(objects(store)) == 4


def test_unknown_objects_are_not_noted_in_a_schema_that_is_dropped_meanwhile(
    table: Any, connection: Any, store: Store, other_schema: dj.Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = declare(other_schema, "Other")
    for one in (table, other):
        insert(one, 1)
        one.delete_quick()
        connection.query(f"DELETE FROM {own(connection, one.database, '~file_history')}")
    add_unknown = HistoryBook.add_unknown

    def dropped(book: HistoryBook, *args: Any) -> Any:
        if book.schema == other_schema.database:
            drop_by_sql(connection, other_schema.database)
        return add_unknown(book, *args)

    monkeypatch.setattr(HistoryBook, "add_unknown", dropped)
    done = gc.execute(scan(connection, unknown=True), force=True)
    assert (done.noted.count, done.failures, len(objects(store))) == (1, (), 2)


def test_what_is_kept_is_listed_though_a_schema_is_dropped_meanwhile(
    table: Any, connection: Any, other_schema: dj.Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = declare(other_schema, "Other")
    for one in (table, other):
        insert(one, 1)
        one.delete()
    tables = server_facts.own_tables

    def then_dropped(snapshot: Snapshot) -> server_facts.OwnTables:
        found = tables(snapshot)
        if len(calls) == 1:  # when all is read, and the books are opened
            drop_by_sql(connection, other_schema.database)
        calls.append(found)
        return found

    calls: list[server_facts.OwnTables] = []
    monkeypatch.setattr(server_facts, "own_tables", then_dropped)
    assert [found.why for found in gc.kept(connection)] == ["delete"]


def test_intent_that_comes_while_the_object_is_asked_about_holds_it(
    table: Any, connection: Any, store: Store, other_schema: dj.Schema, between: Callable[..., None]
) -> None:
    insert(table, 1)
    path = path_of(table, 1)
    other = declare(other_schema, "Other")
    give_up(other, 1, by=timedelta(0))
    table.delete()
    let_grace_pass(connection, table.database)
    seen = []

    def share() -> None:
        seen.extend(history(table))
        claim(other, path, "sharing")

    between(share)
    done = sweep(connection)
    assert (seen, done.purged.count, done.spared) == ([("checking",)], 0, 1)
    assert (path in objects(store), history(table, "state, run")) == (True, [("kept", None)])


@pytest.mark.parametrize("when", ["asked", "judged", "condemned"])
def test_row_that_is_put_back_while_a_collector_is_at_it_has_its_object_or_is_reported(
    table: Any, connection: Any, store: Store, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    insert(table, 1)
    path, done = path_of(table, 1), list[Any]()
    table.delete()
    let_grace_pass(connection, table.database)
    judged, condemn = make_plan.judged, HistoryBook.condemn

    def undelete() -> None:
        done.append(datajoint_file.undelete(table, since=timedelta(days=1000)))

    def then_judged(*args: Any, with_rows: bool = True) -> Any:
        if with_rows and when == "asked":
            undelete()
        evidence = judged(*args, with_rows=with_rows)
        if with_rows and when == "judged":
            undelete()
        return evidence

    def then_undelete(*args: Any) -> Any:
        condemned = condemn(*args)
        if when == "condemned":
            undelete()
        return condemned

    monkeypatch.setattr(execute_plan, "judged", then_judged)
    monkeypatch.setattr(HistoryBook, "condemn", then_undelete)
    swept, is_back = sweep(connection), when != "condemned"
    assert (bool(done[0]), swept.purged.count, path in objects(store)) == (is_back, 0 if is_back else 1, is_back)
    assert (len(table()), history(table)) == (int(is_back), [("kept" if is_back else "purged",)])


def test_row_that_comes_while_the_object_is_asked_about_holds_it(
    table: Any, connection: Any, store: Store, between: Callable[..., None]
) -> None:
    insert(table, 1)
    row = raw_json(table, 1)
    table.delete()
    let_grace_pass(connection, table.database)

    def restore() -> None:
        table.insert1({"recording_id": 2, "raw": None})
        set_raw_json(table, 2, row)

    between(restore)
    done = sweep(connection)
    assert (done.purged.count, done.spared, row["path"] in objects(store)) == (0, 1, True)


def test_entry_of_another_schema_whose_retention_is_not_over_holds_the_object(
    table: Any, connection: Any, store: Store, other_schema: dj.Schema
) -> None:
    insert(table, 1)
    copies = copy(table, other_schema)
    table.delete()
    copies.delete()
    let_grace_pass(connection, table.database)
    plan = gc.plan(connection)
    assert (plan.wait.count, plan.purge.count, bool(plan)) == (1, 0, False)
    assert (sweep(connection).purged.count, len(objects(store))) == (0, 1)


def test_entry_whose_retention_is_not_over_holds_what_an_intent_gives_up(
    table: Any, connection: Any, store: Store, other_schema: dj.Schema
) -> None:
    insert(table, 1)
    give_up(table, 2)
    (gone,) = objects(store) - {path_of(table, 1)}
    other = declare(other_schema, "Other")
    insert(other, 3)
    other.delete()
    name = own(connection, other_schema.database, "~file_history")
    connection.query(f"UPDATE {name} SET path = %s", (gone,))
    assert (sweep(connection).reclaimed.count, gone in objects(store)) == (0, True)


def test_what_is_asked_about_by_a_run_that_was_killed_is_asked_about_again(
    table: Any, connection: Any, store: Store
) -> None:
    insert(table, 1, 2)
    (table & "recording_id = 2").delete()
    let_grace_pass(connection, table.database)
    name = own(connection, table.database, "~file_history")
    execute_sql(connection, f"UPDATE {name} SET state = 'checking', run = '{'a' * 26}'")
    assert (sweep(connection).purged.count, objects(store)) == (1, {path_of(table, 1)})


def test_what_is_condemned_stays_so_and_is_not_deleted_while_a_row_names_it(
    table: Any, connection: Any, store: Store
) -> None:
    insert(table, 1)
    row = raw_json(table, 1)
    table.delete()
    let_grace_pass(connection, table.database)
    values = f"state = 'condemned', run = '{'a' * 26}'"
    execute_sql(connection, f"UPDATE {own(connection, table.database, '~file_history')} SET {values}")
    table.insert1({"recording_id": 2, "raw": None})
    set_raw_json(table, 2, row)
    assert (sweep(connection).purged.count, history(table)) == (0, [("condemned",)])
    assert row["path"] in objects(store)
    execute_sql(connection, f"DELETE FROM {table().full_table_name}")
    assert (sweep(connection).purged.count, objects(store)) == (1, set())


@contextlib.contextmanager
def open_transaction(database: Area, table: str) -> Iterator[None]:
    with contextlib.closing(connect_to(database).connection) as reader:
        reader.query("START TRANSACTION")
        reader.query(f"SELECT COUNT(*) FROM {table}")
        yield


def test_transaction_that_is_open_since_before_the_retention_was_seen_to_be_over_delays_the_deletion(
    table: Any, connection: Any, database: Area, store: Store
) -> None:
    insert(table, 1)
    table.delete()
    make_older(connection, table.database, "~file_history", "at", timedelta(days=31))
    with open_transaction(database, own(connection, table.database, "recording")):
        assert sweep(connection).expired.count == 1
        assert (sweep(connection).purged.count, len(objects(store))) == (0, 1)
    if is_mysql(connection):
        connection.query("SELECT SLEEP(2.2)")  # its clock of transactions has seconds, and what it tells is a bit old
    assert (sweep(connection).purged.count, objects(store)) == (1, set())


def test_copy_that_an_older_transaction_makes_from_what_it_still_sees_keeps_its_object(
    table: Any, connection: Any, database: Area, store: Store, other_schema: dj.Schema
) -> None:
    insert(table, 1)
    path, name = path_of(table, 1), own(connection, other_schema.database, "copy")
    declare(other_schema, "Copy")
    let_see = f"SELECT * FROM {table().full_table_name}"
    with contextlib.closing(connect_to(database).connection) as reader:
        reader.query(
            "START TRANSACTION" if is_mysql(connection) else "START TRANSACTION ISOLATION LEVEL REPEATABLE READ"
        )
        (row,) = reader.query(let_see).fetchall()
        table.delete()
        make_older(connection, table.database, "~file_history", "at", timedelta(days=31))
        sweep(connection)
        sweep(connection)
        assert path in objects(store)
        value = row[1] if isinstance(row[1], str) else json.dumps(row[1])
        reader.query(f"INSERT INTO {name} VALUES (1, %s)", (value,))
        reader.query("COMMIT")
    let_grace_pass(connection, table.database)
    assert (sweep(connection).purged.count, path in objects(store)) == (0, True)


def test_many_objects_at_once_need_force(table: Any, connection: Any, store: Store) -> None:
    table.insert([{"recording_id": key, "raw": ("a.dat", b"spikes")} for key in range(21)])
    table.delete()
    let_grace_pass(connection, table.database)
    plan = gc.plan(connection)
    assert kinds(plan) == {"brake"}
    with pytest.raises(CollectionRefusedError, match="21 objects would be deleted"):
        gc.execute(plan)
    assert len(objects(store)) == 21
    assert gc.execute(plan, force=True).purged.count == 21
    assert objects(store) == set()


def test_object_that_two_books_give_up_is_counted_once(table: Any, connection: Any) -> None:
    insert(table, 1)
    table.delete()
    let_grace_pass(connection, table.database)
    (path,) = history(table, "path")[0]
    give_up(table, 2)
    connection.query(
        f"UPDATE {own(connection, table.database, '~file_intent')} SET path = %s, write_id = %s",
        (path, path.split("/")[-2].partition("-")[2]),
    )
    plan = gc.plan(connection)
    done = gc.execute(plan)
    assert (plan.reclaim.count + plan.purge.count, done.purged.count + done.reclaimed.count, done.spared) == (1, 1, 0)


def test_failing_deletion_leaves_the_object_and_its_entry(table: Any, connection: Any, store: Store) -> None:
    insert(table, 1, 2)
    table.delete()
    let_grace_pass(connection, table.database)
    plan = gc.plan(connection)
    backend = faulty(connection)
    backend.faults = [Fault("delete", call=2)]
    done = gc.execute(plan)
    assert (bool(done), done.purged.count, len(done.failures)) == (False, 1, 1)
    assert objects(store) == {done.failures[0][0]}
    assert sorted(history(table)) == [("condemned",), ("purged",)]
    backend.faults = []
    assert sweep(connection).purged.count == 1
    assert objects(store) == set()


def test_store_that_refuses_everything_is_not_asked_for_ever(table: Any, connection: Any, store: Store) -> None:
    table.insert([{"recording_id": key, "raw": ("a.dat", b"spikes")} for key in range(30)])
    table.delete()
    let_grace_pass(connection, table.database)
    plan = gc.plan(connection)
    backend = faulty(connection)
    backend.faults = [Fault("delete", lasting=True)]
    done = gc.execute(plan, force=True)
    assert (done.purged.count, len(done.failures)) == (0, 20)
    assert len([key for verb, key in backend.history if verb == "delete" and "~registry" not in key]) == 20
    assert len(objects(store)) == 30


@pytest.mark.parametrize(
    "path", ["{project}/README.md", "{project}/../x", "other/s/objects/T-a/{unit}/x", "{project}/~registry/x.json"]
)
def test_forged_entry_deletes_nothing(table: Any, connection: Any, store: Store, path: str) -> None:
    insert(table, 1, 2)
    (table & "recording_id = 2").delete()
    let_grace_pass(connection, table.database)
    before = store.all_keys()
    forged = path.format(project=store.project, unit="a" * 16 + "-" + "a" * 26)
    connection.query(f"UPDATE {own(connection, table.database, '~file_history')} SET path = %s", (forged,))
    assert sweep(connection).purged.count == 0
    assert [key for key in store.all_keys() if "~registry" not in key] == [
        key for key in before if "~registry" not in key
    ]


def remove_unseen(table: Any, key: int) -> str:
    """Take a row away past this package: an upload of which nobody sees a row or an intent looks like that."""
    path = path_of(table, key)
    execute_sql(table().connection, f"DELETE FROM {table().full_table_name} WHERE recording_id = {key}")
    return path


def test_history_of_another_schema_makes_no_candidate_of_an_object(
    table: Any, connection: Any, store: Store, other_schema: dj.Schema
) -> None:
    copies = declare(other_schema, "Copy")
    insert(table, 1)
    insert(copies, 2)
    copies.delete()
    path = remove_unseen(table, 1)
    let_grace_pass(connection, other_schema.database)
    values = f"path = '{path}', state = 'condemned', run = '{'a' * 26}'"
    execute_sql(connection, f"UPDATE {own(connection, other_schema.database, '~file_history')} SET {values}")
    plan = scan(connection, unknown=True)
    assert [entry.action for entry in plan.entries() if entry.key == path] == ["unknown"]
    assert gc.execute(plan, force=True).purged.count == 0
    assert path in objects(store)
    assert history(table, "path, why") == [(path, "unknown")]  # in its own schema's
    let_grace_pass(connection, table.database)
    assert sweep(connection, force=True).purged.count == 1


def test_object_of_a_schema_that_is_gone_may_be_noted_anywhere(
    table: Any, connection: Any, store: Store, other_schema: dj.Schema
) -> None:
    insert(table, 1)
    copies = copy(table, other_schema)
    execute_sql(connection, f"DROP SCHEMA {table.database}" + ("" if is_mysql(connection) else " CASCADE"))
    copies.delete()
    let_grace_pass(connection, other_schema.database)
    assert sweep(connection, dropped=[table.database]).purged.count == 1
    assert objects(store) == set()


@pytest.mark.parametrize("forged", ["due_at = NULL", "run = NULL"])
def test_what_no_run_has_condemned_is_not_deleted(table: Any, connection: Any, store: Store, forged: str) -> None:
    insert(table, 1)
    table.delete()
    let_grace_pass(connection, table.database)
    values = f"state = 'condemned', run = '{'a' * 26}'"
    history_table = own(connection, table.database, "~file_history")
    execute_sql(connection, f"UPDATE {history_table} SET {values}")
    execute_sql(connection, f"UPDATE {history_table} SET {forged}")
    assert (sweep(connection).purged.count, len(objects(store))) == (0, 1)


def test_what_is_condemned_waits_for_transactions_that_are_older(
    table: Any, connection: Any, database: Area, store: Store
) -> None:
    insert(table, 1)
    table.delete()
    let_grace_pass(connection, table.database)
    with open_transaction(database, table().full_table_name):
        now = "UTC_TIMESTAMP(6)" if is_mysql(connection) else "clock_timestamp()"
        values = f"state = 'condemned', run = '{'a' * 26}', due_at = {now}"
        execute_sql(connection, f"UPDATE {own(connection, table.database, '~file_history')} SET {values}")
        assert (sweep(connection).purged.count, len(objects(store))) == (0, 1)


def test_entries_of_purged_objects_lose_their_rows_and_are_buried_after_a_month(table: Any, connection: Any) -> None:
    insert(table, 1)
    table.delete()
    let_grace_pass(connection, table.database)
    sweep(connection)
    assert history(table, "state, row_text") == [("purged", None)]
    make_older(connection, table.database, "~file_history", "due_at", timedelta(days=29))
    sweep(connection)
    assert history(table) == [("purged",)]
    make_older(connection, table.database, "~file_history", "due_at", timedelta(days=2))
    sweep(connection)
    assert history(table) == []
