"""Long-lived processes: what was made for a connection goes with it, and stores that were open once do not stay so."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from pathlib import Path
from typing import Any

import datajoint as dj

import datajoint_file
from datajoint_file.config import parse_settings
from datajoint_file.pipeline.lookup import MOST_OPEN, pipeline_named, remember
from datajoint_file.pipeline.pipeline import Pipeline
from tests.projects import Store, connect, over_local_and_s3, unique


def work(database: Any, configuration: dict[str, Any], directory: Path) -> None:
    """Do what users do, from a connection to its end."""
    instance = connect(database)
    datajoint_file.configure(configuration, connection=instance)
    schema = instance.Schema(unique("schema"))

    @schema
    class Recording(dj.Manual):
        definition = "session : int32\n---\nraw : file"

    Recording.insert({"session": number, "raw": (f"{number}.dat", b"spikes")} for number in range(3))
    with (Recording & "session = 1").fetch1("raw").open() as file:
        assert file.read() == b"spikes"
    datajoint_file.download(Recording, directory)
    assert datajoint_file.verify(Recording, progress=False)
    schema.drop(prompt=False)
    instance.connection.close()


def alive() -> Counter[str]:
    """Count what there is of this package, and the connections."""
    gc.collect()
    names = (f"{type(found).__module__}.{type(found).__qualname__}" for found in gc.get_objects())
    return Counter(name for name in names if name.startswith(("datajoint_file.", "datajoint.connection.")))


@over_local_and_s3
def test_nothing_of_this_package_outlives_its_connection(database: Any, store: Store, tmp_path: Path) -> None:
    work(database, store.configuration(), tmp_path / "here")  # the first makes what is kept: pipeline, store, threads
    before = alive()
    for _ in range(3):
        work(database, store.configuration(), tmp_path / "here")
    assert alive() - before == Counter()


def test_few_pipelines_of_many_keep_their_stores_open(tmp_path: Path) -> None:
    names = [unique("pipeline") for _ in range(3 * MOST_OPEN)]
    stores: list[weakref.ref[Any]] = []
    for name in names:
        table = {"backend": "file", "path": str(tmp_path)}
        pipeline = remember(name, Pipeline(parse_settings({"project": {"name": "lab"}, "storage": table}, "test")))
        stores.append(weakref.ref(pipeline.backend))
    del pipeline
    gc.collect()
    assert sum(store() is not None for store in stores) <= MOST_OPEN
    assert list(pipeline_named(names[0], "lab").backend.list()) == []
