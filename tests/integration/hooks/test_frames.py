"""Fetched rows as tables of Arrow and Polars and as frames: plain metadata where objects have no place."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datajoint as dj
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from datajoint_file.errors import UnsafePathError
from datajoint_file.hooks.frames import _FileRefArray
from datajoint_file.pipeline.fileref import FileRef


@pytest.fixture
def table(schema: dj.Schema) -> Any:
    @schema
    class Recording(dj.Manual):
        definition = """
        k : int32
        ---
        rate : float64
        raw = null : file
        """

    Recording.insert(
        [
            {"k": 1, "rate": 1.5, "raw": ("a.csv", b"a")},
            {"k": 2, "rate": 2.5, "raw": None},
            {"k": 3, "rate": 3.5, "raw": ("b.csv", b"bb")},
        ]
    )
    return Recording


def described(table: Any) -> list[Any]:
    return [ref and ref.to_dict() for ref in table.to_arrays("raw", order_by="k")]


def test_arrow_table_has_structs(table: Any) -> None:
    made = table.to_arrow(order_by="k")
    assert made.column("raw").to_pylist() == described(table)
    assert made.schema.field("raw").type.field("size").type == pa.int64()
    assert made.column("k").to_pylist() == [1, 2, 3]
    assert table.to_arrow("k DESC", 1).column("raw").to_pylist() == described(table)[2:]
    assert (table & "k = 2").to_arrow().column("raw").to_pylist() == [None]
    assert (table & "k = 5").to_arrow().num_rows == 0
    assert table.proj(other="raw").to_arrow(order_by="k").column("other").to_pylist() == described(table)
    assert table.proj("rate").to_arrow().column_names == ["k", "rate"]


def test_polars_frame_has_structs(table: Any) -> None:
    polars = pytest.importorskip("polars")
    made = table.to_polars(order_by="k")
    assert isinstance(made.schema["raw"], polars.Struct)
    assert made["raw"].to_list() == described(table)
    assert polars.from_pandas(table.to_pandas(order_by="k"))["raw"].to_list() == described(table)


def test_row_that_is_no_metadata_is_named(table: Any) -> None:
    quoted = table().connection.adapter.quote_identifier("raw")
    row = json.dumps({**described(table)[0], "path": "lab/../x"})
    table().connection.query(f"UPDATE {table().full_table_name} SET {quoted} = %s WHERE k = 1", (row,))
    with pytest.raises(UnsafePathError, match=r"\.Recording\.raw \(k=1\): path = 'lab/\.\./x'"):
        table.to_arrow()


def test_frame_keeps_references_and_is_written_as_structs(table: Any, tmp_path: Path) -> None:
    frame = table.to_pandas(order_by="k")
    assert [type(value) for value in frame["raw"]] == [FileRef, type(None), FileRef]
    assert frame.loc[3, "raw"].read() == b"bb"
    frame.to_parquet(tmp_path / "a.parquet")
    frame.reset_index().to_feather(tmp_path / "a.feather")
    for read in (
        pyarrow.parquet.read_table(tmp_path / "a.parquet"),
        pyarrow.feather.read_table(tmp_path / "a.feather"),
    ):
        assert read.column("raw").to_pylist() == described(table)
    assert (table & "k = 2").to_pandas().to_parquet() is not None
    assert (table & "k = 5").to_pandas().empty


def test_written_frame_is_read_where_this_package_is_not(table: Any, tmp_path: Path) -> None:
    table.to_pandas(order_by="k").to_parquet(tmp_path / "a.parquet")
    code = (
        "import sys, pandas; frame = pandas.read_parquet(sys.argv[1]); "
        "print([row and row['original_name'] for row in frame['raw']], 'datajoint' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.parquet")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['a.csv', None, 'b.csv'] False"


def test_frame_is_inserted_and_restricts(table: Any) -> None:
    frame = table.to_pandas(order_by="k")
    assert len(table & frame) == 3
    frame.index = pd.Index([11, 12, 13], name="k")
    table.insert(frame)
    assert [row and row["hash"] for row in described(table)[3:]] == [
        row and row["hash"] for row in described(table)[:3]
    ]


def _sizes(frame: pd.DataFrame) -> Any:
    return frame["raw"].map(lambda ref: 0 if ref is None else ref.size)


USES: dict[str, Callable[[pd.DataFrame], Any]] = {
    "map": lambda frame: [float(size) for size in frame["raw"].map(lambda ref: ref and ref.size)],
    "sum of a map": lambda frame: _sizes(frame).sum(),
    "sum of a map of nothing": lambda frame: _sizes(frame.iloc[:0]).sum(),
    "filter by a map": lambda frame: frame[_sizes(frame) > 1]["raw"].tolist(),
    "map to numbers": lambda frame: _sizes(frame),
    "map to truths": lambda frame: ~frame["raw"].map(lambda ref: ref is None),
    "map to text": lambda frame: frame["raw"].map(lambda ref: str(ref and ref.size)).str.upper(),
    "map to moments": lambda frame: frame["raw"].map(lambda ref: pd.Timestamp("2025-01-15", tz="UTC")).dt.year,
    "map to days": lambda frame: frame["raw"].map(lambda ref: pd.Timestamp("2025-01-15")) - pd.Timestamp("2025-01-14"),
    "map to lists": lambda frame: frame["raw"].map(lambda ref: [ref]),
    "map to nothing": lambda frame: frame["raw"].map(lambda ref: None),
    "map to itself": lambda frame: frame["raw"].map(lambda ref: ref).tolist(),
    "map of a dictionary": lambda frame: frame["raw"].map({frame["raw"].iloc[0]: 3}).sum(),
    "map without what is not there": lambda frame: frame["raw"].map(lambda ref: ref.size, na_action="ignore").mean(),
    "map of the frame": lambda frame: frame.map(lambda value: 7).sum().tolist(),
    "apply": lambda frame: frame["raw"].apply(lambda ref: 0 if ref is None else ref.size).max(),
    "apply to rows": lambda frame: frame.apply(lambda row: row["rate"], axis=1).sum(),
    "combine": lambda frame: frame["raw"].combine(frame["rate"], lambda ref, rate: rate).sum(),
    "first of a group": lambda frame: frame.groupby("rate")["raw"].first().dropna().tolist(),
    "aggregate of a group": lambda frame: frame.groupby("rate")["raw"].agg(len).sum(),
    "where": lambda frame: frame["raw"].where(frame["rate"] > 2).isna().tolist(),
    "select objects": lambda frame: list(frame.select_dtypes("object").columns),
    "select numbers": lambda frame: list(frame.select_dtypes("number").columns),
    "select others": lambda frame: list(frame.select_dtypes(exclude="object").columns),
    "describe": lambda frame: frame.describe(),
    "isna": lambda frame: frame["raw"].isna().tolist(),
    "dropna": lambda frame: frame.dropna()["raw"].tolist(),
    "equal": lambda frame: (frame["raw"] == frame["raw"].iloc[0]).tolist(),
    "equal to itself": lambda frame: (frame["raw"] == frame["raw"]).tolist(),
    "unequal": lambda frame: (frame["raw"] != frame["raw"]).tolist(),
    "equals": lambda frame: frame.equals(frame.copy()),
    "isin": lambda frame: frame["raw"].isin([frame["raw"].iloc[0]]).tolist(),
    "records": lambda frame: frame.to_records().tolist(),
    "dicts": lambda frame: frame.to_dict("records"),
    "concat": lambda frame: pd.concat([frame, frame.iloc[:0], frame])["raw"].tolist(),
    "merge": lambda frame: frame.merge(frame, on="raw")["raw"].tolist(),
    "group": lambda frame: frame.groupby("raw", sort=False).size().tolist(),
    "unique": lambda frame: list(frame["raw"].unique()),
    "categories": lambda frame: frame["raw"].astype("category").cat.codes.tolist(),
    "reindex": lambda frame: frame.reindex([1, 9])["raw"].isna().tolist(),
    "shift": lambda frame: frame["raw"].shift().tolist(),
    "fill": lambda frame: frame["raw"].fillna("nothing").tolist(),
    "set": lambda frame: (frame.at.__setitem__((1, "raw"), "text"), frame["raw"].tolist())[1],
    "append": lambda frame: (frame.loc.__setitem__(9, [1.0, frame["raw"].iloc[0]]), frame["raw"].tolist())[1],
    "repr": repr,
    "html": lambda frame: frame.to_html(),
    "csv": lambda frame: frame.to_csv(),
    "dtype": lambda frame: str(frame.dtypes["raw"]),
    "pickle": lambda frame: pickle.loads(pickle.dumps(frame))["raw"].tolist(),
    "copy": lambda frame: copy.deepcopy(frame)["raw"].tolist(),
    "values": lambda frame: frame.to_numpy().tolist(),
    "melt": lambda frame: frame.reset_index().melt("k")["value"].tolist(),
    "explode": lambda frame: frame.explode("raw")["raw"].tolist(),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_column_of_references_behaves_as_one_of_objects(use: Callable[[pd.DataFrame], Any]) -> None:
    def ref(size: int) -> FileRef:
        row = {"path": f"lab/e/objects/R-raw/k{size}/a", "size": size, "hash": "sha256:" + "0" * 64}
        return FileRef.from_row({**row, "original_name": "a", "timestamp": "2025-01-15T10:30:00Z"}, "")

    def frame(column: Callable[[list[Any]], Any]) -> pd.DataFrame:
        objects = column([ref(1), None, ref(3)])
        return pd.DataFrame({"rate": [1.5, 2.5, 3.5], "raw": objects}, index=pd.Index([1, 2, 3], name="k"))

    expected, found = use(frame(lambda values: pd.Series(values, [1, 2, 3], dtype=object))), use(frame(_FileRefArray))
    assert str(found) == str(expected)
