"""``datajoint-file history`` and ``datajoint-file restore``, as a process of their own, on real databases."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
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

    def start(verb: str, *arguments: str, of: str = name) -> subprocess.CompletedProcess[str]:
        return process(verb, of, *arguments, **{**variables, "DJ_LOG_LEVEL": "ERROR"})

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
    *lines, count = command("history").stdout.splitlines()
    assert {("(id=1)" in line, "  back in the row  " in line) for line in lines} == {(True, True), (False, False)}
    assert count == "2 earlier files, 1 of them back in the row."
    assert "Recording  2 earlier files, 2 deleted rows" in command("history", of=table.database).stdout
    rest = command("restore", "--since", "1h", "--json")
    document = json.loads(rest.stdout)
    assert [list(document[name].values()) for name in ("restored", "present")] == [[1], [1]]
    assert (rest.returncode, document["problems"]) == (0, [])
    again = command("restore", "--since", "1h")
    told = "All of them are back already: nothing is left to restore.\n"
    assert (again.returncode, again.stdout) == (0, f"  2 rows of {table().database}.Recording: there already\n{told}")
    table.update1({"id": 1, "raw": ("a.dat", b"new")})
    differing = command("restore", "--since", "1h")
    assert (differing.returncode, "has another raw; the history keeps 1 file of it" in differing.stdout) == (3, True)
    (table & "id = 1").delete(prompt=False)
    history = table().connection.adapter.make_full_table_name(table.database, "~file_history")
    purged = "state = 'purged', row_text = NULL"
    table().connection.query(
        f"UPDATE {history} SET {purged} WHERE number = (SELECT m FROM (SELECT MAX(number) AS m FROM {history}) AS x)"
    )
    newest = command("history").stdout.splitlines()[0]
    assert all(word in newest for word in ("Recording.raw (id=1)", "deleted since"))  # as its older files tell
    table().connection.query(f"UPDATE {history} SET {purged}")
    assert "(key not kept)  a.dat  deleted since" in command("history").stdout.splitlines()[0]


def test_wrong_key_or_time_puts_nothing_back(command: Command, table: Any) -> None:
    (table & "id > 0").delete(prompt=False)
    table.update1({"id": 0, "raw": ("a.dat", b"new")})
    typo = command("restore", "--key", "di=0", "--attribute", "raw", "--version", "1")
    assert (typo.returncode, "di not in the primary key (id)" in typo.stderr) == (2, True)
    assert (table & "id = 0").fetch1("raw").read() == b"new"
    assert command("restore", "--since", "2h", "--event", "x").returncode == 2
    other = command("restore", "--since", "2h", "--key", "id=9").stdout
    assert other == "Nothing that has id=9 was deleted from it since 2 hours ago.\n"


def test_rows_without_files_that_went_with_files_are_shown_and_put_back(
    command: Command, table: Any, schema: dj.Schema
) -> None:
    @schema
    class Session(dj.Manual):
        definition = "session : int32"

    @schema
    class Take(dj.Manual):
        definition = "-> Session\n---\nraw = null : file"

    Session.insert([{"session": n} for n in range(3)])
    Take.insert([{"session": 1, "raw": ("a.dat", b"a")}, {"session": 2, "raw": None}])
    (Session & "session > 0").delete(prompt=False)
    name = f"{schema.database}.Session"
    (one,) = json.loads(command("history", "--json", of=name).stdout)
    assert (one["table"], one["why"], one["rows"], one["file"]) == (name, "delete", 2, None)
    shown = command("history", of=name)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.splitlines()[0].endswith(f"{name}: 2 rows  event {one['event']}")
    back = f"restore {name} --event {one['event']}"
    assert shown.stdout.splitlines()[1] == f"1 deletion of rows; `datajoint-file {back}` puts back what the last took."
    (some,) = json.loads(command("history", "--key", "session=2", "--json", of=name).stdout)
    assert (some["event"], some["rows"]) == (one["event"], 1)
    takes = json.loads(command("history", "--json", of=f"{schema.database}.Take").stdout)
    assert [(bool(take["file"]), take.get("rows")) for take in takes] == [(True, None), (False, 2)]
    assert command("history", "--attribute", "raw", of=f"{schema.database}.Take").stdout.count("event") == 1
    tables = json.loads(command("history", "--json", of=schema.database).stdout)
    lost = {one["name"]: (one["files"], one["rows"]) for one in tables}
    assert lost == {name: (0, 2), f"{schema.database}.Take": (1, 2)}
    assert f"  {name}  2 deleted rows, the last of 20" in command("history", of=schema.database).stdout
    assert command("restore", "--event", one["event"], of=name).returncode == 0
    assert (len(Session()), len(Take())) == (3, 2)
    *lines, last = command("history", of=name).stdout.splitlines()
    assert [line.endswith(f": 2 rows, 2 of them there again  event {one['event']}") for line in lines] == [True]
    assert last == "All deleted rows are there again."


def test_versions_are_shown_with_the_number_that_puts_them_back(command: Command, table: Any) -> None:
    for content in (b"second", b"third", b"now"):
        for number in (1, 2):
            table.update1({"id": number, "raw": ("a.dat", content)})
    shown = [line for line in command("history").stdout.splitlines() if "(id=1)" in line]
    assert [line.partition("  version ")[2][0] for line in shown] == ["1", "2", "3"]
    versions = json.loads(command("history", "--json").stdout)
    wanted = {one["file"]["path"]: one["number"] for one in versions if one["key"] == {"id": "1"}}
    assert sorted(wanted.values()) == [1, 2, 3]
    path = next(path for path, number in wanted.items() if number == 2)
    done = command("restore", "--key", "id=1", "--attribute", "raw", "--version", "2", "--json")
    assert (done.returncode, json.loads(done.stdout)["path"]) == (0, path)
    assert (table & "id = 1").fetch1("raw").read() == b"second"


def test_event_that_there_is_not_is_refused_with_what_shows_those_there_are(command: Command, table: Any) -> None:
    refused = command("restore", "--event", "nonsense")
    name = f"{table.database}.Recording"
    told = f"no event 'nonsense' in the history of {name}; `datajoint-file history {name}` shows those that there are"
    assert (refused.returncode, told in " ".join(refused.stderr.split())) == (2, True), refused.stderr


def test_wrong_file_is_taken_back(command: Command, table: Any) -> None:
    table.update1({"id": 1, "raw": ("a.dat", b"wrong")})
    done = command("restore", "--key", "id=1", "--attribute", "raw", "--version", "1")
    assert done.returncode == 0, done.stderr
    assert (table & "id = 1").fetch1("raw").read() == b"1"
    (wrong,) = datajoint_file.history(table & "id = 1", "raw")
    table.insert1({"id": 7, "raw": wrong.file})
    shown = json.loads(command("history", "--json").stdout)
    assert [(one["number"], one["back"], one["file"]["path"]) for one in shown][:1] == [(1, True, wrong.file.path)]
    assert f"version 1  event {wrong.event}  another row has it" in command("history").stdout
    refused = command("restore", "--key", "id=1", "--attribute", "raw", "--version", "7")
    assert (refused.returncode, "no version 7, it has 1 earlier file" in refused.stderr) == (2, True)


def test_dropped_table_is_shown_read_and_restored_once_it_is_declared_again(
    command: Command, table: Any, schema: dj.Schema
) -> None:
    name = f"{table.database}.Recording"
    table.drop(prompt=False)
    shown = command("history", of=table.database)
    assert f"{name}  3 earlier files, 3 deleted rows, the last of 20" in shown.stdout
    (one,) = json.loads(command("history", "--json", of=table.database).stdout)
    told = f"; dropped: declare it again, then `datajoint-file restore {name} --event {one['event']}`"
    assert (shown.returncode, told in shown.stdout, one["is_dropped"]) == (0, True, True)
    versions = command("history")
    assert (versions.returncode, versions.stdout.count("  drop ")) == (0, 3)
    assert [row["key"]["id"] for row in json.loads(command("history", "--key", "id=1", "--json").stdout)] == ["1"]
    early = command("restore", "--event", one["event"])
    assert (early.returncode, early.stdout.count("there is no such table any more; declare it again")) == (1, 3)
    again = recording_of(schema)
    done = command("restore", "--event", one["event"])
    assert (done.returncode, len(again())) == (0, 3)
    assert "dropped" not in command("history", of=table.database).stdout
    wrong = command("history", of=f"{table.database}.Recordng")
    assert (wrong.returncode, "did you mean 'Recording'?" in wrong.stderr) == (2, True)


@pytest.mark.parametrize("arguments", [("--since", "yesterday"), ("--key", "id"), ("--attribute", "raw")])
def test_wrong_usage_is_told_before_anything_is_connected_to(run: Run, arguments: tuple[str, ...]) -> None:
    found = run("restore", "lab.Recording", *arguments)
    assert (found.exit_code, "Error:" in found.output) == (2, True)
