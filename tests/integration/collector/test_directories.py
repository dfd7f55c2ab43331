"""Directories in the collector: one reference for all members; the manifest is last in and first out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from datajoint_file import gc
from datajoint_file.errors import StorageError
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.pipeline import checkpoints, directory_upload
from datajoint_file.testing import Fault
from tests.projects import Store, over_all_stores, over_local_and_s3

from .collecting import collect, faulty, let_grace_pass, make_older, objects, scan, set_raw_json, sweep

FILES = {"params.py": b"p", "c/0/0": b"00", "c/0/1": b"01", ".zarray": b"{}"}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "sorted"
    for name, content in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def insert_tree(table: Any, tree: Path, *keys: int) -> list[str]:
    table.insert([{"recording_id": key, "raw": tree} for key in keys])
    return [(table & {"recording_id": key}).fetch1("raw").path for key in keys]


def below(store: Store, path: str) -> set[str]:
    """What the store has of one directory, its manifest included."""
    home = path.rstrip("/").rpartition("/")[0]
    return {key for key in objects(store) if key.startswith(f"{home}/")}


@over_all_stores
def test_row_holds_all_members_until_it_is_deleted_and_its_retention_is_over(
    table: Any, connection: Any, store: Store, tree: Path
) -> None:
    kept, removed = insert_tree(table, tree, 1, 2)
    plan = scan(connection)
    assert (plan.unknown.count, plan.missing_count, plan.references) == (0, 0, 2)
    (table & {"recording_id": 2}).delete(prompt=False)
    assert collect(connection, unknown=True).noted.count == 0
    let_grace_pass(connection, table.database)
    assert sweep(connection).purged.count == 1
    assert len(below(store, kept)) == len(FILES) + 1
    assert below(store, removed) == set()
    assert sorted(file.read() for file in (table & {"recording_id": 1}).fetch1("raw").files()) == sorted(FILES.values())
    if store.is_local:  # no empty directories are left of it
        root = Path(store.table["path"])
        assert not (root / removed.partition("/")[2]).parent.exists()


@over_local_and_s3
def test_given_up_directory_goes_with_what_has_arrived_of_it(
    table: Any, connection: Any, store: Store, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_FILES", 1)
    monkeypatch.setattr(directory_upload, "BATCH_FILES", 1)
    backend = faulty(connection, Fault("upload", call=6, lasting=True))
    with pytest.raises(StorageError):
        table.insert1({"recording_id": 1, "raw": tree})
    assert not any(key.endswith("/~manifest") for key in objects(store))
    assert not store.is_local or any("/~sent-" in key for key in objects(store))
    make_older(connection, table.database, "~file_intent", "lease_until")
    pipeline = pipeline_of(connection)
    pipeline.stores._backends[pipeline.project] = backend.inner
    assert scan(connection).unknown.count == 0
    assert sweep(connection).reclaimed.count == 1
    assert objects(store) == set()


def test_directory_that_nothing_speaks_of_is_one_unknown_object_and_its_manifest(
    table: Any, connection: Any, store: Store, tree: Path
) -> None:
    kept, lost = insert_tree(table, tree, 1, 2)
    connection.query(f"DELETE FROM {table().full_table_name} WHERE recording_id = 2")
    plan = scan(connection, unknown=True)
    home = lost.rstrip("/").rpartition("/")[0]
    assert [entry.key for entry in plan.entries()] == [lost, f"{home}/~manifest"]
    assert gc.execute(plan).noted.count == 2
    let_grace_pass(connection, table.database)
    assert sweep(connection).purged.count == 2
    assert (below(store, lost), len(below(store, kept))) == (set(), len(FILES) + 1)


@pytest.mark.parametrize("named", ["{path}c/0/0", "{path}", "{directory}", "s3://x/{directory}."])
def test_whatever_names_a_directory_or_a_member_in_text_keeps_all_of_it(
    table: Any, connection: Any, store: Store, tree: Path, named: str
) -> None:
    (path,) = insert_tree(table, tree, 1)
    connection.query(f"DELETE FROM {table().full_table_name} WHERE recording_id = 1")
    note = json.dumps({"used": named.format(path=path, directory=path.rstrip("/"))})
    name = connection.adapter.make_full_table_name(table.database, "note")
    connection.query(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, what JSON)")
    connection.query(f"INSERT INTO {name} VALUES (1, %s)", (note,))
    plan = scan(connection, unknown=True)
    assert [entry.key for entry in plan.entries()] == []
    assert plan.missing_count == 0


def test_row_that_names_a_member_keeps_the_whole_directory(
    table: Any, connection: Any, store: Store, tree: Path
) -> None:
    """No insert makes such a row; raw SQL can."""
    kept, removed = insert_tree(table, tree, 1, 2)
    member = {**next((table & {"recording_id": 2}).fetch1("raw").files()).to_dict()}
    set_raw_json(table, 1, member)
    (table & {"recording_id": 2}).delete(prompt=False)
    let_grace_pass(connection, table.database)
    assert sweep(connection).purged.count == 0
    assert len(below(store, removed)) == len(FILES) + 1


@over_local_and_s3
def test_row_whose_manifest_is_gone_is_reported_as_missing(
    table: Any, connection: Any, store: Store, tree: Path
) -> None:
    (path,) = insert_tree(table, tree, 1)
    store.remove(f"{path.rstrip('/').rpartition('/')[0]}/~manifest")
    plan = scan(connection)
    assert [(one.key, one.attribute.rpartition(".")[2]) for one in plan.missing] == [(path, "raw")]


def test_deleting_goes_on_where_it_was_cut_short(table: Any, connection: Any, store: Store, tree: Path) -> None:
    (path,) = insert_tree(table, tree, 1)
    table.delete(prompt=False)
    let_grace_pass(connection, table.database)
    backend = faulty(connection, Fault("delete", call=4))
    assert sweep(connection).failures
    deleted = [key for verb, key in backend.history if verb == "delete" and "/~registry/" not in key]
    assert deleted[0].endswith("/~manifest")
    assert 0 < len(below(store, path)) < len(FILES)
    assert sweep(connection).purged.count == 1
    assert below(store, path) == set()
