"""Fixtures of tests of the mirror: two places of a project, on disks unless told otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import datajoint_file
from tests.integration.mirrors import Make, Places
from tests.projects import Store, connect, unique
from tests.tables import drop_schema, recording_of


@pytest.fixture
def database(mysql: Any) -> Any:
    """One database: nothing here is about SQL."""
    return mysql


@pytest.fixture
def places(database: Any, local_storage: dict[str, Any], tmp_path: Path) -> Iterator[Make]:
    """Give the two places of a new project, with what ``[storage.mirror]`` says beside."""
    made: list[tuple[Any, str]] = []

    def make(mirror: dict[str, Any] | None = None, first: dict[str, Any] | None = None, **options: Any) -> Places:
        project = unique("project")
        if mirror is None:
            (tmp_path / "mirror").mkdir(exist_ok=True)
            mirror = {"backend": "file", "path": str(tmp_path / "mirror")}
        store = Store(first or local_storage, project)
        document = {**store.configuration(), "storage": {**store.table, "mirror": {**mirror, **options}}}
        instance = connect(database)
        datajoint_file.configure(document, connection=instance)
        schema = instance.Schema(unique("schema"))
        made.append((instance.connection, schema.database))
        return Places(store, Store(mirror, project), recording_of(schema), document)

    yield make
    for connection, name in made:
        drop_schema(connection, name)
        connection.close()
