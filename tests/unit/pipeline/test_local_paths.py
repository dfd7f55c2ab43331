"""Local paths: the object itself on a disk, a verified copy of other stores; and that an insert takes none of them."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import shutil
import stat
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pytest
from deepdiff import DeepHash

from datajoint_file.cache.layout import Place
from datajoint_file.concurrency.file_lock import locked
from datajoint_file.concurrency.threads import Stop, Stopped
from datajoint_file.config import parse_settings
from datajoint_file.errors import (
    DestinationError,
    HashMismatchError,
    MetadataError,
    ObjectNotFoundError,
    SizeMismatchError,
    StorageUnavailableError,
    UnsafeNameError,
    UnsupportedValueError,
    VerificationError,
)
from datajoint_file.model.manifest import Member, lines
from datajoint_file.pipeline import cache_keys, local_paths
from datajoint_file.pipeline.cache_keys import entry_key
from datajoint_file.pipeline.directory_upload import DirectoryUpload
from datajoint_file.pipeline.directoryref import DirectoryRef
from datajoint_file.pipeline.fileref import FileRef
from datajoint_file.pipeline.lookup import remember
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.testing.faults import FaultyBackend
from datajoint_file.transfer.directories import Directory
from datajoint_file.transfer.sources import File, as_source
from tests.conftest import CACHE_VARIABLE

FILES = {"params.py": b"fs = 1", "raw/day1.csv": b"1,2", "raw/day2.csv": b"3,4"}


@pytest.fixture(params=["file", "memory"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The cache."""
    return tmp_path / "cache"


@pytest.fixture
def pipeline(backend: str, root: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """A project on the disk, or in a store that is none; verbs of its backend are counted."""
    monkeypatch.setenv(CACHE_VARIABLE, str(place))
    storage = {"backend": backend, "path": str(root)}
    made = Pipeline(parse_settings({"project": {"name": "lab"}, "storage": storage}, "test"))
    made.stores._backends["lab"] = FaultyBackend(made.backend)
    return remember(str(root), made)


def reads(pipeline: Pipeline) -> int:
    counted: Any = pipeline.stores._backends["lab"]
    return int(counted.calls["open"] + counted.calls["read"])


Make = Callable[..., Any]


@pytest.fixture
def make(pipeline: Pipeline, cell: Any, root: Path) -> Make:
    def store(value: object = ("recording.dat", b"spikes")) -> Any:
        source = as_source(value)
        upload = pipeline.plan(source, cell)
        if source.tree is None:
            return FileRef(pipeline.ingest(upload), str(root))
        made = DirectoryUpload(pipeline, upload, source.tree)
        made.send_all()
        return DirectoryRef(made.finish(), str(root))

    return store


def test_path_has_the_bytes_and_the_name_and_costs_one_transfer(
    pipeline: Pipeline, make: Make, place: Path, root: Path, backend: str
) -> None:
    ref = make()
    path = ref.cache()
    before = reads(pipeline)
    assert issubclass(type(ref), os.PathLike)
    assert (path.name, path.read_bytes(), os.fspath(ref)) == ("recording.dat", b"spikes", str(path))
    with open(ref, "rb") as file:  # noqa: PTH123
        assert file.read() == b"spikes"
    assert reads(pipeline) == before > 0
    assert stat.S_IMODE(path.stat().st_mode) & 0o222 == 0
    if backend == "file":
        assert path == root.joinpath(*ref.path.split("/")[1:])
        assert not place.exists()
    else:
        assert place in path.parents


@pytest.mark.parametrize("name", ["Tag 1 µ.csv", "100%.csv", "a+b.csv", f"{'x' * 240}.csv"])
def test_path_has_the_name_that_the_file_had(make: Make, name: str) -> None:
    path = make((name, b"spikes")).cache()
    assert (path.name, path.suffix, path.read_bytes()) == (name, ".csv", b"spikes")


@pytest.mark.parametrize("name", [".bashrc", "datajoint.toml", "Datajoint.JSON"])
def test_file_that_somebody_would_read_unasked_has_no_path(make: Make, name: str) -> None:
    with pytest.raises(UnsafeNameError, match="choose its name"):
        make((name, b"x")).cache()


# directories


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_bytes(content)
    return tmp_path / "run"


def content_of(directory: Path) -> dict[str, bytes]:
    found = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in found}


def test_directory_is_a_tree_of_this_machine_and_so_is_each_part(
    make: Make, tree: Path, place: Path, backend: str, pipeline: Pipeline
) -> None:
    ref = make(str(tree))
    path = ref.cache()
    assert (path.name, content_of(path)) == ("run", FILES)
    assert Path(ref / "raw").name == "raw"
    assert content_of(Path(ref / "raw")) == {"day1.csv": b"1,2", "day2.csv": b"3,4"}
    assert Path(ref / "raw/day1.csv").read_bytes() == b"1,2"
    before = reads(pipeline)
    assert (os.fspath(ref), (ref / "raw").cache().is_dir()) == (str(path), True)
    assert reads(pipeline) == before
    assert (backend == "file") == (not place.exists())


def test_names_and_empty_directories_that_the_store_has_not_are_there(make: Make, tree: Path, root: Path) -> None:
    (tree / "Tag 1 µ").mkdir()
    (tree / "Tag 1 µ" / "a b.csv").write_bytes(b"1")
    (tree / "empty").mkdir()
    ref = make(str(tree))
    path = ref.cache()
    assert content_of(path) == {**FILES, "Tag 1 µ/a b.csv": b"1"}
    assert (path / "empty").is_dir()
    assert root not in path.parents
    assert Path(ref / "Tag 1 µ" / "a b.csv").name == "a b.csv"
    assert content_of(Path(ref / "Tag 1 µ")) == {"a b.csv": b"1"}
    assert ref.cache() == path


def test_directory_of_empty_directories_alone_is_one_here_as_well(make: Make, tree: Path, tmp_path: Path) -> None:
    (tree / "logs" / "empty").mkdir(parents=True)
    part = make(str(tree)) / "logs"
    (tmp_path / "bare" / "only" / "empty").mkdir(parents=True)
    (tmp_path / "nothing").mkdir()
    whole, nothing = make(Directory(tmp_path / "bare")), make(Directory(tmp_path / "nothing"))
    for ref, below in ((part, "empty"), (whole, "only/empty"), (nothing, "")):
        assert (ref.cache() / below).is_dir()
        assert content_of(ref.cache()) == {}


@pytest.mark.parametrize("backend", ["memory"], indirect=True)
def test_who_waits_for_another_that_brings_the_same_can_be_stopped(make: Make, pipeline: Pipeline, tree: Path) -> None:
    make(("other.dat", b"the cache is there")).cache()
    for ref in (make(), make(str(tree))):
        stop = Stop()
        ends: list[BaseException] = []

        def wait(ref: Any = ref, stop: Stop = stop, ends: list[BaseException] = ends) -> None:
            try:
                local_paths.bring(pipeline, ref.metadata, stop.watched(lambda _: None))
            except BaseException as error:
                ends.append(error)

        with locked(Place(str(pipeline.cache.directory), entry_key(pipeline.stores, ref.metadata)).lock):
            thread = threading.Thread(target=wait)
            thread.start()
            stop.set()
            thread.join(20)
            assert not thread.is_alive()
        assert [type(end) for end in ends] == [Stopped]
        assert ref.cache().exists()


# what is not what was inserted


def damage(pipeline: Pipeline, key: str, content: bytes | None) -> None:
    """Put other bytes into a store."""
    if pipeline.settings.storage.backend == "file":
        path = Path(pipeline.stores.local_path(key))
        path.unlink()
        if content is not None:
            path.write_bytes(content)
    else:
        fs = fsspec.filesystem("memory")
        name = f"{pipeline.settings.storage.path}/{key.partition('/')[2]}"
        fs.rm_file(name)
        if content is not None:
            fs.pipe_file(name, content)


def test_damaged_and_lost_objects_have_no_path(pipeline: Pipeline, make: Make, tree: Path, place: Path) -> None:
    make(("other.dat", b"the project is not empty"))
    for content, error in ((b"SPIKES", HashMismatchError), (b"spik", SizeMismatchError), (None, ObjectNotFoundError)):
        ref = make()
        damage(pipeline, ref.path, content)
        with pytest.raises(error, match=re.escape(ref.path)):
            ref.cache()
        whole = make(str(tree))
        damage(pipeline, (whole / "raw/day1.csv").path, content and content[: len(content) // 2])
        with pytest.raises(error, match=r"day1\.csv"):
            whole.cache()
    assert not list(place.glob("??/.*"))
    assert not [path for path in place.glob("??/*/*") if path.is_file()]


def test_what_comes_into_the_cache_is_verified_whatever_the_configuration_says(
    pipeline: Pipeline, make: Make, tree: Path, root: Path
) -> None:
    ref, whole = make(), make(str(tree))
    storage = {"backend": pipeline.settings.storage.backend, "path": str(root)}
    document = {"project": {"name": "lab"}, "storage": storage, "object_storage": {"verify": "never"}}
    remember(str(root), Pipeline(parse_settings(document, "test")))
    damage(pipeline, ref.path, b"SPIKES")
    damage(pipeline, (whole / "raw/day1.csv").path, b"9,9")
    assert ref.read() == b"SPIKES"
    for damaged in (ref, whole, whole / "raw", whole / "raw/day1.csv"):
        with pytest.raises(HashMismatchError):
            damaged.cache()


@pytest.mark.parametrize("backend", ["file"], indirect=True)
def test_object_on_a_disk_that_is_changed_is_verified_again(pipeline: Pipeline, make: Make, tree: Path) -> None:
    ref, whole = make(), make(str(tree))
    path, directory = ref.cache(), whole.cache()
    times = path.stat()
    path.chmod(0o644)
    path.write_bytes(b"SPIKES")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(HashMismatchError):
        ref.cache()
    (directory / "raw" / "more.csv").write_bytes(b"")
    local_paths._verified.clear()  # as in another process, or after a minute
    with pytest.raises(VerificationError, match=r"raw/more.csv is in the directory"):
        whole.cache()
    (directory / "raw" / "more.csv").unlink()
    (directory / "link").symlink_to("raw")
    with pytest.raises(VerificationError, match=r"link is in the directory"):
        whole.cache()


@pytest.mark.parametrize("backend", ["file"], indirect=True)
def test_disk_that_is_not_mounted_is_not_an_object_that_is_gone(make: Make, root: Path) -> None:
    ref = make()
    ref.cache()
    root.rename(root.with_name("away"))
    with pytest.raises(StorageUnavailableError):
        ref.cache()


# rows that say what is not theirs


def test_row_that_has_the_hash_of_another_projects_row_gets_nothing_of_it(
    pipeline: Pipeline, make: Make, tree: Path, cell: Any, tmp_path: Path
) -> None:
    document = {"project": {"name": "other"}, "storage": {"backend": "memory", "path": str(tmp_path / "other")}}
    other = remember("other", Pipeline(parse_settings(document, "test")))
    file, whole = make(("salaries 2026.csv", b"Boss,1000000")), make(str(tree))
    path, _ = file.cache(), whole.cache()
    assert file.read(start=0, stop=3) == b"Bos"
    assert len(list(whole.files())) == 3
    mine = other.ingest(other.plan(as_source(("mine.csv", b"x")), cell))
    said = {"hash": file.hash, "size": file.size, "original_name": file.original_name}
    keys = (
        cache_keys.link_key(pipeline.stores, file.metadata, str(path)),
        cache_keys.entry_key(pipeline.stores, file.metadata),
    )
    for row in (said, *({**said, "hash": f"sha256:{key}", "size": 0} for key in keys)):
        with pytest.raises(VerificationError):
            FileRef(replace(mine, **row), "other").cache()
    for read in (lambda ref: ref.read(start=1, stop=3), FileRef.read, lambda ref: ref.open().read()):
        with pytest.raises(VerificationError):
            read(FileRef(replace(mine, **said), "other"))
    directory = replace(whole.metadata, path=f"{mine.path.rpartition('/')[0]}/run/")
    with pytest.raises(ObjectNotFoundError):
        list(DirectoryRef(directory, "other").files())


def test_file_that_is_the_manifest_of_a_directory_is_not_that_directory(make: Make, tmp_path: Path) -> None:
    sizes = range(100, 400)
    text = next(text for size in sizes if len(text := manifest_of_one(size)) == size)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "a").write_bytes(b"x" * len(text))
    whole, file = make(str(tmp_path / "run")), make(("run", text))
    assert (whole.hash, whole.size, whole.original_name) == (file.hash, file.size, file.original_name)
    for _ in range(2):
        assert (whole.cache().is_dir(), file.cache().is_file()) == (True, True)


def manifest_of_one(size: int) -> bytes:
    return b"".join(lines([Member("a", size, hashlib.sha256(b"x" * size).hexdigest())]))


@pytest.mark.parametrize("backend", ["memory"], indirect=True)
def test_row_that_claims_more_than_there_is_does_not_empty_the_cache(
    make: Make, tree: Path, pipeline: Pipeline
) -> None:
    kept = [make((f"{number}.dat", b"%d" % number)).cache() for number in range(10)]
    pipeline.cache.space.leases.keep_last()
    file, whole = make(), make(str(tree))
    for ref in (file, whole):
        with pytest.raises((SizeMismatchError, MetadataError)):
            type(ref)(replace(ref.metadata, size=2**62), ref.pipeline).cache()
    assert all(path.exists() for path in kept)


# what a value that has a path is taken for


def test_what_is_inserted_is_the_stored_file_and_never_its_path(
    make: Make, tree: Path, place: Path, backend: str
) -> None:
    ref, whole = make(("Tag 1.dat", b"spikes")), make(str(tree))
    for given in (ref, File(ref), File(ref, name="Tag 1.dat")):
        assert as_source(given).name == "Tag 1.dat"
        assert as_source(given).hash == ref.hash
    for directory in (whole, File(whole), whole / "raw"):
        assert as_source(directory).tree is not None
    with pytest.raises(UnsupportedValueError, match="a Directory is of a path"):
        as_source(Directory(whole))
    assert not place.exists()


def test_what_is_stored_is_no_destination(make: Make, tree: Path, tmp_path: Path) -> None:
    ref, whole = make(), make(str(tree))
    for act in (ref.download, whole.download):
        for target in (ref, whole, whole / "raw"):
            with pytest.raises(DestinationError, match="is stored, and is not written to"):
                act(target, overwrite=True)
    assert ref.read() == b"spikes"


def test_hashing_copying_and_pickling_transfer_nothing(make: Make, place: Path, pipeline: Pipeline) -> None:
    ref = make()
    before = reads(pipeline)
    assert DeepHash({"a": ref})
    assert pickle.loads(pickle.dumps(ref)) == ref
    assert np.array([ref, ref]).shape == (2,)
    assert pd.Series([ref, ref])[0] == ref
    assert not any(hasattr(ref, name) for name in ("seek", "tell", "__iter__", "__enter__"))
    assert reads(pipeline) == before
    assert not place.exists()
    shutil.copy(pickle.loads(pickle.dumps(ref)), place.with_name("copy.dat"))
    assert place.with_name("copy.dat").read_bytes() == b"spikes"
