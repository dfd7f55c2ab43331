"""Long-lived processes: what was made for a connection goes with it, and stores that were open once do not stay so."""

from __future__ import annotations

import gc
import io
import weakref
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file.config import parse_settings
from datajoint_file.pipeline import address
from datajoint_file.pipeline.lookup import remember
from datajoint_file.pipeline.open_stores import MOST_OPEN
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
    grown = alive() - before
    grown.pop("datajoint_file.storage.backend.Receipt")  # of what was stored: the pipeline keeps some, see `Receipts`
    assert {name: count for name, count in grown.items() if count >= 3} == {}  # a last answer may still be about


@pytest.fixture
def many(tmp_path: Path) -> list[Pipeline]:
    """Pipelines that are known by name, none of which has opened its store."""
    table = {"backend": "file", "path": str(tmp_path)}
    settings = [parse_settings({"project": {"name": f"p{n}"}, "storage": table}, "test") for n in range(3 * MOST_OPEN)]
    return [remember(unique("pipeline"), Pipeline(given)) for given in settings]


def opened(pipelines: list[Pipeline]) -> list[str]:
    return [pipeline.project for pipeline in pipelines if pipeline.stores._backends]


def test_few_pipelines_of_many_keep_their_stores_open(many: list[Pipeline]) -> None:
    stores: list[weakref.ref[Any]] = []
    for _ in range(2):
        for pipeline in many:
            assert list(pipeline.backend.list()) == []
            stores.append(weakref.ref(pipeline.backend))
    gc.collect()
    assert sum(store() is not None for store in stores) == MOST_OPEN
    assert opened(many) == [pipeline.project for pipeline in many[-MOST_OPEN:]]


def test_store_that_is_used_again_stays_open(many: list[Pipeline]) -> None:
    first, *others = many
    store = first.backend
    for pipeline in others:
        assert pipeline.backend is not store
        assert first.backend is store
    assert len(opened(many)) == MOST_OPEN


def test_store_that_is_closed_while_it_is_used_goes_on_and_is_opened_again(many: list[Pipeline]) -> None:
    first, *others = many
    store = first.backend
    for pipeline in others:
        assert not pipeline.backend.exists(f"{pipeline.project}/k/x")
    assert opened(many)[0] != first.project
    assert store.upload("p0/k/y", io.BytesIO(b"spikes"), 6) == 6
    assert first.backend is not store
    assert first.backend.exists("p0/k/y")


def test_pipelines_that_open_stores_in_many_threads_close_others(many: list[Pipeline]) -> None:
    with ThreadPoolExecutor(8) as threads:
        found = threads.map(lambda pipeline: list(pipeline.backend.list()), many * 20)
    assert not any(found)
    assert many[0].backend is many[0].backend
    assert len(opened(many)) <= MOST_OPEN


def test_pipeline_goes_when_nobody_has_it(tmp_path: Path) -> None:
    table = {"backend": "file", "path": str(tmp_path)}
    pipeline = Pipeline(parse_settings({"project": {"name": "lab"}, "storage": table}, "test"))
    mark = "lab/~registry/a-1-x"
    pipeline.backend.upload(mark, io.BytesIO(b""), 0)
    assert address._has_marks(pipeline, (mark,))
    seen = weakref.ref(pipeline)
    del pipeline
    gc.collect()
    assert seen() is None
