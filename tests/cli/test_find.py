"""``datajoint-file find`` and ``datajoint-file index``, as processes of their own, on real databases."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

from datajoint_file.sql import dialect_of
from tests.projects import Store, over_mysql
from tests.tables import recording_of

from .conftest import Process, mysql_variables, postgresql_variables, write_configuration

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def table(schema: dj.Schema) -> Any:
    made = recording_of(schema)
    made.insert([{"id": n, "raw": ("a.dat", b"%d" % n)} for n in range(3)])
    return made


@pytest.fixture
def command(process: Process, directory: Path, database: Any, store: Store) -> Command:
    write_configuration(directory, store.table)
    path = directory / "datajoint.toml"
    path.write_text(path.read_text(encoding="utf-8").replace('"lab"', f'"{store.project}"'), encoding="utf-8")
    is_postgresql = "postgres" in type(database).__name__.lower()
    variables = postgresql_variables(database) if is_postgresql else mysql_variables(database)
    return lambda *arguments: process(*arguments, **{**variables, "DJ_LOG_LEVEL": "ERROR"})


@over_mysql
def test_file_is_found_by_content_hash_and_path(command: Command, table: Any, directory: Path) -> None:
    ref, schema = (table & "id = 1").fetch1("raw"), table().database
    (directory / "local copy").write_bytes(b"1")
    found = command("find", "local copy", "--schema", schema)
    told = f"{schema}.Recording.raw (id=1): a.dat, 1 B\n"
    assert (found.returncode, found.stdout, found.stderr) == (0, told, "")
    document = json.loads(command("find", "--path", ref.url, "--schema", schema, "--json").stdout)
    assert document["found"] == [
        {"table": f"{schema}.Recording", "attribute": "raw", "key": {"id": "1"}, "file": ref.to_dict(), "member": None}
    ]
    assert (document["unread"], document["schemas"]) == ([], [schema])
    (table & "id = 1").delete(prompt=False)
    gone = command("find", "--hash", hashlib.sha256(b"1").hexdigest()[:12], "--schema", schema)
    assert gone.returncode == 1
    assert gone.stdout.startswith(f"No row of 1 schema with files ({schema}) has the hash sha256:6b86b273ff34….\n")
    assert f"There was one: {schema}.Recording, until " in gone.stdout
    wrong = command("find", "local copy", "--hash", "12345678")
    assert (wrong.returncode, "give one of hash=, file= and path=" in wrong.stderr) == (2, True)


def test_index_is_made_and_dropped_or_refused(command: Command, table: Any) -> None:
    name = f"{table().database}.Recording"
    made = command("index", name)
    if dialect_of(table.connection).index_refusal:
        assert (made.returncode, "MariaDB makes no index" in made.stderr) == (4, True)
        return
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.startswith(f"{name}: done: ")
    dropped = json.loads(command("index", name, "--drop", "--json").stdout)
    assert (dropped["is_done"], "DROP INDEX" in dropped["statements"][0]) == (True, True)
