"""``datajoint-file export`` and ``import``: what they print, and how they end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from tests.projects import Store, over_mysql, unique
from tests.tables import drop_schema, recording_of

from .conftest import Run


@pytest.fixture
def table(schema: dj.Schema) -> Any:
    made = recording_of(schema)
    made.insert([{"id": n, "raw": ("a.dat", b"%d" % n)} for n in range(3)])
    return made


@over_mysql
def test_slice_is_exported_and_imported(project_run: Run, table: Any, directory: Path) -> None:
    name = f"{table().database}.Recording"
    done = project_run("export", name, "slice", "--where", "id > 0")
    assert (done.exit_code, done.output) == (0, f"2 rows of {name}\n2 files, 2 B in {directory / 'slice'}\n")
    one = project_run("export", name, "id=1", "other", "--json")
    assert (one.exit_code, json.loads(one.output)["rows"]) == (0, {name: 1})
    again = project_run("export", name, "slice")
    assert (again.exit_code, "is there already" in again.output) == (1, True)
    try:
        done = project_run("import", "slice", "--prefix", "got_", "--json")
        document = {"ok": True, "inserted": {f"got_{name}": 2}, "present": {}, "conflicts": [], "notes": []}
        assert (done.exit_code, json.loads(done.output)) == (0, document)
        assert project_run("import", "slice", "--prefix", "got_").output == f"2 rows of got_{name}: there already\n"
        (table & "id = 1").delete(prompt=False)
        table.update1({"id": 2, "raw": ("a.dat", b"other")})
        refused = project_run("import", "slice")
        assert (refused.exit_code, "(id=2) is there, and has another raw" in refused.output) == (1, True)
        assert project_run("import", "slice", "--on-conflict", "skip").exit_code == 3
        assert len(table & "id = 1") == 1
        assert project_run("import", "slice", "--schema", "nobody=x").exit_code == 2
    finally:
        drop_schema(table.connection, f"got_{table().database}")


@over_mysql
def test_rebuild_says_what_it_writes_and_what_it_cannot(project_run: Run, instance: dj.Instance, store: Store) -> None:
    datajoint_file.configure(store.configuration(object_storage={"self_describing": True}), connection=instance)
    schema = instance.Schema(unique("schema"))
    table = recording_of(schema)
    table.insert([{"id": n, "raw": ("a.dat", b"%d" % n)} for n in range(3)])
    name = schema.database
    table.connection.query(f"DELETE FROM {table().full_table_name} WHERE id > 0")
    looked = project_run("rebuild", name, "--dry-run", "--json")
    told = {
        "inserted": {f"{name}.Recording": 2},
        "present": {f"{name}.Recording": 1},
        "problems": [],
        "is_dry": True,
        "ok": True,
    }
    told["notes"] = [f"{name}.Recording: the store does not know extra"]
    assert (looked.exit_code, len(table()), json.loads(looked.output)) == (0, 1, told)
    assert f"2 rows of {name}.Recording: would be written\n" in project_run("rebuild", name, "--dry-run").output
    done = project_run("rebuild", f"{name}.Recording")
    assert done.output.startswith(f"2 rows of {name}.Recording\n1 row of {name}.Recording: there already\n")
    assert (done.exit_code, len(table())) == (0, 3)
    key = (table & "id = 1").fetch1("raw").path
    table.connection.query(f"DELETE FROM {table().full_table_name} WHERE id = 1")
    store.damage(key, b"X")
    assert project_run("rebuild", name).exit_code == 3
    drop_schema(instance.connection, name)
    lost = project_run("rebuild", name)
    assert (lost.exit_code, "declare the tables first" in lost.output) == (2, True)


@over_mysql
def test_rebuild_says_that_a_store_does_not_describe_itself(project_run: Run, table: Any) -> None:
    done = project_run("rebuild", table.database)
    assert (done.exit_code, "self_describing was not on" in done.output) == (0, True)
