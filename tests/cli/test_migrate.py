"""``datajoint-file migrate``: each step from a shell, what it prints, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datajoint as dj

from tests.tables import recording_of

from .conftest import Run


def test_steps_from_a_shell(project_run: Run, schema: dj.Schema, tmp_path: Path) -> None:
    table = recording_of(schema, "id : int32\n---\nraw : varchar(300)")
    (tmp_path / "nas").mkdir()
    (tmp_path / "nas" / "one.dat").write_bytes(b"one")
    table.insert1({"id": 1, "raw": "one.dat"})
    table.insert({"id": n, "raw": "none.dat"} for n in (2, 3))
    name = f"{schema.database}.Recording.raw"

    def step(which: str, *options: str) -> tuple[int, Any]:
        done = project_run("migrate", which, name, "--json", *options)
        return done.exit_code, json.loads(done.stdout)

    assert step("plan")[0] == 1, "where relative paths begin is not said"
    root = ("--root", str(tmp_path / "nas"))
    plain = project_run("migrate", "plan", name, *root).stdout
    assert all(part in plain for part in ("2 problems", "id=2: ", "(and so 1 more row)"))
    assert "id=3" not in plain
    (table & "id > 1").delete(prompt=False)
    code, plan = step("plan", *root)
    assert (code, plan["rows"], plan["size"], plan["ways"]) == (0, 1, 3, {"copied": 1})
    assert step("finish", *root)[0] == 1
    refused = project_run("migrate", "finish", name)
    assert refused.stdout.splitlines() == [f"{name}: refused: nothing was moved yet: run() and check() come first"]
    assert step("run", *root, "--workers", "2")[1]["rows"] == 1
    assert step("check", "--workers", "2")[1]["ok"], "the root is known by now"
    told = project_run("migrate", "finish", name)
    assert (told.exit_code, told.stdout) == (
        0,
        f"{name}: raw is a `file` attribute; the old values are in raw__before\n",
    )
    quiet = project_run("migrate", "back", name, "--quiet")
    assert (quiet.exit_code, quiet.output) == (0, "")
    assert "refused" in project_run("migrate", "forget", name, "--quiet").output
    assert step("finish")[0] == 0
    assert step("forget")[0] == 0
    assert dj.FreeTable(table.connection, table.full_table_name).fetch1("raw").read() == b"one"
    assert project_run("migrate", "run", f"{schema.database}.Recording").exit_code == 2
    assert "and not for back" in project_run("migrate", "back", name, "--workers", "2").output
    assert project_run("migrate", "run", f"{schema.database}.Recording.nothing").exit_code == 2
    assert project_run("migrate", "run", name, "--suffix", ".npy").exit_code in (0, 2)
