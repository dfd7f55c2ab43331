"""``preview()`` of stored files, members and directories, on a disk and in a bucket."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import pytest
import zarr
from PIL import Image

from datajoint_file.errors import ObjectNotFoundError
from tests.projects import Store, over_local_and_s3, over_mysql

pytestmark = [over_mysql, over_local_and_s3]


def store_file(table: Any, value: Any) -> Any:
    table.insert1({"id": len(table()), "raw": value})
    return (table & {"id": len(table()) - 1}).fetch1("raw")


def test_files_are_previewed_by_what_they_are(table: Any, store: Store, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((600, 900), "u1")).save(tmp_path / "scan.png")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["lfp/data"] = np.zeros(2_000_000)
    scan, tree, csv = (
        store_file(table, value) for value in (tmp_path / "scan.png", tmp_path / "a.h5", ("a.csv", b"t,v\n1,2\n"))
    )
    assert "900 x 600 pixels" in str(scan.preview())
    with Image.open(io.BytesIO(scan.preview().png)) as small:
        assert small.size == (480, 320)
    assert "data  (2000000,) float64" in str(tree.preview())
    assert str(csv.preview()).splitlines() == ["a.csv: 8 B, text/csv, 1 row of 2 columns", "  t  v", "  1  2"]
    store.remove(csv.path)
    assert "a.csv" in repr(csv)
    assert "a.csv" in csv._repr_html_()
    with pytest.raises(ObjectNotFoundError):
        csv.preview()


def test_directories_members_and_zarr_are_previewed(table: Any, tmp_path: Path) -> None:
    result = tmp_path / "result"
    (result / "deep" / "deeper").mkdir(parents=True)
    (result / "deep" / "deeper" / "a.csv").write_bytes(b"t,v\n1,2\n")
    np.save(result / "templates.npy", np.zeros((3, 4)))
    ref = store_file(table, result)
    assert str(ref.preview()).splitlines() == [
        "result/: 2 files, 232 B",
        "  deep/",
        "    deeper/",
        "      a.csv  8 B",
        "  templates.npy  224 B",
    ]
    assert "(3, 4) float64" in str(ref.preview("templates.npy"))
    assert "(3, 4) float64" in str((ref / "templates.npy").preview())
    assert str((ref / "deep").preview()) == "deep/: 1 file, 8 B\n  deeper/\n    a.csv  8 B"


@pytest.mark.parametrize("version", [2, 3])
def test_zarr_is_previewed_by_its_metadata(table: Any, tmp_path: Path, version: Literal[2, 3]) -> None:
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=version)
    group.attrs["subject"] = "<m1>"
    made = group.create_group("lfp").create_array("data", shape=(1000, 3), chunks=(100, 3), dtype="f4")
    made[:] = 1
    made.attrs["unit"] = "V"
    lines = [line.strip() for line in str(store_file(table, tmp_path / "a.zarr").preview()).splitlines()]
    assert lines[0].endswith(", Zarr")
    assert '@subject = "<m1>"' in lines
    assert lines[-4:-1] == ["lfp/", "data/", lines[-2]]
    assert lines[-2].startswith("[1000, 3] ")
    assert lines[-2].endswith("chunks [100, 3]")
    assert lines[-1] == '@unit = "V"'
    assert not any(line == "c" or "0.0" in line for line in lines)
