"""``datajoint-file history`` and ``datajoint-file restore``, as a process of their own, on real databases."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

from tests.projects import Store
from tests.tables import recording_of

from .conftest import Process, Run, mysql_variables, postgresql_variables, write_configuration

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def table(schema: dj.Schema) -> Any:
    made = recording_of(schema)
    made.insert([{"id": n, "raw": ("a.dat", b"%d" % n)} for n in range(3)])
    return made


@pytest.fixture
def command(process: Process, directory: Path, database: Any, table: Any, store: Store) -> Command:
    write_configuration(directory, store.table)
    path = directory / "datajoint.toml"
    path.write_text(path.read_text(encoding="utf-8").replace('"lab"', f'"{store.project}"'), encoding="utf-8")
    is_postgresql = "postgres" in type(database).__name__.lower()
    variables = postgresql_variables(database) if is_postgresql else mysql_variables(database)
    name = f"{table().database}.Recording"

    def start(verb: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return process(verb, name, *arguments, **{**variables, "DJ_LOG_LEVEL": "ERROR"})

    return start


def test_deleted_rows_are_shown_and_put_back(command: Command, table: Any) -> None:
    (table & "id < 2").delete(prompt=False)
    shown = command("history", "--attribute", "raw")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "2 earlier files." in shown.stdout
    assert "(id=1)" in shown.stdout
    (one,) = json.loads(command("history", "--key", "id=1", "--json").stdout)
    assert (one["why"], one["key"], one["purged"]) == ("delete", {"id": "1"}, False)
    done = command("restore", "--event", one["event"], "--key", "id=1")
    assert (done.returncode, done.stdout) == (0, f"  1 row of {table().database}.Recording\n")
    assert (table & "id = 1").fetch1("raw").read() == b"1"
    rest = command("restore", "--since", "1h", "--json")
    document = json.loads(rest.stdout)
    assert [list(document[name].values()) for name in ("restored", "present")] == [[1], [1]]
    assert (rest.returncode, document["problems"]) == (0, [])
    again = command("restore", "--since", "1h")
    assert (again.returncode, again.stdout) == (0, f"  2 rows of {table().database}.Recording: there already\n")
    table.update1({"id": 1, "raw": ("a.dat", b"new")})
    differing = command("restore", "--since", "1h")
    assert (differing.returncode, "has another raw; the history keeps 1 file of it" in differing.stdout) == (3, True)


def test_wrong_file_is_taken_back(command: Command, table: Any) -> None:
    table.update1({"id": 1, "raw": ("a.dat", b"wrong")})
    done = command("restore", "--key", "id=1", "--attribute", "raw", "--version", "1")
    assert done.returncode == 0, done.stderr
    assert (table & "id = 1").fetch1("raw").read() == b"1"
    refused = command("restore", "--key", "id=1", "--attribute", "raw", "--version", "7")
    assert (refused.returncode, "no version 7, but 1 earlier file" in refused.stderr) == (2, True)


@pytest.mark.parametrize("arguments", [("--since", "yesterday"), ("--key", "id"), ("--attribute", "raw")])
def test_wrong_usage_is_told_before_anything_is_connected_to(run: Run, arguments: tuple[str, ...]) -> None:
    found = run("restore", "lab.Recording", *arguments)
    assert (found.exit_code, "Error:" in found.output) == (2, True)
