"""Objects in, objects out: what takes a file takes a data frame; the bytes are in the store, and nothing stays here."""

from __future__ import annotations

import io
import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datajoint as dj
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import datajoint_file
from datajoint_file.errors import FormatError, UnsupportedValueError
from datajoint_file.formats.objects import IN_MEMORY
from tests.integration.executors import write_toml
from tests.projects import Store, over_local_and_s3, over_mysql, unique
from tests.tables import drop_schema, recording_of

FRAME = pd.DataFrame({"t": [0.1, 0.2], "unit": np.array([1, 2], dtype="int16")}, index=pd.Index([5, 7], name="trial"))
LARGE = np.arange(IN_MEMORY, dtype="int16")
DATASET = xr.Dataset({"v": (("y", "x"), np.eye(3))}, coords={"x": [1.5, 2.5, 3.5]}, attrs={"rig": "A"})


@pytest.fixture
def temporary(table: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for temporary files of this process alone."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    return directory


def left(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir() if path.name.startswith("datajoint-file-")]


@over_mysql
@over_local_and_s3
def test_objects_are_stored_as_files_and_loaded_as_they_were(table: Any, store: Store, temporary: Path) -> None:
    table.insert(
        [
            {"id": 1, "raw": ("events.parquet", FRAME), "extra": ("notes.txt", "rat slept\n")},
            {"id": 2, "raw": ("large.npy", LARGE), "extra": ("grid.zarr", DATASET)},
            {"id": 3, "raw": FRAME, "extra": datajoint_file.File({"a": [1]}, name="p.json", mime_type="text/x-own")},
        ]
    )
    assert left(temporary) == []
    refs = {row["id"]: row for row in table.to_dicts()}
    parquet = next(key for key in store.object_keys() if key.endswith("events.parquet"))
    pd.testing.assert_frame_equal(pd.read_parquet(io.BytesIO(store.content(parquet))), FRAME)
    pd.testing.assert_frame_equal(refs[1]["raw"].load(), FRAME)
    assert refs[1]["extra"].load() == "rat slept\n"
    assert np.array_equal(refs[2]["raw"].load(), LARGE)
    assert refs[2]["extra"].load().identical(DATASET)
    assert refs[2]["extra"].verify()
    assert refs[3]["raw"].original_name == "raw.parquet"
    assert (refs[3]["extra"].mime_type, refs[3]["extra"].load()) == ("text/x-own", {"a": [1]})

    table.update1({"id": 1, "raw": ("events.csv", FRAME.reset_index(drop=True)[["t"]])})
    assert (table & "id = 1").fetch1("raw").load().t.tolist() == [0.1, 0.2]
    staged = datajoint_file.stage(table, {"id": 4}, "raw", ("image.png", np.eye(4, dtype="uint8")))
    table.insert1({"id": 4, "raw": staged})
    table.insert1({"id": 4, "raw": np.arange(3)}, replace=True)
    assert (table & "id = 4").fetch1("raw").load().tolist() == [0, 1, 2]
    assert left(temporary) == []


@over_mysql
def test_a_refused_object_leaves_nothing_anywhere(table: Any, store: Store, temporary: Path) -> None:
    before = store.object_keys()
    for value, error, message in (
        (("a.png", FRAME), UnsupportedValueError, r"name it .csv, .tsv, .parquet, .feather"),
        (("a.csv", FRAME), FormatError, r"Instead, give it as .parquet"),
        (("a.npy", np.array([{}])), FormatError, "could only be pickled"),
        (DATASET, UnsupportedValueError, "needs the name of a file"),
        ({"a": 1}, UnsupportedValueError, "dict is not a file"),
    ):
        rows = [{"id": 1, "raw": ("large.npy", LARGE)}, {"id": 2, "raw": value}]
        with pytest.raises(error, match=rf"Recording.raw \(id=2\), row 1: no row was written.*{message}"):
            table.insert(rows)
    with pytest.raises(UnsupportedValueError, match=r"Recording.raw \(id=1\)"):
        datajoint_file.stage(table, {"id": 1}, "raw", ("a.png", FRAME))
    assert len(table()) == 0
    assert store.object_keys() == before
    assert left(temporary) == []
    result = table().validate([{"id": 1, "raw": ("a.parquet", FRAME)}, {"id": 2, "raw": ("a.png", FRAME)}])
    assert [(index, name) for index, name, _ in result.errors] == [(1, "raw")]


@over_mysql
def test_the_configuration_says_which_format_a_type_gets(instance: dj.Instance, store: Store) -> None:
    formats = {"dataframe": ".feather", "dict": ".json"}
    datajoint_file.configure(store.configuration(formats=formats), connection=instance)
    schema = instance.Schema(unique("schema"))
    table = recording_of(schema)
    table.insert1({"id": 1, "raw": FRAME, "extra": {"gain": 2.5}})
    row = (table & "id = 1").fetch1()
    assert (row["raw"].original_name, row["extra"].original_name) == ("raw.feather", "extra.json")
    assert row["extra"].load() == {"gain": 2.5}
    assert table().validate([{"id": 2, "raw": {"gain": 2.5}}]).is_valid
    drop_schema(schema.connection, schema.database)


@over_mysql
def test_workers_elsewhere_get_bytes(
    table: Any, store: Store, temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATAJOINT_TOML", str(write_toml(store, tmp_path)))
    keys, values = [{"id": 1}, {"id": 2}], [("a.npy", LARGE), ("a.parquet", FRAME)]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        staged = datajoint_file.stage(table, keys, "raw", values, executor=executor)
        with pytest.raises(UnsupportedValueError, match="cannot be sent to a worker"):
            datajoint_file.stage(table, {"id": 3}, "raw", ("a.zarr", DATASET), executor=executor)
    with ThreadPoolExecutor(1) as threads:
        staged.append(datajoint_file.stage(table, {"id": 3}, "raw", ("a.zarr", DATASET), executor=threads))
    table.insert([{"id": i + 1, "raw": value} for i, value in enumerate(staged)])
    refs = table.to_arrays("raw", order_by="id")
    assert np.array_equal(refs[0].load(), LARGE)
    pd.testing.assert_frame_equal(refs[1].load(), FRAME)
    assert refs[2].load().identical(DATASET)
    assert left(temporary) == []
