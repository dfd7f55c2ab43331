"""Deletions of a project with a mirror: there first, then in the store; and never in a mirror alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file import gc
from datajoint_file.errors import StorageUnavailableError
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.testing import Fault, FaultyBackend
from tests.projects import Store

from .collecting import Area, connected, declare, faulty, give_up, insert, kinds, let_grace_pass, path_of, scan, sweep


@pytest.fixture
def database(mysql_area: Area) -> Area:
    return mysql_area


@pytest.fixture
def mirror(store: Store, tmp_path: Path) -> Store:
    (tmp_path / "mirror").mkdir()
    return Store({"backend": "file", "path": str(tmp_path / "mirror")}, store.project)


@pytest.fixture
def pipeline(instance: dj.Instance, store: Store, mirror: Store) -> dj.Instance:
    document = store.configuration()
    document["storage"] = {**store.table, "mirror": mirror.table}
    datajoint_file.configure(document, connection=instance)
    return instance


def tree(tmp_path: Path) -> Path:
    home = tmp_path / "run.zarr"
    home.mkdir()
    for number in range(3):
        (home / str(number)).write_bytes(bytes([number]))
    return home


def removed(table: Any, connection: Any, *keys: int) -> None:
    """Delete rows, long ago."""
    for key in keys:
        (table & {"recording_id": key}).delete()
    let_grace_pass(connection, table.database)


def test_what_goes_goes_in_both_places(
    table: Any, connection: Any, store: Store, mirror: Store, tmp_path: Path
) -> None:
    insert(table, 1, 2)
    table.insert1({"recording_id": 3, "raw": tree(tmp_path)})
    kept = [path_of(table, 1)]
    only_there = next(key for key in store.object_keys() if key.endswith("run.zarr/1"))
    store.remove(only_there)  # by a fault of its disk: the mirror forgets it all the same
    removed(table, connection, 2, 3)
    assert sweep(connection, force=True).purged.count == 2
    assert (store.object_keys(), mirror.object_keys()) == (kept, kept)


def test_descriptions_go_in_both_places(table: Any, connection: Any, store: Store, mirror: Store) -> None:
    insert(table, 1)
    key = path_of(table, 1)
    for place in (store, mirror):
        (Path(place.table["path"]) / f"{key.partition('/')[2]}~row").write_bytes(b"{}")
    removed(table, connection, 1)
    assert sweep(connection, force=True).purged.count == 1
    assert (store.object_keys(), mirror.object_keys()) == ([], [])


def test_what_the_mirror_cannot_forget_stays_in_the_store(
    table: Any, connection: Any, store: Store, mirror: Store, tmp_path: Path
) -> None:
    insert(table, 1, 2)
    before = store.object_keys()
    removed(table, connection, 2)
    shutil.move(mirror.table["path"], tmp_path / "unmounted")
    found = sweep(connection, force=True)
    assert (found.purged.count, len(found.failures), store.object_keys()) == (0, 1, before)
    shutil.move(tmp_path / "unmounted", mirror.table["path"])
    assert sweep(connection, force=True).purged.count == 1
    kept = [path_of(table, 1)]
    assert (store.object_keys(), mirror.object_keys()) == (kept, kept)


def test_an_empty_mirror_is_no_evidence_that_it_has_forgotten(
    table: Any, connection: Any, store: Store, mirror: Store, tmp_path: Path
) -> None:
    insert(table, 1)
    table.insert1({"recording_id": 2, "raw": tree(tmp_path)})
    before = (store.object_keys(), mirror.object_keys())
    removed(table, connection, 1, 2)
    shutil.move(mirror.table["path"], tmp_path / "unmounted")
    Path(mirror.table["path"]).mkdir()  # what is there when a disk is not mounted
    found = sweep(connection, force=True)
    assert (found.purged.count, store.object_keys(), mirror.all_keys()) == (0, before[0], [])
    assert all("its disk may not be mounted" in why for _, why in found.failures)
    assert len(found.failures) == 2
    Path(mirror.table["path"]).rmdir()
    shutil.move(tmp_path / "unmounted", mirror.table["path"])
    assert sweep(connection, force=True).purged.count == 2
    assert (store.object_keys(), mirror.object_keys()) == ([], [])


def test_a_mirror_that_goes_while_it_forgets_has_forgotten_nothing(
    table: Any, connection: Any, store: Store, mirror: Store, tmp_path: Path
) -> None:
    insert(table, 1)
    before = store.object_keys()
    removed(table, connection, 1)
    stores = pipeline_of(connection).stores

    def unmount(_: str) -> None:
        shutil.move(mirror.table["path"], tmp_path / "unmounted")
        Path(mirror.table["path"]).mkdir()

    there = stores.mirror(store.project)
    assert there is not None
    stores._backends[f"{store.project}~"] = FaultyBackend(there, Fault("delete", action=unmount))
    assert sweep(connection, force=True).purged.count == 0
    assert store.object_keys() == before


def test_a_disk_that_was_the_mirror_becomes_no_new_one(
    table: Any, connection: Any, mirror: Store, tmp_path: Path
) -> None:
    insert(table, 1)
    shutil.move(mirror.table["path"], tmp_path / "unmounted")
    Path(mirror.table["path"]).mkdir()
    with pytest.raises(StorageUnavailableError, match="its disk may not be mounted"):
        insert(table, 2)
    with pytest.raises(StorageUnavailableError, match="its disk may not be mounted"):
        datajoint_file.mirror.run(connection, [table.database])
    assert mirror.all_keys() == []


def test_an_upload_that_was_given_up_goes_in_both_places(
    table: Any, connection: Any, store: Store, mirror: Store
) -> None:
    insert(table, 1)
    give_up(table, 2)
    assert len(mirror.object_keys()) == 2
    assert sweep(connection, force=True).reclaimed.count == 1
    kept = [path_of(table, 1)]
    assert (store.object_keys(), mirror.object_keys()) == (kept, kept)


def test_a_deletion_that_the_store_refuses_is_finished_later(
    table: Any, connection: Any, store: Store, mirror: Store
) -> None:
    insert(table, 1, 2)
    removed(table, connection, 2)
    backend = faulty(connection, Fault("delete", call=2))  # the first is of a mark
    sweep(connection, force=True)
    pipeline_of(connection).stores._backends[store.project] = backend.inner
    sweep(connection, force=True)
    kept = [path_of(table, 1)]
    assert (store.object_keys(), mirror.object_keys()) == (kept, kept)


def test_no_collector_takes_a_mirror_for_the_store(table: Any, connection: Any, mirror: Store, database: Area) -> None:
    insert(table, 1, 2)
    removed(table, connection, 2)
    datajoint_file.mirror.run(connection, [table.database])
    before = mirror.all_keys()
    with connected(database, mirror) as other:
        assert kinds(gc.plan(other)) == {"mark"}
        with pytest.raises(gc.CollectionRefusedError, match="is the mirror of"):
            sweep(other)
        assert mirror.all_keys() == before


def test_a_mirror_becomes_the_store_when_that_is_lost(
    table: Any, connection: Any, store: Store, mirror: Store, database: Area
) -> None:
    insert(table, 1, 2)
    datajoint_file.mirror.run(connection, [table.database])
    shutil.rmtree(store.table["path"])
    with connected(database, mirror) as other:
        again = declare(dj.VirtualModule("again", table.database, connection=other).schema)
        insert(again, 3)
        assert [again.fetch1("raw").read() for again in (again & {"recording_id": k} for k in (1, 2, 3))] == [
            b"spikes"
        ] * 3
        gc.execute(gc.plan(other, take_over=True))
        assert not kinds(gc.plan(other))


def test_remains_of_an_upload_to_the_mirror_are_removed(
    table: Any, connection: Any, store: Store, mirror: Store
) -> None:
    insert(table, 1)
    home = (Path(mirror.table["path"]) / path_of(table, 1).partition("/")[2]).parent
    left = home / "~partial-0f3a"
    left.write_bytes(b"spi")
    import os

    long_ago = 1_600_000_000
    os.utime(left, (long_ago, long_ago))
    found = gc.execute(scan(connection))
    assert found.discarded.count == 1
    assert not left.exists()
