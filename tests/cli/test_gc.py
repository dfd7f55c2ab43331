"""``datajoint-file gc`` as cron and people call it: a process of its own, on real databases and stores."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import datajoint_file
from tests.integration.collector.collecting import (
    Area,
    connect_to,
    declare,
    execute_sql,
    give_up,
    insert,
    let_grace_pass,
    objects,
    path_of,
    registry_of,
    set_raw_json,
)
from tests.integration.collector.conftest import area_of
from tests.projects import COLLECTED, DATABASES, Store, over_local_and_s3

from .conftest import Process, Run, write_configuration

Gc = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(params=COLLECTED, ids=DATABASES)
def area(request: pytest.FixtureRequest) -> Iterator[Area]:
    yield from area_of(request.getfixturevalue(request.param), sees_all=True)


@pytest.fixture
def table(area: Area, store: Store) -> Iterator[Any]:
    instance = connect_to(area)
    datajoint_file.configure(store.configuration(), connection=instance)
    yield declare(instance.Schema(area.schema()))
    instance.connection.close()


@pytest.fixture
def gc(process: Process, directory: Path, area: Area, store: Store) -> Gc:
    """Run the command where the project's ``datajoint.toml`` is, connected as DataJoint is configured to."""
    write_configuration(directory, store.table)
    path = directory / "datajoint.toml"
    path.write_text(path.read_text(encoding="utf-8").replace('"lab"', f'"{store.project}"'), encoding="utf-8")
    variables = {"DJ_HOST": area.host, "DJ_PORT": str(area.port), "DJ_USER": area.user, "DJ_PASS": area.password}
    variables |= {"DJ_BACKEND": area.backend, "DJ_USE_TLS": "false", "DJ_LOG_LEVEL": "ERROR"}
    if area.backend == "postgresql":
        variables["DJ_DATABASE_NAME"] = area.database

    def start(*arguments: str) -> subprocess.CompletedProcess[str]:
        return process("gc", *arguments, **variables)

    return start


def document(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert result.stderr == ""
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@over_local_and_s3
def test_dry_run_changes_nothing_and_says_how_to_go_on(gc: Gc, table: Any, store: Store) -> None:
    insert(table, 1)
    give_up(table, 2)
    result = gc()
    assert (result.returncode, result.stderr) == (0, "")
    assert "uploads given up, grace over" in result.stdout
    assert result.stdout.endswith("Nothing was changed. Next: datajoint-file gc --execute\n")
    assert len(objects(store)) == 2
    assert gc("--execute").returncode == 0
    assert objects(store) == {path_of(table, 1)}
    assert "There is nothing to do." in gc().stdout
    assert "unknown objects" not in gc().stdout
    assert "unknown objects" in gc("--scan").stdout


def test_removed_object_is_shown_kept_and_deleted(gc: Gc, table: Any, store: Store) -> None:
    insert(table, 1)
    key = path_of(table, 1)
    table.delete()
    listed = gc("--scan", "--list")
    assert f"wait       {key}" in listed.stdout
    assert ", grace 7 days\n" in listed.stdout
    assert "  1 object (6 B), 0 referenced; 0 other files, not touched\n" in listed.stdout
    assert "There is nothing to do." in listed.stdout
    shown = gc("--kept")
    (line, *_) = shown.stdout.splitlines()
    (version,) = datajoint_file.history(table)
    moment = r"20..-..-.. ..:.."
    assert re.fullmatch(rf"deleted {moment}, kept until {moment}        6 B  {key}  event {version.event}", line)
    assert f"deleted {version.at.astimezone():%Y-%m-%d %H:%M}," in line
    assert "1 object kept." in shown.stdout
    (kept,) = json.loads(gc("--kept", "--json").stdout)
    assert (kept["key"], kept["why"], kept["until"] > kept["since"]) == (key, "delete", True)
    let_grace_pass(table().connection, table.database)
    done = document(gc("--execute", "--json"))
    assert done["done"]["purged"] == {"count": 1, "size": 6}
    assert objects(store) == set()
    assert "Nothing was removed." in gc("--kept").stdout


def test_unknown_object_is_shown_noted_and_spared(gc: Gc, table: Any, store: Store) -> None:
    insert(table, 1)
    key = path_of(table, 1)
    execute_sql(table().connection, f"DELETE FROM {table().full_table_name}")
    scanned = gc("--scan")
    assert (scanned.returncode, "6 B  " + key in scanned.stdout) == (0, True)
    assert "There is nothing to do." in scanned.stdout
    options = ("--unknown", "--grace", "36 h", "--force", "--take-over")
    told = "--unknown --grace '36 h' --force --take-over --execute\n"
    shown = gc(*options, "--list").stdout
    assert shown.endswith(f"Nothing was changed. Next: datajoint-file gc {told}")
    assert "there is nothing to take over" in shown
    assert "refused          [not-dropped] no mark of this database names a schema x" in gc("--dropped", "x").stdout
    noted = gc("--unknown", "--execute", "--grace", "36 h").stdout.splitlines()
    when = f"{datetime.now().astimezone() + timedelta(hours=36):%Y-%m-%d} ..:.."
    back = "`datajoint-file gc --spare KEY` takes it back"
    assert re.fullmatch(f"What is noted is deleted after {when} if no row names it by then; {back}.", noted[-1])
    kept = gc("--list").stdout
    assert re.search(r"  unknown, noted for deletion +1 +6 B +keep for the grace *\n", kept)
    assert re.search(r"  removed from all rows, retention not over +0 +0 B *\n", kept)
    assert f"  noted      {key}\n" in kept
    shown = gc("--kept").stdout
    assert re.match(rf"unknown 20..-..-.. ..:.., kept until 20..-..-.. ..:..        6 B  {key}\n", shown)
    assert gc("--spare", key).returncode == 0
    assert "not noted" in gc("--spare", "nonsense").stdout
    as_json = gc("--spare", key, "--json")
    assert (as_json.returncode, json.loads(as_json.stdout)) == (1, {"spared": [], "not_noted": [key]})
    assert objects(store) == {key}


def test_refusal_ends_with_1_and_names_the_way_on(gc: Gc, table: Any, store: Store) -> None:
    insert(table, 1, 2)
    (table & "recording_id = 2").delete()
    let_grace_pass(table().connection, table.database)
    registry = registry_of(table().connection)
    for mark in registry.read()[0]:
        registry.remove(registry.key_of(mark))
    result = gc("--scan", "--execute")
    assert result.returncode == 1
    assert "refused          [unregistered] the project has objects and no mark says which databases" in result.stdout
    assert "fix: " in result.stdout
    assert result.stdout.endswith("Refused: nothing was deleted.\n")
    as_json = gc("--scan", "--json")
    assert as_json.returncode == 1
    assert [refusal["kind"] for refusal in document(as_json)["plan"]["refusals"]] == ["unregistered"]
    overruled = gc("--take-over")
    assert overruled.returncode == 0
    assert "Note: overruled: the project has objects and no mark says which databases use it" in overruled.stdout
    assert overruled.stdout.endswith("Nothing was changed. Next: datajoint-file gc --take-over --execute\n")
    taken = gc("--scan", "--execute", "--take-over", "--json")
    assert (taken.returncode, document(taken)["done"]["purged"]["count"]) == (0, 1)


def test_brake_is_released_by_force(gc: Gc, table: Any) -> None:
    insert(table, *range(21))
    table.delete()
    let_grace_pass(table().connection, table.database)
    assert "--force" in gc().stdout
    assert gc("--execute").returncode == 1
    assert gc("--execute", "--force").returncode == 0


def test_unreadable_row_is_refused(gc: Gc, table: Any) -> None:
    insert(table, 1)
    set_raw_json(table, 1, "{}")
    result = gc("--scan", "--execute")
    assert result.returncode == 1
    assert f"{table.database}.Recording.raw" in result.stdout


def test_missing_objects_end_with_1_and_are_counted(gc: Gc, table: Any, store: Store) -> None:
    insert(table, *range(60))
    for key in range(25):
        store.remove(path_of(table, key))
    result = gc("--scan")
    assert result.returncode == 1
    assert result.stdout.count("fix: `datajoint-file mirror`, or restore it from a backup; ") == 20
    named = f"`datajoint-file verify {table.database} --level exists --json` names them all"
    assert f"and 5 more of them (missing); {named}" in result.stdout
    assert "nothing to do" not in result.stdout
    assert gc("--scan", "--json").returncode == 1


def test_nothing_there_at_all_points_at_the_configuration(gc: Gc, table: Any, store: Store) -> None:
    insert(table, *range(30))
    for key in range(30):
        store.remove(path_of(table, key))
    result = gc("--scan")
    assert result.returncode == 1
    assert "not one of 30 objects that rows refer to is there; the first is " in result.stdout
    assert "is this the right bucket" in result.stdout
    assert "delete the row" not in result.stdout
    assert result.stdout.count("fix: ") == 1


def test_object_that_cannot_be_deleted_ends_with_3(gc: Gc, table: Any, store: Store) -> None:
    insert(table, 1)
    give_up(table, 2)
    (lost,) = objects(store) - {path_of(table, 1)}
    path = Path(store.table["path"]) / lost.partition("/")[2]
    path.unlink()
    path.parent.rmdir()
    path.parent.symlink_to("/")  # leads out of the project: refused
    result = gc("--execute")
    assert result.returncode == 3
    assert "symbolic link" in result.stdout
    assert gc("--execute", "--json").returncode == 3


def test_short_grace_must_be_asked_for(gc: Gc, table: Any) -> None:
    insert(table, 1)
    result = gc("--grace", "1h")
    assert result.returncode == 1
    assert "--short-grace" in result.stderr
    assert gc("--grace", "1h", "--short-grace").returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("--grace", "soon"),
        ("--grace", "7"),
        ("--kept", "--execute"),
        ("--kept", "--force"),
        ("--kept", "--spare", "x"),
        ("--spare", "x", "--scan"),
        ("--spare", "x", "--dropped", "lab"),
        ("--spare", "x", "--quiet"),
    ],
)
def test_wrong_usage_ends_with_2(run: Run, arguments: tuple[str, ...]) -> None:
    assert run("gc", *arguments).exit_code == 2


def test_help_says_that_it_is_a_dry_run(run: Run) -> None:
    assert "dry run unless told to --execute" in " ".join(run("gc", "--help").output.split())
