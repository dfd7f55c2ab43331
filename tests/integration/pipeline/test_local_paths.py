"""Local paths, as libraries and other programs take them, of files and of members; and what passes to have them."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
import pandas as pd
import pytest
import soundfile
import tifffile
import xarray as xr
from PIL import Image

import datajoint_file
from datajoint_file.config import parse_settings
from datajoint_file.errors import HashMismatchError
from datajoint_file.pipeline.directory_upload import DirectoryUpload
from datajoint_file.pipeline.directoryref import DirectoryRef
from datajoint_file.pipeline.fileref import FileRef
from datajoint_file.pipeline.lookup import remember
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.transfer.directories import LocalTree
from datajoint_file.transfer.sources import as_source
from tests.conftest import CACHE_VARIABLE
from tests.integration.wire import wire_to
from tests.projects import Store, bare_filesystem, over_local_and_s3, over_mysql, unique
from tests.wire.afar import CELL

IMAGE = np.arange(64, dtype="uint8").reshape(8, 8)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with a file for each library."""
    run = tmp_path / "run"
    run.mkdir()
    with h5py.File(run / "a.h5", "w") as file:
        file["x"] = IMAGE
    tifffile.imwrite(run / "stack.ome.tif", IMAGE)
    Image.fromarray(IMAGE).save(run / "image.png")
    pd.DataFrame({"n": [1, 2]}).to_csv(run / "table.csv.gz", index=False)
    soundfile.write(run / "sound.wav", np.zeros(100), 8000)
    xr.Dataset({"x": ("t", [1, 2, 3])}).to_netcdf(run / "grid.nc", engine="h5netcdf")
    np.save(run / "array.npy", IMAGE)
    with zipfile.ZipFile(run / "archive.zip", "w") as archive:
        archive.writestr("inner.txt", "inner")
    (run / "notes.txt").write_text("12 spikes")
    return run


def h5(ref: Any) -> object:
    with h5py.File(ref) as file:
        return file["x"][:].tolist() == IMAGE.tolist() and Path(file.filename) == ref.cache()


def image(ref: Any) -> object:
    with Image.open(ref) as opened:
        return np.asarray(opened).tolist() == IMAGE.tolist()


def grid(ref: Any) -> object:
    with xr.open_dataset(ref) as dataset:
        return dataset["x"].values.tolist() == [1, 2, 3]


def archive(ref: Any) -> object:
    with zipfile.ZipFile(ref) as opened:
        return opened.read("inner.txt") == b"inner"


def array(ref: Any) -> object:
    with pytest.raises(TypeError, match=r"\.cache\(\).*\.open\(\)"):
        np.load(ref)
    return np.load(ref.cache()).tolist() == IMAGE.tolist()


def program(ref: Any) -> object:
    return subprocess.run(["cat", ref], capture_output=True, check=True).stdout == b"12 spikes"


LIBRARIES: dict[str, Callable[[Any], object]] = {
    "a.h5": h5,
    "stack.ome.tif": lambda ref: tifffile.imread(ref).tolist() == IMAGE.tolist(),
    "image.png": image,
    "table.csv.gz": lambda ref: pd.read_csv(ref)["n"].tolist() == [1, 2],
    "sound.wav": lambda ref: soundfile.read(ref)[1] == 8000,
    "grid.nc": grid,
    "array.npy": array,
    "archive.zip": archive,
    "notes.txt": program,
}


@over_mysql
@over_local_and_s3
def test_libraries_and_programs_take_references_for_paths(
    place: Path, table: Any, files: Path, store: Store, tmp_path: Path
) -> None:
    table.insert({"id": number, "raw": files / name} for number, name in enumerate(LIBRARIES))
    table.insert1({"id": 100, "raw": files})
    *refs, whole = table.to_arrays("raw", order_by="id")
    for ref, (name, is_right) in zip(refs, LIBRARIES.items(), strict=True):
        assert is_right(ref), name
        assert is_right(whole / name), f"member {name}"
        assert shutil.copy(ref, tmp_path / name)
    with pytest.raises(TypeError, match=r"\.cache\(\)"):
        np.load(whole)
    assert sorted(os.listdir(whole)) == sorted(LIBRARIES)  # noqa: PTH208
    assert place.exists() == (not store.is_local)


@over_mysql
@over_local_and_s3
def test_insert_of_what_was_fetched_shares_the_object_and_needs_no_path(
    place: Path, table: Any, files: Path, store: Store
) -> None:
    table.insert([{"id": 1, "raw": files / "notes.txt"}, {"id": 2, "raw": files}])
    before = store.object_keys()
    table.insert([{"id": row["id"] + 10, "raw": row["raw"]} for row in table.to_dicts()])
    assert store.object_keys() == before
    assert len({row["raw"] for row in table.to_dicts()}) == 2
    assert not place.exists()


ASK = """
import os, pickle, sys
import datajoint_file

pickled, children = sys.stdin.buffer.read(), []
for _ in range(8):
    children.append(os.fork())
    if not children[-1]:
        is_right = False
        try:
            found = [ref.cache().read_bytes() for ref in pickle.loads(pickled)]
            is_right = found == [bytes([number]) * 1000 for number in range(5)]
        finally:
            os._exit(not is_right)
print(sum(os.waitpid(child, 0)[1] == 0 for child in children))
"""


@pytest.fixture
def far(s3_storage: dict[str, Any], place: Path, tmp_path: Path) -> Iterator[tuple[Any, Path, list[FileRef]]]:
    """A wire to a bucket, the configuration of who is at its end, and what is stored there."""
    with wire_to(s3_storage["endpoint_url"]) as wire:
        project = unique("project")
        settings = tmp_path / "datajoint.toml"
        place_of = {key: s3_storage[key] for key in ("backend", "bucket", "region")} | {"endpoint_url": wire.address}
        lines = [f'{key} = "{value}"' for key, value in place_of.items()]
        secrets = [f'{key} = "{value}"' for key, value in s3_storage["credentials"].items()]
        text = ["[project]", f'name = "{project}"', "[storage]", *lines, "[storage.credentials]", *secrets]
        settings.write_text("\n".join(text))
        document = {"project": {"name": project}, "storage": {**s3_storage, **place_of}}
        pipeline = remember(str(settings), Pipeline(parse_settings(document, "the test")))
        values = [(f"{number}.dat", bytes([number]) * 1000) for number in range(5)]
        stored = [pipeline.ingest(pipeline.plan(as_source(value), CELL)) for value in values]
        yield wire, settings, [FileRef(metadata, str(settings)) for metadata in stored]


def test_of_eight_processes_that_ask_at_once_one_transfers(far: tuple[Any, Path, list[FileRef]]) -> None:
    wire, settings, refs = far
    wire.clear()
    command = [sys.executable, "-W", "ignore", "-c", ASK]
    done = subprocess.run(command, input=pickle.dumps(refs), cwd=settings.parent, capture_output=True, check=True)
    assert done.stdout.split() == [b"8"], done.stderr
    assert wire.requests.count("GET") == len(refs)


def test_what_is_in_the_cache_is_read_without_a_request(
    far: tuple[Any, Path, list[FileRef]], tmp_path: Path, files: Path
) -> None:
    wire, settings, refs = far
    pipeline = refs[0]._pipeline()
    directory = DirectoryUpload(
        pipeline, pipeline.plan(source := as_source(files), CELL), cast("LocalTree", source.tree)
    )
    directory.send_all()
    whole = DirectoryRef(directory.finish(), str(settings))
    refs[1].cache(), whole.cache()
    wire.clear()
    with refs[1].open() as file, refs[1].open("r") as text:
        assert (file.read(2), text.read(2)) == (b"\x01\x01", "\x01\x01")
    assert refs[1].read() == refs[1].download(tmp_path / "copy.dat").read_bytes() == b"\x01" * 1000
    assert refs[1].read(start=-1) == b"\x01"
    assert (whole / "array.npy").load().tolist() == IMAGE.tolist()
    assert tifffile.imread(whole / "stack.ome.tif").tolist() == IMAGE.tolist()
    assert whole.fs.cat_file("notes.txt") == b"12 spikes"
    assert len(list(whole.download(tmp_path / "run copy").iterdir())) == len(LIBRARIES)
    assert wire.requests == []
    assert refs[2].read() == b"\x02" * 1000
    assert wire.requests == ["GET"]


def test_copy_within_the_store_is_of_bytes_that_are_there_whatever_the_cache_has(
    far: tuple[Any, Path, list[FileRef]], s3_storage: dict[str, Any]
) -> None:
    ref = far[2][1]
    ref.cache()
    bare_filesystem(s3_storage).pipe_file(f"{s3_storage['bucket']}/{ref.path}", b"?" * 1000)
    pipeline = ref._pipeline()
    with pytest.raises(HashMismatchError):
        pipeline.ingest(pipeline.plan(replace(as_source(ref), copy_of=ref.path), CELL))


def test_usage_and_emptying_are_those_of_the_command(
    far: tuple[Any, Path, list[FileRef]], monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    _, settings, refs = far
    monkeypatch.chdir(settings.parent)
    paths = [ref.cache() for ref in refs]
    assert datajoint_file.cache.path() == place
    assert (datajoint_file.cache.usage().entries, datajoint_file.cache.usage().size) == (5, 5000)
    assert datajoint_file.cache.clear().size == 5000
    assert not any(path.exists() for path in paths)
    assert refs[0].cache().read_bytes() == b"\x00" * 1000
