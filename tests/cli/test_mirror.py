"""``datajoint-file mirror``, ``move``, ``verify --repair`` and ``doctor``, as people call them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.projects import Store
from tests.tables import recording_of

from .conftest import Run, write_configuration

pytestmark = pytest.mark.parametrize("database", ["mysql"], indirect=True)


@pytest.fixture
def mirror(store: Store, directory: Path, project_run: Run) -> Store:
    (directory / "mirror").mkdir()
    place = {"backend": "file", "path": str(directory / "mirror")}
    write_configuration(directory, {**store.table, "mirror": {**place, "write": "later"}}, store.project)
    return Store(place, store.project)


@pytest.fixture
def table(schema: Any, mirror: Store) -> Any:
    made = recording_of(schema)
    made.insert({"id": number, "raw": (f"{number}.dat", b"spikes %d" % number)} for number in range(3))
    return made


def test_a_mirror_is_filled_mends_and_is_mended(project_run: Run, table: Any, store: Store, mirror: Store) -> None:
    found = project_run("mirror", table.database)
    assert (found.exit_code, "3 objects copied to the mirror" in found.output) == (0, True), found.output
    assert mirror.object_keys() == store.object_keys()
    assert project_run("mirror", table.database, "--quiet").output == ""
    one, two, _ = store.object_keys()
    store.damage(one, b"?")
    mirror.damage(two, b"?")
    found = project_run("mirror", table.database, "--verify", "--json")
    document = json.loads(found.output)
    assert (found.exit_code, document["ok"], document["copied"], document["restored"]) == (0, True, 1, 1)
    store.damage(one, b"?")
    mirror.damage(one, b"?")
    found = project_run("mirror", table.database, "--verify")
    assert (found.exit_code, one in found.output) == (1, True)
    assert f"{table.database}.Recording.raw (id=" in found.output


def test_verify_repairs(project_run: Run, table: Any, store: Store, mirror: Store) -> None:
    project_run("mirror", table.database)
    one = store.object_keys()[0]
    store.damage(one, b"?")
    found = project_run("verify", table.database)
    assert (found.exit_code, "fix: --repair, where the mirror has it right; else" in found.output) == (1, True)
    found = project_run("verify", table.database, "--repair")
    assert f"✓ mended           {table.database}.Recording.raw (id=" in found.output
    assert (found.exit_code, "1 problem mended from the mirror" in found.output) == (0, True), found.output
    assert store.content(one).startswith(b"spikes")


def test_a_project_moves(project_run: Run, table: Any, store: Store, mirror: Store, directory: Path) -> None:
    write_configuration(directory, {**mirror.table, "mirror": store.table}, store.project)
    (directory / "datajoint.toml").rename(directory / "new.toml")
    write_configuration(directory, store.table, store.project)
    found = project_run("move", "--to", "new.toml", "--certificate", "move.json")
    assert found.exit_code == 0, found.output
    document = json.loads((directory / "move.json").read_text())
    assert document["is_swapped"]
    assert document["old"]["digest"] == document["new"]["digest"]
    assert (document["new"]["files"], document["new"]["size"]) == (3, 24)
    again = project_run("move", "--to", "new.toml", "--check", "--quiet")
    assert (again.exit_code, again.output) == (0, "")


def test_doctor_looks_at_the_mirror(project_run: Run, mirror: Store, directory: Path) -> None:
    found = project_run("doctor", "--skip", "database", "--json")
    checks = [check for check in json.loads(found.output)["checks"] if check["part"] == "mirror"]
    assert {"write", "read", "delete"} & {check["name"] for check in checks}
    assert found.exit_code == 0
    (directory / "mirror").rmdir()
    assert project_run("doctor", "--skip", "database").exit_code == 1
