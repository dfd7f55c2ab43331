"""Reading parts of large files in a bucket: how many bytes and requests pass, counted on the wire to the store."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datajoint_file.config import parse_settings
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.pipeline.fileref import FileRef
from datajoint_file.pipeline.lookup import remember
from datajoint_file.pipeline.pipeline import Pipeline
from tests.integration.wire import Wire, wire_to
from tests.projects import bare_filesystem, unique

MIB = 2**20
SPARE = 8 * MIB
"""What may be moved besides three times what is wanted."""

PROJECT = "random"
Stored = Callable[[Path], FileRef]


@pytest.fixture(scope="module", params=["fsspec", "obstore"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def wire(s3_storage: dict[str, Any]) -> Iterator[Wire]:
    with wire_to(s3_storage["endpoint_url"]) as laid:
        yield laid


@pytest.fixture
def stored(s3_storage: dict[str, Any], engine: str, wire: Wire, tmp_path: Path) -> Stored:
    """Put a file into the bucket past the package, and return it as a row would give it, at the end of the wire."""
    table = {**s3_storage, "engine": engine, "endpoint_url": wire.address}
    pipeline = Pipeline(parse_settings({"project": {"name": PROJECT}, "storage": table}, "the test"))
    name = unique("pipeline")
    remember(name, pipeline)

    def store(path: Path) -> FileRef:
        key = f"{PROJECT}/{unique('k')}/{path.name}"
        bare_filesystem(s3_storage).put_file(str(path), f"{s3_storage['bucket']}/{key}")
        now = datetime.now(timezone.utc).replace(microsecond=0)
        hash_ = f"sha256:{'0' * 64}"  # what is opened is not verified
        ref = FileRef(FileMetadata(key, path.stat().st_size, hash_, path.name, now, "application/octet-stream"), name)
        ref.exists()  # connects
        wire.clear()
        return ref

    return store


@pytest.fixture(scope="module")
def noise() -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 2**16, 8 * MIB, dtype=np.uint16)


def _check_moved(wire: Wire, wanted: int, requests: int) -> None:
    assert wanted <= wire.received <= 3 * wanted + SPARE
    assert len(wire.requests) <= requests


def test_one_dataset_of_an_hdf5_file(stored: Stored, wire: Wire, tmp_path: Path, noise: np.ndarray[Any, Any]) -> None:
    with h5py.File(tmp_path / "many.h5", "w") as file:
        for number in range(6):
            file.create_dataset(f"group{number}/spikes", data=noise + number)
    with stored(tmp_path / "many.h5").open() as remote, h5py.File(remote, "r") as file:
        wanted = file["group4/spikes"][:]
    assert (wanted == noise + 4).all()
    _check_moved(wire, wanted.nbytes, 40)


def test_chunked_and_compressed_recording_as_nwb_has_them(
    stored: Stored, wire: Wire, tmp_path: Path, noise: np.ndarray[Any, Any]
) -> None:
    """Hundreds of small things about the recording, and a series in compressed chunks beside others."""
    series = (noise % 512).reshape(-1, 64)
    with h5py.File(tmp_path / "session.nwb", "w") as file:
        for number in range(300):
            file.create_dataset(f"general/devices/probe{number}/description", data=f"probe {number}" * 10)
        for name in ("lfp", "raw", "behaviour"):
            group = file.create_group(f"acquisition/{name}")
            group.create_dataset("data", data=series, chunks=(2048, 64), compression="gzip", compression_opts=1)
            group.attrs["unit"] = "volts"
    with stored(tmp_path / "session.nwb").open() as remote, h5py.File(remote, "r") as file:
        dataset = file["acquisition/raw/data"]
        assert file["acquisition/raw"].attrs["unit"] == "volts"
        wanted = dataset.id.get_storage_size()
        assert (dataset[:] == series).all()
    _check_moved(wire, wanted, 120)


def test_slices_here_and_there_of_a_chunked_dataset(
    stored: Stored, wire: Wire, tmp_path: Path, noise: np.ndarray[Any, Any]
) -> None:
    with h5py.File(tmp_path / "chunks.h5", "w") as file:
        file.create_dataset("data", data=np.tile(noise, 4), chunks=(4096,))
    wanted = 0
    with stored(tmp_path / "chunks.h5").open() as remote, h5py.File(remote, "r") as file:
        for start in range(5 * MIB, 30 * MIB, 500_000):
            assert (file["data"][start : start + 100] == np.take(noise, range(start, start + 100), mode="wrap")).all()
            wanted += 2 * 4096
    _check_moved(wire, wanted, 200)


def test_one_column_of_a_parquet_file(stored: Stored, wire: Wire, tmp_path: Path, noise: np.ndarray[Any, Any]) -> None:
    table = pa.table({f"unit{number}": noise[: 2 * MIB] + number for number in range(12)})
    pq.write_table(table, tmp_path / "units.parquet", row_group_size=MIB // 2, use_dictionary=False)
    with stored(tmp_path / "units.parquet").open() as remote:
        column = pq.read_table(remote, columns=["unit7"])
    assert column.equals(table.select(["unit7"]))
    _check_moved(wire, column.nbytes, 40)


def test_one_member_of_an_archive(stored: Stored, wire: Wire, tmp_path: Path, noise: np.ndarray[Any, Any]) -> None:
    content = noise.tobytes()
    with zipfile.ZipFile(tmp_path / "session.zip", "w") as archive:
        for number in range(5):
            archive.writestr(f"{number}.dat", content)
    with stored(tmp_path / "session.zip").open() as remote, zipfile.ZipFile(remote) as archive:
        assert archive.read("3.dat") == content
    _check_moved(wire, len(content), 30)


@pytest.mark.parametrize("piece", [2**13, MIB, -1])
def test_everything_from_front_to_back_is_moved_once_in_few_requests(
    stored: Stored, wire: Wire, tmp_path: Path, noise: np.ndarray[Any, Any], piece: int
) -> None:
    content = noise.tobytes() * 2
    (tmp_path / "recording.dat").write_bytes(content)
    with stored(tmp_path / "recording.dat").open() as remote:
        assert b"".join(_pieces(remote, piece)) == content
    assert wire.received <= 1.01 * len(content) + MIB
    assert len(wire.requests) <= 20


def _pieces(file: BinaryIO, size: int) -> Iterator[bytes]:
    while piece := file.read(size):
        yield piece


def test_lines_of_text_are_read(stored: Stored, wire: Wire, tmp_path: Path) -> None:
    text = "".join(f"trial {number}\n" for number in range(100_000))
    (tmp_path / "trials.csv").write_text(text)
    with io.TextIOWrapper(stored(tmp_path / "trials.csv").open()) as remote:
        assert "".join(remote) == text
    assert len(wire.requests) <= 12
