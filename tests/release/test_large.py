"""What takes too long for every run: `make release` runs it before a release."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.journal.schema_registry import ensure_marked
from datajoint_file.testing import FaultyBackend
from tests.projects import Store, over_local_and_s3

pytestmark = [pytest.mark.release, pytest.mark.timeout(3600)]

SIZE = 10 * 10**9


class Interruption(Exception):
    """Ends a transaction."""


@over_local_and_s3
def test_ten_gigabytes_are_sent_once_however_often_the_insert_is_retried(
    schema: dj.Schema, store: Store, tmp_path: Path
) -> None:
    @schema
    class Recording(dj.Manual):
        definition = "id : int32\n---\nraw : file"

    path = tmp_path / "recording.dat"
    with path.open("wb") as file:
        file.truncate(SIZE)
    pipeline = pipeline_of(schema.connection)
    ensure_marked(pipeline, schema.connection, schema.database)
    counted: Any = FaultyBackend(pipeline.backend)
    pipeline.stores._backends[pipeline.project] = counted
    for _ in range(2):
        with pytest.raises(Interruption), schema.connection.transaction:
            Recording.insert1({"id": 1, "raw": path})
            raise Interruption

    Recording.insert1({"id": 1, "raw": path})

    assert counted.uploaded_bytes == SIZE
    assert len(store.object_keys()) == 1
    assert Recording.fetch1("raw").size == SIZE
    store.remove(store.object_keys()[0])
