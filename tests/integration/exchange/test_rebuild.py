"""A database is lost, and its rows are written again from what the store keeps beside their objects."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import datajoint as dj
import numpy as np
import pytest

import datajoint_file
from datajoint_file import File, Link
from datajoint_file.errors import StorageUnavailableError
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.testing.faults import Fault, FaultyBackend
from tests.projects import Store, connect, over_local_and_s3, unique
from tests.tables import drop_schema

RECORDING = """
subject : varchar(12)
day : date
---
raw : file
tree = null : file
linked = null : file
quality = null : decimal(5,2)
n = null : int32
note = "" : varchar(200)
moment = null : datetime(6)
array = null : <blob>
"""

TRACE = """
-> Recording
trace : int16
---
picture : file
"""


@pytest.fixture
def lab(database: Any, store: Store, tmp_path: Path) -> Iterator[tuple[Any, str]]:
    """A connection whose store describes itself, and the name of a schema."""
    instance, name = connect(database), unique("rebuilt")
    (tmp_path / "nas").mkdir()
    tables = {"object_storage": {"self_describing": True}, "roots": {"nas": {"path": str(tmp_path / "nas")}}}
    datajoint_file.configure({**store.configuration(), **tables}, connection=instance)
    yield instance, name
    drop_schema(instance.connection, name)
    instance.connection.close()


def declared(instance: Any, name: str) -> tuple[Any, Any]:
    schema = instance.Schema(name)
    recording = schema(type("Recording", (dj.Manual,), {"definition": RECORDING}))
    trace = type("Trace", (dj.Computed,), {"definition": TRACE, "make": lambda *_: None})
    return recording(), schema(trace, context={"Recording": recording})()


def filled(instance: Any, name: str, tmp_path: Path) -> tuple[Any, Any]:
    recording, trace = declared(instance, name)
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    (tmp_path / "tree" / "sub" / "a.npy").write_bytes(b"abc")
    (tmp_path / "nas" / "run.dat").write_bytes(b"linked")
    for n in range(4):
        recording.insert1(
            {
                "subject": f"s'{n}",
                "day": datetime.date(2026, 1, n + 1),
                "raw": File(b"raw%d" % n, name="große Daten.dat", title=f"run {n}"),
                "tree": tmp_path / "tree" if n == 1 else None,
                "quality": Decimal("1.25") if n else None,
                "n": np.int64(n),
                "moment": datetime.datetime(2026, 1, 1, 1, 1, 1, 5),
            }
        )
    key = {"subject": "s'0", "day": datetime.date(2026, 1, 1)}
    recording.update1({**key, "raw": ("again.dat", b"again"), "note": "replaced"})
    trace.insert(({**key, "trace": n, "picture": ("p.png", b"%d" % n)} for n in range(3)), allow_direct_insert=True)
    return recording, trace


def content(table: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in table.to_dicts(order_by="KEY")]


@over_local_and_s3
def test_every_row_comes_back(lab: tuple[Any, str], tmp_path: Path, store: Store) -> None:
    instance, name = lab
    before = [content(table) for table in filled(instance, name, tmp_path)]
    objects = store.object_keys()
    drop_schema(instance.connection, name)
    recording, trace = declared(instance, name)
    dry = datajoint_file.rebuild(trace, recording, dry_run=True)
    assert (dict(dry.inserted), len(recording)) == ({f"{name}.Recording": 4, f"{name}.Trace": 3}, 0)
    done = datajoint_file.rebuild(trace, recording)
    assert done, str(done)
    assert dict(done.inserted) == {f"{name}.Recording": 4, f"{name}.Trace": 3}
    assert [content(table) for table in (recording, trace)] == before
    assert (recording & "n = 2").fetch1("raw").read() == b"raw2"
    assert (recording & "n = 0").fetch1("raw").read() == b"again"
    assert store.object_keys() == objects
    intents = instance.connection.adapter.make_full_table_name(name, "~file_intent")
    assert instance.connection.query(f"SELECT COUNT(*) FROM {intents}").fetchone()[0] == 0
    assert f"{name}.Recording: the store does not know array, linked, note" in done.notes
    again = datajoint_file.rebuild(recording, trace)
    assert (dict(again.inserted), sum(again.present.values())) == ({}, 7)


def test_rows_that_are_there_and_damaged_objects_are_left_alone(
    lab: tuple[Any, str], tmp_path: Path, store: Store
) -> None:
    instance, name = lab
    recording, _ = filled(instance, name, tmp_path)
    keys = {row["n"]: row["raw"].path for row in recording.to_dicts()}
    tree = (recording & "n = 1").fetch1("tree").path
    drop_schema(instance.connection, name)
    recording, _ = declared(instance, name)
    recording.insert1({"subject": "s'0", "day": datetime.date(2026, 1, 1), "raw": ("mine.dat", b"mine")})
    store.damage(f"{tree}sub/a.npy", b"abX")
    store.damage(keys[2], b"rawX")
    sidecar = json.loads(store.content(f"{keys[3]}~row"))
    sidecar["file"]["path"] = keys[2]
    store.damage(f"{keys[3]}~row", json.dumps(sidecar).encode())
    done = datajoint_file.rebuild(recording)
    assert not done
    assert len(recording) == 1
    assert recording.fetch1("raw").read() == b"mine"
    told = "\n".join(done.problems)
    assert "(subject=s'1, day=2026-01-02)" in told
    assert "(subject=s'2, day=2026-01-03)" in told
    assert f"{keys[3]}~row was passed over: it speaks of {keys[2]}" in told
    assert dict(done.present) == {f"{name}.Recording": 1}


def test_a_store_that_does_not_answer_is_no_problem_of_a_row(lab: tuple[Any, str], tmp_path: Path) -> None:
    instance, name = lab
    filled(instance, name, tmp_path)
    drop_schema(instance.connection, name)
    recording, _ = declared(instance, name)
    pipeline = pipeline_of(instance.connection)
    faulty = FaultyBackend(pipeline.backend, Fault("stat", lasting=True))
    pipeline.stores._backends[pipeline.project] = faulty
    with pytest.raises(StorageUnavailableError):
        datajoint_file.rebuild(recording, level="size")
    assert len(recording) == 0


def test_migrated_files_come_back(lab: tuple[Any, str], tmp_path: Path) -> None:
    instance, name = lab
    (tmp_path / "a.txt").write_text("a")
    definition = "n : int32\n---\nraw : {}\nother = null : file\nnote = null : varchar(9)"

    def table(kind: str) -> Any:
        return instance.Schema(name)(type("Old", (dj.Manual,), {"definition": definition.format(kind)}))()

    old = table("<attach>")
    old.insert1({"n": 1, "raw": str(tmp_path / "a.txt"), "other": ("o.dat", b"o"), "note": "kept"})
    old.insert1({"n": 2, "raw": str(tmp_path / "a.txt")})
    migration = datajoint_file.Migration(old, "raw")
    assert all([migration.run(), migration.check(), migration.finish()])
    drop_schema(instance.connection, name)
    done = datajoint_file.rebuild(table("file"))
    assert (bool(done), dict(done.inserted)) == (True, {f"{name}.Old": 2})
    found = table("file").to_dicts(order_by="n")
    assert [(row["raw"].read(), row["note"]) for row in found] == [(b"a", "kept"), (b"a", None)]
    assert found[0]["other"].read() == b"o"


def test_no_value_in_the_store_is_taken_for_a_path(lab: tuple[Any, str], tmp_path: Path, store: Store) -> None:
    instance, name = lab
    recording, _ = filled(instance, name, tmp_path)
    key = f"{(recording & 'n = 3').fetch1('raw').path}~row"
    (tmp_path / "secret").write_text("secret")
    sidecar = json.loads(store.content(key))
    for attribute in ("tree", "array"):
        sidecar["values"][attribute] = str(tmp_path / "secret")
    store.damage(key, json.dumps(sidecar).encode())
    drop_schema(instance.connection, name)
    recording, _ = declared(instance, name)
    assert datajoint_file.rebuild(recording)
    assert (recording & "n = 3").fetch1("tree", "array") == (None, None)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"values": {"note": {"a": 1}}}, "no insert describes"),
        ({"left_out": 5}, "it names"),
        ({"key": {"subject": "\U0001f600" * 700_000}}, "another key"),
    ],
    ids=["object", "number", "long"],
)
@pytest.mark.parametrize("database", ["mysql"], indirect=True)
def test_what_no_insert_writes_beside_an_object_is_a_problem_of_its_row(
    lab: tuple[Any, str], store: Store, change: dict[str, Any], told: str
) -> None:
    instance, name = lab
    recording = instance.Schema(name)(type("Recording", (dj.Manual,), {"definition": RECORDING}))()
    recording.insert({"subject": f"{n}", "day": datetime.date(2026, 1, 1), "raw": ("a.dat", b"a")} for n in range(2))
    path = (recording & "subject = '0'").fetch1("raw").path
    recording.connection.query(f"DELETE FROM {recording.full_table_name}")
    text = json.dumps(json.loads(store.content(f"{path}~row")) | change, ensure_ascii=False)
    store.damage(f"{path}~row", text.encode())
    done = datajoint_file.rebuild(recording)
    assert told in "\n".join(done.problems)
    assert [row["subject"] for row in recording.to_dicts()] == ["1"]


def test_what_a_row_needs_and_the_store_has_not_is_said(lab: tuple[Any, str], tmp_path: Path) -> None:
    instance, name = lab
    filled(instance, name, tmp_path)
    drop_schema(instance.connection, name)
    _, trace = declared(instance, name)
    done = datajoint_file.rebuild(trace)
    assert (dict(done.inserted), len(done.problems)) == ({}, 3)
    assert "foreign key" in done.problems[0]
    assert len(trace) == 0


def test_nothing_is_written_beside_objects_unless_told(pipeline: Any, table: Any, store: Store) -> None:
    table.insert1({"id": 1, "raw": ("a.dat", b"a")})
    assert not [key for key in store.object_keys() if key.endswith("~row")]


def test_a_link_has_no_sidecar(lab: tuple[Any, str], tmp_path: Path, store: Store) -> None:
    instance, name = lab
    recording, _ = filled(instance, name, tmp_path)
    before = store.object_keys()
    key = {"subject": "s'2", "day": datetime.date(2026, 1, 3)}
    recording.update1({**key, "linked": Link(tmp_path / "nas" / "run.dat")})
    assert store.object_keys() == before
