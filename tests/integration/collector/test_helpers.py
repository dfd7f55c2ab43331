"""The collector with an executor: workers look, and delete what is condemned; what is safe does not change by it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file import gc
from datajoint_file.errors import WorkerError
from tests.integration.executors import Disturbed, Killed, executor_of, write_toml
from tests.projects import Store, over_local_and_s3

from .collecting import insert, let_grace_pass, make_older, objects, own, path_of, scan

KINDS = pytest.mark.parametrize("kind", ["threads", "spawned"])


class Interruption(Exception):
    """Ends a transaction."""


@pytest.fixture
def pipeline(instance: dj.Instance, store: Store, tmp_path: Path) -> dj.Instance:
    """A connection whose pipeline is configured by a file, which workers can read."""
    datajoint_file.configure(write_toml(store, tmp_path), connection=instance)
    return instance


@pytest.fixture
def executor(kind: str) -> Iterator[Executor]:
    with executor_of(kind) as made:
        yield made


def give_up(table: Any, *keys: int) -> None:
    """Upload in a transaction that is rolled back, long ago."""
    with pytest.raises(Interruption), table().connection.transaction:
        insert(table, *keys)
        raise Interruption
    make_older(table().connection, table.database, "~file_intent", "lease_until")


def states(table: Any) -> list[str]:
    name = own(table().connection, table.database, "~file_intent")
    return [state for (state,) in table().connection.query(f"SELECT state FROM {name} ORDER BY number").fetchall()]


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
    assert set(states(table)) == {"reclaimed"}


class Counting(ThreadPoolExecutor):
    """Threads that count what they are given."""

    count = 0

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        self.count += 1
        return super().submit(function, *args, **kwargs)


def due_in_quarantine(table: Any) -> str:
    """Set an object aside, a grace ago; return the key of the one that is kept."""
    insert(table, 1, 2)
    (table & "recording_id = 2").delete()
    gc.execute(scan(table().connection))
    let_grace_pass(table().connection, table.database)
    return path_of(table, 1)


def test_what_is_set_aside_is_deleted_by_no_other_process(table: Any, connection: Any, store: Store) -> None:
    kept = due_in_quarantine(table)
    with executor_of("spawned") as executor:
        watched = Disturbed(executor, 0)
        assert gc.execute(scan(connection), executor=watched).purged.count == 1
    assert watched.futures == []
    assert objects(store) == {kept}


def test_what_is_set_aside_is_deleted_by_threads(table: Any, connection: Any, store: Store) -> None:
    kept = due_in_quarantine(table)
    with Counting(2) as executor:
        assert gc.execute(scan(connection), executor=executor).purged.count == 1
    assert executor.count == 1
    assert objects(store) == {kept}


def test_worker_whose_store_is_a_copy_deletes_nothing_there(
    table: Any, connection: Any, store: Store, tmp_path: Path
) -> None:
    give_up(table, 1, 2)
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
    assert set(states(table)) == {"condemned"}
    assert gc.execute(gc.plan(connection)).reclaimed.count == 2
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
