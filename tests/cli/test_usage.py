"""``datajoint-file du`` and ``tree``, on a real database."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import datajoint as dj
import pytest
from click.testing import Result

from tests.projects import over_mysql

from .conftest import Run

Command = Callable[..., Result]


@pytest.fixture
def command(run: Run, database: Any) -> Command:
    settings = {name: getattr(database, name) for name in ("host", "port", "user", "password")}
    settings |= {"use_tls": False, "backend": "mysql"}

    def start(*arguments: str) -> Result:
        with dj.config.override(**{f"database__{name}": value for name, value in settings.items()}):
            return run(*arguments)

    return start


@over_mysql
def test_sums_and_trees_on_a_command_line(command: Command, table: Any) -> None:
    names = ("a.dat", "b.dat", "c.dat")
    table.insert({"id": n, "raw": (name, b"x" * 10**n), "extra": None} for n, name in enumerate(names))
    schema, recording = table.database, f"{table.database}.Recording"
    hostile = ('"original_name": "b.dat"', '"original_name": "b\\u001b[2J.dat"')
    table.connection.query(f"UPDATE {table.full_table_name} SET raw = REPLACE(raw, %s, %s)", hostile)
    sums = command("du", schema)
    assert (sums.exit_code, sums.stderr) == (0, "")
    assert [line.split() for line in sums.stdout.splitlines()] == [
        ["table", "files", "size"],
        [recording, "3", "111", "B"],
        ["total", "3", "111", "B"],
    ]
    several = json.loads(command("du", recording, "--by", "id", "--by", "month", "--key", "id=2", "--json").stdout)
    assert [(row["group"]["id"], row["size"]) for row in several["rows"]] == [(2, 100)]
    assert several["total"]["history_files"] is None
    shown = command("tree", recording)
    assert shown.exit_code == 0
    assert "\x1b" not in shown.stdout
    assert "b\\x1b[2J.dat" in shown.stdout
    assert shown.stdout.splitlines()[:4] == [
        f"{schema}  111 B, 3 files",
        "└── Recording  111 B, 3 files",
        "    ├── id=0  1 B, 1 file",
        "    │   └── raw: a.dat  1 B",
    ]
    by_path = json.loads(command("tree", schema, "--by", "path", "--depth", "1", "--json").stdout)
    assert [one["size"] for one in by_path["branches"]] == [111]
    for arguments, said in (
        (("du", schema, "--by", "nothing"), "nothing that was given has this attribute"),
        (("du", f"{schema}.Nothing"), "no table 'Nothing'"),
        (("tree", schema, "--key", "id=1"), "--key, --where and --tag are for tables"),
        (("tree", recording, "--key", "no=1"), "has no no"),
    ):
        refused = command(*arguments)
        assert (refused.exit_code, said in refused.stderr) == (2, True), refused.stderr


@over_mysql
def test_du_without_names_adds_up_the_project(project_run: Run, table: Any) -> None:
    table.insert1({"id": 1, "raw": ("a.dat", b"four"), "extra": None})
    found = json.loads(project_run("du", "--by", "schema", "--json").stdout)
    assert {row["group"]["schema"]: row["size"] for row in found["rows"]} == {table.database: 4}
