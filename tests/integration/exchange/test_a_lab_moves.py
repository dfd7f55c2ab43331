"""A laboratory moves in, back, in again, to a mirror, a bucket, another server: no byte is another at any step."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bagit
import datajoint as dj
import pytest

import datajoint_file
from datajoint_file import Migration
from tests.cli.conftest import write_configuration
from tests.integration.exchange.lab import ATTRIBUTES, Lab, contents
from tests.projects import connect, unique
from tests.tables import drop_schema

ROWS = int(os.environ.get("DJF_TEST_LAB_ROWS", "20"))
SOURCE, TARGET = os.environ.get("DJF_TEST_LAB_SERVERS", "postgresql mysql").split()
"""From DataJoint's attachments on PostgreSQL to MariaDB, where it inserts none; on MySQL it does."""

NAME = unique("lab")


@pytest.fixture
def at(request: pytest.FixtureRequest) -> Iterator[Callable[..., dj.Instance]]:
    """Give a connection to a server, with a configuration of its own; the schema is dropped at the end."""
    made: list[dj.Instance] = []

    def connected(server: str, storage: dict[str, Any], project: str) -> dj.Instance:
        made.append(connect(request.getfixturevalue(server)))
        datajoint_file.configure({"project": {"name": project}, "storage": storage}, connection=made[-1])
        return made[-1]

    yield connected
    for instance in made:
        drop_schema(instance.connection, NAME)
        instance.connection.close()


def take(migrations: list[Migration], *steps: str) -> None:
    for step in steps:
        for migration in migrations:
            report = getattr(migration, step)()
            assert report, report


def test_a_laboratory_moves(
    at: Callable[..., dj.Instance], local_storage: dict[str, Any], s3_storage: dict[str, Any], tmp_path: Path
) -> None:
    project = unique("project")
    for name in ("mirror", "lab", "new", "there"):
        (tmp_path / name).mkdir()
    mirror = {"backend": "file", "path": str(tmp_path / "mirror"), "write": "both"}
    source = at(SOURCE, local_storage, project)
    schema = source.Schema(NAME)
    lab = Lab(schema, tmp_path / "lab", ROWS)
    table = lab.recording

    def rows(instance: dj.Instance) -> Any:
        """Return the table as a program sees it that has just been started, when all its bytes are what they were."""
        adapter = instance.connection.adapter
        seen = dj.FreeTable(instance.connection, adapter.make_full_table_name(NAME, table.table_name))
        assert contents(seen) == lab.expected
        report = datajoint_file.verify(instance.Schema(NAME))
        assert report, report
        return seen

    roots = {"track": tmp_path / "lab" / "nas"}
    migrations = [Migration(table, one, root=roots.get(one, "")) for one in ATTRIBUTES]
    old = {row["session"]: row["track"] for row in table.proj("track").to_dicts()}
    take(migrations, "plan", "run", "check", "finish")
    rows(source)
    take(migrations, "back")
    back = dj.FreeTable(source.connection, table.full_table_name).proj("track").to_dicts()
    assert {row["session"]: row["track"] for row in back} == old
    take(migrations, "run", "check", "finish", "forget")
    assert not [one for one in rows(source).heading.names if "__" in one]

    source = at(SOURCE, {**local_storage, "mirror": mirror}, project)
    for by_hash in (False, True):
        assert datajoint_file.mirror.run(source, verify=by_hash, progress=False)
    rows(source)

    write_configuration(tmp_path / "new", {**s3_storage, "mirror": {**local_storage, "write": "later"}}, project)
    old = at(SOURCE, local_storage, project)
    certificate = datajoint_file.mirror.move(tmp_path / "new" / "datajoint.toml", old, progress=False)
    assert certificate
    assert certificate.is_swapped
    said = json.loads(json.dumps(certificate.to_dict()))
    assert {**said["old"], "place": ""} == {**said["new"], "place": ""}
    source = at(SOURCE, s3_storage, project)
    exported = datajoint_file.export(rows(source), tmp_path / "bag", progress=False)
    assert bagit.Bag(str(tmp_path / "bag")).is_valid()
    assert sum(exported.rows.values()) == ROWS + len(lab.subjects)

    target = at(TARGET, {"backend": "file", "path": str(tmp_path / "there")}, project)
    assert datajoint_file.import_(tmp_path / "bag", connection=target, progress=False)
    here, there = ({row["session"]: (row["subject"], row["weight"]) for row in rows(one)} for one in (source, target))
    assert here == there
    assert len(here) == ROWS
