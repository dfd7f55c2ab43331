"""Schemas of a pipeline, among those of a server that others use as well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datajoint_file
from datajoint_file import Link
from datajoint_file.verification.own_schemas import schemas_of_pipeline
from tests.projects import Store, connect, unique
from tests.tables import drop_schema, recording_of


def test_a_schema_is_known_by_its_registration_or_its_links(database: Any, store: Store, tmp_path: Path) -> None:
    root, place = unique("root"), tmp_path / "nas"
    place.mkdir()
    (place / "run1.dat").write_bytes(b"spikes")
    link, stored = Link(place / "run1.dat"), ("run1.dat", b"spikes")
    roots = {root: {"path": str(place)}}
    project = store.configuration(roots=roots)
    (tmp_path / "other").mkdir()
    other = Store({"backend": "file", "path": str(tmp_path / "other")}, unique("project")).configuration(roots=roots)
    found, made = [], []
    for configuration, values, is_own in (
        (project, (stored, link), True),
        (project, (link,), True),
        (project, (), False),
        (other, (stored, link), False),
    ):
        instance = connect(database)
        datajoint_file.configure(configuration, connection=instance)
        table = recording_of(instance.Schema(unique("schema")))
        table.insert({"id": number, "raw": value} for number, value in enumerate(values))
        made.append((instance, table.database))
        found += [table.database] if is_own else []
    try:
        assert schemas_of_pipeline(made[0][0].connection) == sorted(found)
    finally:
        for instance, name in made:
            drop_schema(instance.connection, name)
            instance.connection.close()
