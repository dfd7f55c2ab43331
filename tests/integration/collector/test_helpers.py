"""The collector with an executor: workers look, and delete what is condemned; what is safe does not change by it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file import gc
from datajoint_file.errors import WorkerError
from tests.integration.executors import Killed, executor_of, write_toml
from tests.projects import Store, over_local_and_s3

from .collecting import give_up, history, insert, intents, let_grace_pass, objects, path_of, scan

KINDS = pytest.mark.parametrize("kind", ["threads", "spawned"])


@pytest.fixture
def pipeline(instance: dj.Instance, store: Store, tmp_path: Path) -> dj.Instance:
    """A connection whose pipeline is configured by a file, which workers can read."""
    datajoint_file.configure(write_toml(store, tmp_path), connection=instance)
    return instance


@pytest.fixture
def executor(kind: str) -> Iterator[Executor]:
    with executor_of(kind) as made:
        yield made


@over_local_and_s3
@KINDS
def test_workers_delete_what_was_given_up_and_nothing_else(
    table: Any, connection: Any, store: Store, executor: Executor, kind: str
) -> None:
    insert(table, 1)
    give_up(table, *range(2, 50))
    done = gc.execute(gc.plan(connection, executor=executor), executor=executor)
    assert done
    assert done.reclaimed.count == 48
    assert objects(store) == {path_of(table, 1)}
    assert set(intents(table)) == {("reclaimed",)}


@over_local_and_s3
@KINDS
def test_workers_delete_what_was_removed_from_rows_long_ago(
    table: Any, connection: Any, store: Store, executor: Executor, kind: str
) -> None:
    insert(table, 1, 2, 3)
    (table & "recording_id > 1").delete()
    let_grace_pass(connection, table.database)
    done = gc.execute(gc.plan(connection), executor=executor)
    assert (done.purged, done.failures) == (gc.Amount(2, 12), ())
    assert objects(store) == {path_of(table, 1)}
    assert history(table) == [("purged",), ("purged",)]


def test_worker_whose_store_is_a_copy_deletes_nothing_there(
    table: Any, connection: Any, store: Store, tmp_path: Path
) -> None:
    give_up(table, 1)
    insert(table, 2)
    table.delete()
    let_grace_pass(connection, table.database)
    before = objects(store)
    shutil.copytree(store.table["path"], tmp_path / "copy")
    copy = Store({**store.table, "path": str(tmp_path / "copy")}, store.project)
    write_toml(copy, tmp_path)
    plan = gc.plan(connection)
    with executor_of("spawned") as executor:
        done = gc.execute(plan, executor=executor)
    assert not done
    assert len(done.failures) == 2
    assert "is not the one of the project" in done.failures[0][1]
    assert objects(store) == objects(copy) == before
    assert intents(table) == history(table) == [("condemned",)]
    done = gc.execute(gc.plan(connection))
    assert (done.reclaimed.count, done.purged.count) == (1, 1)
    assert (objects(store), objects(copy)) == (set(), before)


@over_local_and_s3
@KINDS
def test_missing_objects_are_looked_for_by_workers(
    table: Any, connection: Any, store: Store, executor: Executor, kind: str
) -> None:
    insert(table, 1, 2, 3)
    store.remove(path_of(table, 2))
    plan = scan(connection, executor=executor)
    assert [one.key for one in plan.missing] == [path_of(table, 2)]
    assert plan.notes == scan(connection).notes
    assert not plan.is_complete


def test_worker_that_dies_leaves_no_plan(table: Any, connection: Any, store: Store) -> None:
    insert(table, 1, 2)
    store.remove(path_of(table, 2))
    with executor_of("spawned") as executor:
        executor.submit(os.getpid).result()
        executor.submit(os._exit, 1).exception()
        with pytest.raises(WorkerError, match="could not do their work"):
            scan(connection, executor=executor)
    assert objects(store) == {path_of(table, 1)}


def test_worker_that_dies_while_it_deletes_leaves_the_rest_to_the_next_run(
    table: Any, connection: Any, store: Store
) -> None:
    give_up(table, *range(60))
    with executor_of("spawned") as executor:
        done = gc.execute(gc.plan(connection), executor=Killed(executor, 2))
    assert not done
    assert done.reclaimed.count + len(done.failures) == 60
    assert gc.execute(gc.plan(connection)).reclaimed.count == len(done.failures)
    assert objects(store) == set()
