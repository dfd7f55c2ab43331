"""Descriptions of rows go where their objects go: into the mirror, to the new store of a move, and away."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import datajoint_file
from datajoint_file import mirror
from tests.integration.mirrors import CONTENT, Make, Places, contents, tree
from tests.projects import connect
from tests.tables import recording_of


def described(places: Make, database: Any, tmp_path: Path, **options: Any) -> Places:
    """Return two places of a project that describes itself, with a file and a directory."""
    found = places(**options)
    document = {**found.document, "object_storage": {"self_describing": True}}
    instance = connect(database)
    datajoint_file.configure(document, connection=instance)
    table = recording_of(instance.Schema(found.table.database))
    table.insert([{"id": 1, "raw": ("1.dat", CONTENT)}, {"id": 2, "raw": tree(tmp_path)}])
    return replace(found, table=table, document=document)


def sidecars(found: Places) -> tuple[list[str], list[str]]:
    first, second = ([key for key in keys if key.endswith("~row")] for keys in found.both())
    return first, second


def run(found: Places, **options: Any) -> mirror.MirrorReport:
    return mirror.run(found.connection, [found.table.database], **options)


def test_an_insert_into_both_places_describes_both(places: Make, database: Any, tmp_path: Path) -> None:
    found = described(places, database, tmp_path, write="both")
    assert len(sidecars(found)[0]) == 2
    assert contents(found.first) == contents(found.mirror)


def test_a_mirror_that_may_wait_is_described_later(places: Make, database: Any, tmp_path: Path) -> None:
    found = described(places, database, tmp_path, write="later")
    assert sidecars(found)[1] == []
    assert run(found).copied == 8 + 2
    assert contents(found.first) == contents(found.mirror)
    assert run(found).copied == run(found, verify=True).copied == 0


@pytest.mark.parametrize("side", ["first", "mirror"])
def test_a_lost_or_damaged_description_comes_back(places: Make, database: Any, tmp_path: Path, side: str) -> None:
    found = described(places, database, tmp_path, write="both")
    harmed, (one, other) = getattr(found, side), sidecars(found)[0]
    harmed.remove(one)
    harmed.damage(other, b"?")
    assert run(found, verify=True)
    assert contents(found.first) == contents(found.mirror)


def test_the_later_of_two_descriptions_is_right(places: Make, database: Any, tmp_path: Path) -> None:
    found = described(places, database, tmp_path, write="both")
    key = sidecars(found)[0][0]
    whole = json.loads(found.first.content(key))
    found.mirror.damage(key, json.dumps({**whole, "written": "2020-01-01T00:00:00+00:00"}).encode())
    assert run(found, verify=True).copied == 1
    assert json.loads(found.mirror.content(key)) == whole


def test_a_moved_project_can_be_rebuilt(places: Make, database: Any, tmp_path: Path) -> None:
    found = described(places, database, tmp_path, write="later")
    name, storage, there = found.table.database, found.first.table, found.mirror.table
    (tmp_path / "new.toml").write_text(
        f'[project]\nname = "{found.first.project}"\n\n[storage]\nbackend = "file"\npath = "{there["path"]}"'
        f'\n\n[storage.mirror]\nbackend = "file"\npath = "{storage["path"]}"\n'  # it says nothing of descriptions
    )
    alone = connect(database)
    datajoint_file.configure({**found.document, "storage": storage}, connection=alone)
    assert mirror.move(tmp_path / "new.toml", alone.connection).is_swapped
    found.connection.query(f"DELETE FROM {found.table.full_table_name}")
    later = connect(database)
    datajoint_file.configure(tmp_path / "new.toml", connection=later)
    table = recording_of(later.Schema(name))
    found.first.remove(sidecars(found)[0][0])  # the old store is not asked
    assert datajoint_file.rebuild(table).inserted == {f"{name}.Recording": 2}
    assert (table & "id = 1").fetch1("raw").read() == CONTENT
