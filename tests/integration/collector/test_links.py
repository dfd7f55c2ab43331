"""Links in the collector: whatever they are called and wherever they are, it neither takes them nor stumbles."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file import Link
from tests.projects import Store, over_local_and_s3

from .collecting import (
    collect,
    history,
    insert,
    kinds,
    let_grace_pass,
    objects,
    path_of,
    raw_json,
    scan,
    set_raw_json,
    sweep,
)

NAMES = (".hidden", "run 1.dat", "~draft", "manifest", "objects.txt", "tmp/partial", "a%20b.dat")


@pytest.fixture
def pipeline(instance: dj.Instance, store: Store, tmp_path: Path) -> dj.Instance:
    (tmp_path / "nas").mkdir()
    roots = {"nas": {"path": str(tmp_path / "nas")}}
    datajoint_file.configure(store.configuration(roots=roots), connection=instance)
    return instance


def written(store: Store, name: str) -> str:
    """Write a file beside the project's objects, past the package, and return its address."""
    if store.is_local:
        path = Path(store.table["path"], "incoming", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"raw")
        return str(path)
    store.damage(f"{store.project}/incoming/{name}", b"raw")
    return f"s3://{store.root_name}/{store.project}/incoming/{name}"


@over_local_and_s3
def test_linked_file_is_never_collected_whatever_its_name(
    table: Any, connection: Any, store: Store, tmp_path: Path
) -> None:
    names = [name for name in NAMES if not name.startswith("~")]
    links = [Link(written(store, name)) for name in names]
    (tmp_path / "nas" / "x.dat").write_bytes(b"x")
    table.insert({"recording_id": key, "raw": link} for key, link in enumerate(links))
    table.insert1({"recording_id": 100, "raw": Link(tmp_path / "nas" / "x.dat")})
    insert(table, 200)
    stored = path_of(table, 200)
    plan = scan(connection, unknown=True)
    assert not kinds(plan)
    assert (plan.unknown.count, plan.missing_count, plan.references) == (0, 0, 1)
    table.update1({"recording_id": 0, "raw": links[1]})
    table.delete(prompt=False)
    for _ in range(3):
        collect(connection, unknown=True, force=True)
        let_grace_pass(connection, table.database)
    sweep(connection)
    assert stored not in objects(store)
    assert {key.partition("/incoming/")[2] for key in objects(store)} == set(names)
    assert (tmp_path / "nas" / "x.dat").read_bytes() == b"x"
    assert len(history(table)) > len(names)
    let_grace_pass(connection, table.database, timedelta(days=500))
    sweep(connection)
    assert not [state for (state,) in history(table) if state != "purged"]  # of which nothing can be put back any more
    with pytest.raises(datajoint_file.errors.UnsafePathError, match="where the project keeps what is stored"):
        table.insert1({"recording_id": 1, "raw": Link(written(store, "~partial-x"))})


def test_row_that_calls_a_stored_object_a_link_holds_it_all_the_same(table: Any, connection: Any, store: Store) -> None:
    insert(table, 1, 2)
    path = path_of(table, 1)
    set_raw_json(table, 2, {**raw_json(table, 1), "linked": True})
    (table & {"recording_id": 1}).delete(prompt=False)
    let_grace_pass(connection, table.database)
    for _ in range(2):
        assert sweep(connection).purged.count == 0
    assert path in objects(store)
    set_raw_json(table, 2, json.dumps({**raw_json(table, 2), "path": "nas/../x"}))
    assert kinds(scan(connection)) == {"unreadable-row"}
