"""Commands over rows: ``ls``, ``get``, ``cat``, ``url``, ``tag``, conditions, completion and terminals."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from tests.projects import Store, over_mysql
from tests.tables import recording_of

from .conftest import PROGRAM, Process, Run, mysql_variables, write_configuration

over_s3 = pytest.mark.parametrize("store", ["s3"], indirect=True)


@pytest.fixture
def table(schema: dj.Schema, tmp_path: Path) -> Any:
    (tmp_path / "result" / "day").mkdir(parents=True)
    (tmp_path / "result" / "day" / "a.csv").write_bytes(b"t,v\n1,2\n")
    made = recording_of(schema)
    made.insert(
        [
            {"id": 1, "raw": ("50%.txt", b"one\n\x1b[2J\ttwo\n"), "extra": tmp_path / "result"},
            {"id": 2, "raw": ("b.dat", bytes(range(256)) * 99), "extra": None},
            {"id": 3, "raw": ("c.dat", b"333"), "extra": None},
        ]
    )
    return made


def test_schemas_tables_and_files_are_listed_and_conditions_choose_rows(project_run: Run, table: Any) -> None:
    schema, name = table().database, f"{table().database}.Recording"
    schemas = [json.loads(line) for line in project_run("ls", "--json").stdout.splitlines()]
    assert {"schema": schema, "tables": 1} in schemas
    assert project_run("ls", schema).stdout == f"{name}  raw, extra\n"
    listed = project_run("ls", name)
    assert (listed.exit_code, listed.stderr) == (0, "")
    stored = (table & "id = 1").fetch1("raw").to_dict()["timestamp"]
    assert listed.stdout.splitlines()[0] == f"{'13 B':>9}  {stored}  raw (id=1)  50%.txt"
    assert [line.rpartition("  ")[2] for line in listed.stdout.splitlines()] == ["50%.txt", "b.dat", "c.dat", "result/"]
    long = project_run("ls", f"{name}.raw", "-l", "id=3").stdout
    assert (table & "id = 3").fetch1("raw").hash in long
    for arguments, ids in {
        ("--where", "id > 1 AND id < 3"): [2],
        ("--where", "id > 1", "--where", "id <> 2"): [3],
        ("--where", "id IN (1, 3)", "--key", "id=1"): [1],
        ("--where", "'a%b' LIKE 'a%' AND id = 3"): [3],
        ("--where", "id > 5"): [],
    }.items():
        found = project_run("ls", f"{name}.raw", "--json", *arguments)
        assert [int(json.loads(line)["key"]["id"]) for line in found.stdout.splitlines()] == ids, found.stderr
        assert found.exit_code == (0 if ids else 1)
    for arguments, said in {
        ("--where", "nothing > 5"): "nothing",
        ("--where", "id > > 5"): "--where",
        ("--where", "no_such_function(id)"): "no_such_function",
        ("--where", " "): "is empty",
        ("id>=5",): "is not of the form",
    }.items():
        refused = project_run("ls", name, *arguments)
        assert (refused.exit_code, said in refused.stderr) == (2, True), refused.stderr
    assert project_run("ls", schema, "--where", "id = 1").exit_code == 2
    assert project_run("ls", "no_such_schema").exit_code == 2
    sums = json.loads(project_run("du", name, "--where", "id = 3", "--json").stdout)
    assert sums["total"]["size"] == 3
    assert "c.dat" not in project_run("tree", name, "--where", "id < 3").stdout
    assert project_run("show", f"{name}.raw", "--where", "id > 1").stdout.count("dat") == 2


@over_mysql
def test_newest_files_come_first_and_what_describes_none_is_a_problem(project_run: Run, table: Any) -> None:
    name = f"{table().database}.Recording.raw"
    for n, year in ((1, 2021), (2, 2023), (3, 2022)):
        row = {**(table & {"id": n}).fetch1("raw").to_dict(), "timestamp": f"{year}-01-01T00:00:00Z"}
        sql = f"UPDATE {table().full_table_name} SET raw = %s WHERE id = {n}"
        table().connection.query(sql, (json.dumps(row),))
    newest = project_run("ls", name, "--newest", "2").stdout.splitlines()
    assert [line.rpartition("  ")[2] for line in newest] == ["b.dat", "c.dat"]
    table().connection.query(f"UPDATE {table().full_table_name} SET raw = '{{}}' WHERE id = 2")
    listed = project_run("ls", name)
    assert (listed.exit_code, len(listed.stdout.splitlines())) == (1, 3)
    documents = [json.loads(line) for line in project_run("ls", name, "--json").stdout.splitlines()]
    assert [bool(one.get("problem")) for one in documents] == [False, True, False]


@over_mysql
def test_bytes_are_printed_only_once_they_are_verified(
    project_run: Run, table: Any, store: Store, directory: Path
) -> None:
    name = f"{table().database}.Recording"
    whole = project_run("cat", f"{name}.raw", "id=2")
    assert (whole.exit_code, whole.stderr) == (0, "")
    assert whole.stdout_bytes == bytes(range(256)) * 99
    assert project_run("cat", f"{name}.extra", "id=1", "--member", "day/a.csv").stdout == "t,v\n1,2\n"
    assert project_run("get", f"{name}.raw", "--where", "id = 3", "--to", "here").exit_code == 0
    assert (directory / "here" / "c.dat").read_bytes() == b"333"
    for arguments, code in (
        ((name, "id=1"), 2),
        ((f"{name}.raw",), 1),
        ((f"{name}.raw", "id=9"), 1),
        ((f"{name}.extra", "id=3"), 1),
        ((f"{name}.extra", "id=1"), 2),
        ((f"{name}.extra", "id=1", "--member", "day"), 2),
        ((f"{name}.extra", "id=1", "--member", "nothing"), 1),
        ((f"{name}.extra", "id=1", "--member", "../x"), 2),
        ((f"{name}.raw", "id=1", "--member", "x"), 2),
    ):
        for what in ("cat", "url"):
            failed = project_run(what, *arguments)
            assert (failed.exit_code, failed.stdout_bytes) == (code, b""), (what, arguments, failed.stderr)
    store.damage((table & "id = 3").fetch1("raw").path, b"334")
    damaged = project_run("cat", f"{name}.raw", "id=3")
    assert (damaged.exit_code, damaged.stdout_bytes) == (1, b"")
    assert "c.dat" in damaged.stderr


@over_mysql
@over_s3
def test_link_gives_the_bytes_to_anybody(project_run: Run, table: Any) -> None:
    name = f"{table().database}.Recording.raw"
    made = project_run("url", name, "id=3", "--expires", "5 min")
    assert made.exit_code == 0, made.stderr
    with urllib.request.urlopen(made.stdout.strip()) as answer:
        assert answer.read() == b"333"
    document = json.loads(project_run("url", name, "id=3", "--json").stdout)
    assert document["file"]["size"] == 3
    assert project_run("url", name, "id=3", "--expires", "8 days").exit_code == 2


@over_mysql
def test_disk_makes_no_links(project_run: Run, table: Any) -> None:
    refused = project_run("url", f"{table().database}.Recording.raw", "id=3")
    assert (refused.exit_code, refused.stdout, "a disk makes no links" in refused.stderr) == (4, "", True)


@over_mysql
def test_tags_are_put_counted_and_removed(project_run: Run, table: Any, schema: dj.Schema) -> None:
    name = f"{table().database}.Recording"
    assert project_run("tag", name).stdout == "No tags.\n"
    done = project_run("tag", name, "--where", "id > 1", "--add", "good", "--add", "sorted")
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "4 tags put, 0 removed.")
    assert datajoint_file.tags(table) == {"good": 2, "sorted": 2}
    done = project_run("tag", name, "id=2", "--add", "good", "--remove", "sorted", "--json")
    assert json.loads(done.stdout) == {"added": 0, "removed": 1, "tags": {"good": 1}}
    assert [line.split() for line in project_run("tag", name).stdout.splitlines()] == [
        ["2", "rows", "good"],
        ["1", "row", "sorted"],
    ]
    assert project_run("ls", f"{name}.raw", "--tag", "good", "--tag", "sorted").stdout.endswith("raw (id=3)  c.dat\n")
    assert project_run("du", name, "--tag", "good", "--where", "id = 2", "--json").exit_code == 0
    assert (project_run("ls", name, "--tag", "none").exit_code, project_run("ls", name, "--tag", " ").exit_code) == (
        1,
        2,
    )
    recording_of(schema, "n : int32", "Plain").insert1({"n": 1})
    assert project_run("tag", f"{table().database}.Plain", "--add", "x").exit_code == 0
    for arguments, code in (
        (("id=9", "--add", "x"), 1),
        (("--add", "x", "--remove", "x"), 2),
        (("--add", "x" * 65), 2),
    ):
        assert project_run("tag", name, *arguments).exit_code == code
    assert project_run("tag", table().database).exit_code == 2


@pytest.fixture
def terminal(directory: Path, database: Any, store: Store) -> Callable[..., str]:
    """Run the installed command in a terminal, and return what it shows."""
    write_configuration(directory, store.table, store.project)

    def start(*arguments: str, **environment: str) -> str:
        variables = {**os.environ, **mysql_variables(database), "TERM": "xterm", "PAGER": "cat", **environment}
        outer, inner = pty.openpty()
        with subprocess.Popen([PROGRAM, *arguments], env=variables, stdin=inner, stdout=inner, stderr=inner):
            os.close(inner)
            shown = b""
            while part := _read(outer):
                shown += part
        os.close(outer)
        return shown.decode().replace("\r\n", "\n")

    return start


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # of Linux, when the other end is closed
        return b""


@over_mysql
def test_terminal_gets_a_pager_colours_and_no_bytes_that_it_obeys(terminal: Callable[..., str], table: Any) -> None:
    name = f"{table().database}.Recording.raw"
    assert "\x1b[1mc.dat\x1b[0m\n" in terminal("ls", name)
    plain = terminal("ls", name, NO_COLOR="1", PAGER="sed s/c.dat/paged/")
    assert ("\x1b" in plain, plain.endswith("(id=3)  paged\n")) == (False, True)
    assert terminal("cat", name, "id=1") == "one\n\\x1b[2J    two\n"
    assert "these bytes are no text" in " ".join(terminal("cat", name, "id=2").split())


@over_mysql
def test_shell_completes_commands_schemas_and_tables_and_never_fails(
    process: Process, table: Any, database: Any
) -> None:
    schema, variables = table().database, mysql_variables(database)

    def completed(words: str, **environment: str) -> list[str]:
        asked = {"_DATAJOINT_FILE_COMPLETE": "bash_complete", "COMP_WORDS": f"datajoint-file {words}"}
        done = process(**variables, **asked, COMP_CWORD=str(1 + words.count(" ")), **environment)
        assert (done.returncode, done.stderr) == (0, "")
        return [line.partition(",")[2] for line in done.stdout.splitlines() if line]

    assert completed("ta") == ["tag"]
    assert completed(f"ls {schema[:-2]}") == [schema, f"{schema}.Recording"]
    assert completed(f"cat {schema}.R") == [f"{schema}.Recording"]
    assert completed("ls no_such_") == []
    variables["DJ_PORT"] = "1"
    assert completed(f"ls {schema}") == []
    variables["DJ_PORT"] = "no number"
    assert completed(f"ls {schema}") == []
    source = process(_DATAJOINT_FILE_COMPLETE="bash_source")
    assert "complete -o nosort" in source.stdout
