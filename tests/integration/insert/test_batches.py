"""Many files in one insert: side by side where that is safe, in turn where it is not, each in its own row."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

from datajoint_file.errors import SourceError, StorageUnavailableError
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.insert.uploads import GROUP_SIZE
from datajoint_file.journal.schema_registry import ensure_marked
from datajoint_file.testing import Fault, FaultyBackend
from tests.projects import Store, over_all_stores, over_local_and_s3
from tests.tables import recording_of

PATIENCE_SECONDS = 20


@pytest.fixture
def table(schema: dj.Schema) -> Any:
    return recording_of(schema, "k : int32\n---\nraw : file")


def faulty(table: Any, *faults: Fault) -> FaultyBackend:
    pipeline = pipeline_of(table().connection, table().database)
    ensure_marked(pipeline, table().connection, table().database)  # its marks are not meant
    backend = FaultyBackend(pipeline.backend, *faults)
    pipeline.stores._backends[pipeline.project] = backend
    return backend


def contents_of(table: Any, store: Store) -> dict[int, bytes]:
    """Look into the store, past the package."""
    return {row["k"]: store.content(row["raw"].path) for row in table.to_dicts()}


@over_all_stores
def test_each_file_of_a_large_batch_is_in_its_own_row(table: Any, store: Store) -> None:
    contents = {k: hashlib.sha256(bytes([k])).digest() * (k + 1) for k in range(40)}
    table.insert({"k": k, "raw": (f"{k}.dat", content)} for k, content in contents.items())
    assert contents_of(table, store) == contents


@over_local_and_s3
def test_sizes_around_every_limit_go_together(table: Any, store: Store, tmp_path: Path) -> None:
    sizes = [0, 1, 2**20 - 1, 2**20, 2**20 + 1, 5 * 2**20 - 1, 5 * 2**20, 5 * 2**20 + 1, 17 * 2**20 + 3]
    contents = {k: hashlib.sha256(bytes([k])).digest() * (size // 32 + 1) for k, size in enumerate(sizes)}
    contents = {k: contents[k][:size] for k, size in enumerate(sizes)}
    for k, content in contents.items():
        (tmp_path / f"{k}.dat").write_bytes(content)
    table.insert({"k": k, "raw": tmp_path / f"{k}.dat"} for k in contents)
    assert contents_of(table, store) == contents
    assert {row["k"]: row["raw"].hash for row in table.to_dicts()} == {
        k: f"sha256:{hashlib.sha256(content).hexdigest()}" for k, content in contents.items()
    }


def test_more_than_a_group_of_small_files_is_stored(table: Any, store: Store) -> None:
    count = 2 * GROUP_SIZE + 1
    table.insert({"k": k, "raw": ("x.dat", str(k).encode())} for k in range(count))
    assert contents_of(table, store) == {k: str(k).encode() for k in range(count)}
    assert not [key for key in store.all_keys() if "~partial-" in key]


@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_uploads_over_a_network_wait_together(table: Any) -> None:
    together = threading.Barrier(4, timeout=PATIENCE_SECONDS)
    faulty(table, *[Fault("upload", call=call, action=lambda key: together.wait()) for call in range(1, 5)])
    table.insert({"k": k, "raw": ("x.dat", bytes([k]))} for k in range(4))
    assert len(table()) == 4


@pytest.mark.parametrize("store", ["s3"], indirect=True)
@pytest.mark.parametrize(("size", "expected"), [(12 * 2**20, 4), (100, 8)])
def test_few_large_files_go_over_a_network_at_a_time(table: Any, size: int, expected: int, tmp_path: Path) -> None:
    threads: set[int] = set()
    path = tmp_path / "recording.dat"
    path.write_bytes(bytes(size))
    note = [Fault("upload", call=call, action=lambda key: threads.add(threading.get_ident())) for call in range(1, 9)]
    together = threading.Barrier(expected, timeout=PATIENCE_SECONDS)
    wait = [Fault("upload", call=call, action=lambda key: together.wait()) for call in range(1, expected + 1)]
    faulty(table, *note, *wait)
    table.insert({"k": k, "raw": path} for k in range(8))
    assert len(threads) == expected


def test_members_of_one_archive_are_read_in_turn(table: Any, store: Store) -> None:
    """They share a position in the archive: read side by side, each would give pieces of the others."""
    contents = {k: hashlib.sha256(bytes([k])).digest() * 40_000 for k in range(6)}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for k, content in contents.items():
            member = tarfile.TarInfo(f"{k}.dat")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    archive.seek(0)
    with tarfile.open(fileobj=archive) as tar:
        table.insert({"k": k, "raw": (f"{k}.dat", tar.extractfile(f"{k}.dat"))} for k in contents)
    assert contents_of(table, store) == contents


@over_local_and_s3
def test_the_first_error_stops_the_rest_and_leaves_no_row(table: Any, store: Store) -> None:
    backend = faulty(table, Fault("upload", call=3))
    with pytest.raises(StorageUnavailableError, match=r"\(k=\d+\), row \d+: no row was written"):
        table.insert({"k": k, "raw": ("x.dat", b"x" * 1000)} for k in range(300))
    assert len(table()) == 0
    assert backend.calls["upload"] < 300
    table.insert({"k": k, "raw": ("x.dat", b"x" * 1000)} for k in range(300))
    assert len(table()) == 300
    assert len(store.object_keys()) == 300


class Unplugged(io.RawIOBase):
    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        raise ConnectionResetError("the rig was unplugged")


@over_local_and_s3
def test_a_stream_that_fails_is_named_among_many(table: Any, store: Store) -> None:
    rows: list[dict[str, Any]] = [{"k": k, "raw": ("x.dat", b"x")} for k in range(20)]
    rows[13]["raw"] = ("x.dat", Unplugged())
    with pytest.raises(SourceError, match=r"\(k=13\), row 13: no row was written"):
        table.insert(rows)
    assert len(table()) == 0


def endless(size: int) -> Iterator[bytes]:
    for start in range(0, size, 100_003):
        yield hashlib.sha256(start.to_bytes(8, "big")).digest() * 3126


@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_a_stream_of_unknown_length_is_stored_part_by_part(table: Any, store: Store) -> None:
    pieces = list(endless(23 * 2**20))

    class Whole(io.RawIOBase):
        def __init__(self) -> None:
            self.inner = io.BytesIO(b"".join(pieces))

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any, /) -> int:
            return self.inner.readinto(memoryview(buffer)[:50_001])

        def seekable(self) -> bool:
            return False

    table.insert1({"k": 1, "raw": ("x.dat", Whole())})
    assert contents_of(table, store) == {1: b"".join(pieces)}
