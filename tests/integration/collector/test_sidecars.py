"""Sidecars go with their objects: never unknown, never taken for the object, deleted with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from tests.projects import Store

from .collecting import collect, declare, give_up, insert, let_grace_pass, objects, path_of, scan, sweep


@pytest.fixture
def pipeline(instance: dj.Instance, store: Store) -> dj.Instance:
    configuration = store.configuration(object_storage={"self_describing": True})
    datajoint_file.configure(configuration, connection=instance)
    return instance


@pytest.fixture
def table(schema: dj.Schema) -> Any:
    return declare(schema)


def sidecars(store: Store) -> set[str]:
    return {key for key in objects(store) if key.endswith("~row")}


def test_sidecars_go_with_their_objects(table: Any, store: Store, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a.npy").write_bytes(b"a")
    insert(table, 1, 2)
    table.insert1({"recording_id": 3, "raw": tmp_path / "tree"})
    kept = path_of(table, 2)
    assert len(sidecars(store)) == 3
    found = scan(table.connection)
    assert (found.unknown.count, list(found.missing), found.foreign.count) == (0, [], 0)
    (table & "recording_id in (1, 3)").delete(prompt=False)
    let_grace_pass(table.connection, table.database)
    sweep(table.connection)
    let_grace_pass(table.connection, table.database)
    sweep(table.connection)
    assert objects(store) == {kept, f"{kept}~row"}


def test_sidecar_of_a_rolled_back_insert_is_collected(table: Any, store: Store) -> None:
    give_up(table, 1)
    assert len(objects(store)) == 2
    assert scan(table.connection).unknown.count == 0
    sweep(table.connection)
    assert objects(store) == set()


def test_sidecar_does_not_stand_for_a_missing_object(table: Any, store: Store, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a.npy").write_bytes(b"a")
    insert(table, 1)
    table.insert1({"recording_id": 3, "raw": tmp_path / "tree"})
    store.remove(path_of(table, 1))
    store.remove(next(key for key in objects(store) if key.endswith("/~manifest")))
    assert len(sidecars(store)) == 2
    assert len(scan(table.connection).missing) == 2


def test_sidecar_of_an_unknown_object_goes_with_it(table: Any, store: Store) -> None:
    insert(table, 1, 2)
    connection = table.connection
    connection.query(f"DELETE FROM {table().full_table_name} WHERE recording_id = 1")
    connection.query(f"DELETE FROM {connection.adapter.make_full_table_name(table.database, '~file_history')}")
    assert scan(connection).unknown.count == 1
    collect(connection, unknown=True, force=True)
    let_grace_pass(connection, table.database)
    collect(connection, unknown=True, force=True)
    let_grace_pass(connection, table.database)
    collect(connection, force=True)
    assert objects(store) == {path_of(table, 2), f"{path_of(table, 2)}~row"}
