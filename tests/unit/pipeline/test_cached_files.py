"""Reads from the cache: what is there is asked of no store, and what is there but not what it was is not handed out."""

from __future__ import annotations

import json
import os
import pickle
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datajoint_file.config import parse_settings
from datajoint_file.model.object_keys import Cell
from datajoint_file.pipeline.cache_keys import entry_key
from datajoint_file.pipeline.cached_files import watched
from datajoint_file.pipeline.directory_upload import DirectoryUpload
from datajoint_file.pipeline.directoryref import DirectoryRef
from datajoint_file.pipeline.fileref import FileRef
from datajoint_file.pipeline.lookup import remember
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.storage.disk.looks import look_through
from datajoint_file.testing.faults import Fault, FaultyBackend
from datajoint_file.transfer.sources import as_source
from tests.conftest import CACHE_VARIABLE

SPIKES = bytes(range(256)) * 4
LARGE = 17 * 2**20
FILES = {"params.py": b"fs = 1", "raw/day 1.csv": b"1,2", "raw/day2.csv": b"3,4"}

Make = Callable[..., Any]


@pytest.fixture
def pipeline(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """A project in a store that is no disk; verbs of its backend are counted."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    storage = {"backend": "memory", "path": str(root)}
    made = Pipeline(parse_settings({"project": {"name": "lab"}, "storage": storage}, "test"))
    made.stores._backends["lab"] = FaultyBackend(made.backend)
    return remember(str(root), made)


@pytest.fixture
def make(pipeline: Pipeline, cell: Any, root: Path) -> Make:
    def store(value: object = ("spikes.dat", SPIKES)) -> Any:
        upload = pipeline.plan(as_source(value), cell)
        if upload.source.tree is None:
            return FileRef(pipeline.ingest(upload), str(root))
        made = DirectoryUpload(pipeline, upload, upload.source.tree)
        made.send_all()
        return DirectoryRef(made.finish(), str(root))

    return store


@pytest.fixture
def whole(make: Make, tmp_path: Path) -> DirectoryRef:
    """A stored directory."""
    for name, content in FILES.items():
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_bytes(content)
    ref = make(str(tmp_path / "run"))
    assert isinstance(ref, DirectoryRef)
    return ref


def asked(pipeline: Pipeline) -> int:
    """Return how often the store was asked for anything."""
    counted: Any = pipeline.stores._backends["lab"]
    return sum(counted.calls.values())


def test_all_ways_to_read_what_is_in_the_cache_ask_no_store(pipeline: Pipeline, make: Make, tmp_path: Path) -> None:
    ref, large = make(), make(("large.dat", b"#" * LARGE))
    ref.cache(), large.cache()
    before = asked(pipeline)
    for verify in (None, "always", "first", "size", "never"):
        assert ref.read(verify=verify) == SPIKES
        assert ref.read(start=-2, verify=verify) == SPIKES[-2:]
        assert large.read(start=LARGE - 3, verify=verify) == b"###"
        assert ref.download(tmp_path / f"{verify}.dat", verify=verify).read_bytes() == SPIKES
    with ref.open() as file, ref.open("r", encoding="latin-1", newline="") as text:
        assert (file.read(), text.read().encode("latin-1")) == (SPIKES, SPIKES)
        again = pickle.loads(pickle.dumps(file))
        again.seek(1)
        assert again.read(2) == SPIKES[1:3]
        again.close()
    assert ref.fs.cat_file("spikes.dat", start=0, end=2) == SPIKES[:2]
    assert "1.0 kB" in str(ref.preview())
    assert asked(pipeline) == before
    assert ref.verify()
    assert asked(pipeline) > before


def test_what_is_not_in_the_cache_comes_from_the_store_and_is_not_kept(
    pipeline: Pipeline, make: Make, tmp_path: Path
) -> None:
    make(("other.dat", b"other")).cache()
    ref, before = make(), asked(pipeline)
    assert ref.read() == SPIKES
    after = asked(pipeline)
    assert ref.download(tmp_path / "a.dat").read_bytes() == SPIKES
    assert before < after < asked(pipeline)
    assert len(list((tmp_path / "cache").glob("??/*/*"))) == 1


def test_members_are_found_in_their_directory_and_parts_of_it(
    pipeline: Pipeline, whole: DirectoryRef, tmp_path: Path
) -> None:
    members = list(whole.files())
    path = whole.cache()
    before = asked(pipeline)
    for member in (*members, *pickle.loads(pickle.dumps(members))):
        content = FILES[str(member.cache().relative_to(path))]
        with member.open() as file:
            assert (member.read(), member.read(start=1), file.read()) == (content, content[1:], content)
        assert member.read(verify="size") == content
    assert whole.fs.cat_file("raw/day 1.csv") == whole.read("raw/day 1.csv") == b"1,2"
    assert (whole / "raw").cache() == path / "raw"
    assert sorted(found.name for found in whole.download(tmp_path / "copy").rglob("*.csv")) == ["day 1.csv", "day2.csv"]
    assert (whole / "raw").download(tmp_path / "part").is_dir()
    assert asked(pipeline) == before
    assert len(list((tmp_path / "cache").glob("??/*/*"))) == 1


def test_member_of_a_part_that_is_in_the_cache_is_found(
    pipeline: Pipeline, whole: DirectoryRef, tmp_path: Path
) -> None:
    part = whole / "raw"
    part.cache()
    before = asked(pipeline)
    part.download(tmp_path / "copy")
    assert asked(pipeline) == before
    assert (whole / "params.py").read() == b"fs = 1"
    assert asked(pipeline) > before


def spoil(path: Path, content: bytes) -> None:
    """Put other bytes into the cache as a disk that rots would: it looks as it was noted."""
    path.chmod(0o644)
    path.write_bytes(content)
    entry = path
    while entry.parent.parent.parent.name != "cache":
        entry = entry.parent
    record = entry.parent.with_suffix(".json")
    top = os.lstat(entry)
    look = f"{top.st_mode & 0o170000:o} {top.st_ino} {top.st_size} {top.st_mtime_ns} {top.st_ctime_ns}"
    ((name, (_, size, _)),) = json.loads(record.read_text()).items()
    record.write_text(json.dumps({name: [look_through(str(entry)), size, look]}))


def test_bytes_that_have_rotted_in_the_cache_are_not_handed_out_and_brought_again(
    pipeline: Pipeline, make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ref = make()
    spoil(ref.cache(), SPIKES[::-1])
    assert ref.read(verify="size") == SPIKES[::-1]
    assert ref.read() == SPIKES
    assert "is not what was brought" in caplog.text
    assert ref.cache().read_bytes() == SPIKES
    spoil(ref.cache(), SPIKES[::-1])
    assert ref.download(tmp_path / "a.dat").read_bytes() == SPIKES


def test_bad_file_costs_no_other_entry_that_has_it(pipeline: Pipeline, whole: DirectoryRef) -> None:
    member = whole / "params.py"
    own = member.cache()
    directory = whole.cache()
    assert own.parent != directory
    spoil(own, b"FS = 2")
    assert member.read() == b"fs = 1"
    assert not own.exists()
    before = asked(pipeline)
    assert whole.cache() == directory
    assert member.read() == b"fs = 1"
    assert asked(pipeline) == before


def test_read_that_begins_anew_begins_at_nothing_and_tells_each_byte_once(
    pipeline: Pipeline, make: Make, tmp_path: Path
) -> None:
    content = random.Random(1).randbytes(2 * 2**20)
    ref = make(("large.dat", content))
    for bad in (content[:-1] + b"?", content + b"behind"):
        spoil(ref.cache(), bad)
        told: list[int] = []
        path = pipeline.download(ref.metadata, tmp_path / f"{len(bad)}.dat", advance=told.append)
        assert path.read_bytes() == content
        assert sum(told) == len(content)


def test_range_of_a_file_that_is_too_short_in_the_cache_comes_from_the_store(
    pipeline: Pipeline, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    ref = make()
    spoil(path := ref.cache(), SPIKES[:10])
    assert ref.read(start=500, stop=600, verify="size") == SPIKES[500:600]
    assert f"{path} in the cache is not what was brought" in caplog.text
    assert not path.exists()


def test_use_is_told_of_by_store_and_bytes(pipeline: Pipeline, make: Make, root: Path) -> None:
    ref = make()
    used: list[str] = []

    def note(key: str) -> bool:
        used.append(key)
        return False

    settings = {"project": {"name": "lab"}, "storage": {"backend": "memory", "path": f"{root}/other"}}
    elsewhere = remember(f"{root}/other", Pipeline(parse_settings(settings, "test")))
    stored = elsewhere.ingest(elsewhere.plan(as_source(("spikes.dat", SPIKES)), Cell("s", "t", "a", ())))
    with watched(note):
        ref.read(), FileRef(stored, f"{root}/other").read(), ref.cache()
    assert stored.hash == ref.hash
    mine, others = entry_key(pipeline.stores, ref.metadata), entry_key(elsewhere.stores, stored)
    assert (used[0], used[-1], set(used)) == (mine, mine, {mine, others})
    assert mine != others


def test_what_was_changed_in_the_cache_is_left_alone_by_reads(
    pipeline: Pipeline, make: Make, whole: DirectoryRef
) -> None:
    ref, member = make(), whole / "params.py"
    for path in (ref.cache(), whole.cache() / "params.py"):
        path.chmod(0o644)
        path.write_bytes(b"other!")
    before = asked(pipeline)
    with ref.open() as file, member.open() as other:
        assert (file.read(), other.read()) == (SPIKES, b"fs = 1")
    assert member.read(verify="size") == b"fs = 1"
    assert asked(pipeline) > before


def test_read_waits_for_who_brings_the_file_and_open_does_if_it_is_a_prefetch(pipeline: Pipeline, make: Make) -> None:
    ref = make()
    inner: Any = pipeline.stores._backends["lab"]
    is_begun = threading.Event()

    def dawdle(_: str) -> None:
        is_begun.set()
        time.sleep(0.3)

    slow = FaultyBackend(inner, Fault("open", lasting=True, action=dawdle))
    pipeline.stores._backends["lab"] = slow

    def opened() -> bytes:
        with ref.open() as file:
            return bytes(file.read())

    ref.cache()
    once = slow.calls["read"]
    for read in (ref.read, opened):
        is_begun.clear()
        pipeline.cache.space.clear()
        before = slow.calls["read"]
        bringing = threading.Thread(target=ref.cache)
        bringing.start()
        assert is_begun.wait(10)
        with watched(lambda key: key == entry_key(pipeline.stores, ref.metadata)):
            assert read() == SPIKES
        bringing.join()
        assert slow.calls["read"] == before + once
