"""`prefetch` into the cache: in the background, behind whoever uses the files; what fails is told where it is used."""

from __future__ import annotations

import glob
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest
import zarr

import datajoint_file
from datajoint_file.cache.entries import Cache
from datajoint_file.errors import MetadataError, ObjectNotFoundError, StorageUnavailableError, UnsupportedValueError
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.testing.faults import Fault, FaultyBackend
from tests.conftest import CACHE_VARIABLE
from tests.projects import Store, over_mysql

COUNT = 8
WORK_SECONDS = AFAR_SECONDS = 0.3

over_s3 = pytest.mark.parametrize("store", ["s3"], indirect=True)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def filled(place: Path, table: Any) -> Any:
    table.insert({"id": number, "raw": (f"{number}.dat", bytes([number]) * 100)} for number in range(COUNT))
    return table


def found(place: Path, pattern: str) -> list[str]:
    """Return what is in a cache, and what is being brought, as `Path.glob`, which fails at directories that go."""
    hidden = pattern.replace("/*/", "/.*/")
    return glob.glob(pattern, root_dir=place) + glob.glob(hidden, root_dir=place)  # noqa: PTH207


def number_here(place: Path) -> int:
    return len(found(place, "??/*/*.dat"))


def wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.02)


def set_afar(table: Any, *faults: Fault) -> FaultyBackend:
    """Let the store have faults, the first of which is by default that it is far away."""
    pipeline = pipeline_of(table)
    slow = Fault("open", 1, lasting=True, action=lambda _: time.sleep(AFAR_SECONDS))
    backend = FaultyBackend(pipeline.backend, *(faults or (slow,)))
    pipeline.stores._backends[pipeline.project] = backend
    return backend


def read_or_open(ref: Any) -> int:
    if ref.name.startswith(tuple("0246")):
        return len(ref.load(format=".txt"))
    with ref.open() as file:
        return len(file.read())


@over_mysql
@over_s3
@pytest.mark.parametrize("length_of", [lambda ref: Path(ref).stat().st_size, read_or_open], ids=["path", "read, open"])
def test_populate_does_not_wait_for_the_store(
    place: Path, schema: dj.Schema, filled: Any, length_of: Callable[[Any], int]
) -> None:
    Recording = filled

    @schema
    class Length(dj.Computed):
        definition = "-> Recording\n---\nlength : int32"

        def make(self, key: Any) -> None:
            ref = (Recording & key).fetch1("raw")
            start = time.monotonic()
            length = length_of(ref)
            waited.append(time.monotonic() - start)
            time.sleep(WORK_SECONDS)
            self.insert1({**key, "length": length})

    waited: list[float] = []
    backend = set_afar(filled)
    with datajoint_file.prefetch(filled - Length, "raw", ahead=3):
        Length.populate()
    assert len(Length & "length = 100") == len(waited) == COUNT
    assert backend.calls["open"] == COUNT == number_here(place)
    assert sum(waited[1:]) < (COUNT - 1) * AFAR_SECONDS / 2


@over_mysql
@over_s3
def test_only_so_many_rows_beyond_the_last_use_are_brought(filled: Any, place: Path, tmp_path: Path) -> None:
    refs = list(filled.to_arrays("raw", order_by="id"))
    with datajoint_file.prefetch(filled, ahead=2):
        wait_until(lambda: number_here(place) == 2)
        refs[3].cache()  # 0 to 2 are behind: another worker may have them
        wait_until(lambda: number_here(place) == 5)
        time.sleep(0.2)
        assert [os.path.relpath(ref, place) in found(place, "??/*/*.dat") for ref in refs[4:6]] == [True, True]
        assert number_here(place) <= 8


@over_mysql
@over_s3
def test_later_row_of_the_same_bytes_is_brought_as_well(place: Path, table: Any) -> None:
    table.insert({"id": number, "raw": (f"{number}.dat", bytes([number % 4]) * 100)} for number in range(8))
    refs = list(table.to_arrays("raw", order_by="id"))
    with datajoint_file.prefetch(table, ahead=2):
        wait_until(lambda: number_here(place) == 2)
        refs[3].cache()
        wait_until(lambda: {"4.dat", "5.dat"} <= set(map(os.path.basename, found(place, "??/*/*.dat"))))
        refs[3].cache()  # once more, which is no use of row 7
        time.sleep(0.2)
        assert not {"6.dat", "7.dat"} & set(map(os.path.basename, found(place, "??/*/*.dat")))


@over_mysql
@over_s3
def test_what_other_processes_use_counts_as_well(filled: Any, place: Path, store: Store, tmp_path: Path) -> None:
    refs = list(filled.to_arrays("raw", order_by="id"))
    (tmp_path / "datajoint.toml").write_text(toml_of(store))
    with datajoint_file.prefetch(filled, ahead=2):
        wait_until(lambda: number_here(place) == 2)
        code = "import pickle, sys; [ref.cache() for ref in pickle.load(sys.stdin.buffer)]"
        command = [sys.executable, "-W", "ignore", "-c", code]
        subprocess.run(command, input=pickle.dumps(refs[:2]), cwd=tmp_path, check=True)
        wait_until(lambda: number_here(place) == 4)


def toml_of(store: Store) -> str:
    lines = ["[project]", f'name = "{store.project}"', "[storage]"]
    lines += [f'{key} = "{value}"' for key, value in store.table.items() if isinstance(value, str)]
    lines += ["[storage.credentials]", *(f'{key} = "{value}"' for key, value in store.table["credentials"].items())]
    return "\n".join(lines)


@over_mysql
@over_s3
def test_use_waits_for_the_transfer_that_is_under_way(filled: Any, place: Path) -> None:
    backend = set_afar(filled)
    refs = list(filled.to_arrays("raw", order_by="id"))
    with datajoint_file.prefetch(filled, ahead=COUNT, workers=COUNT):
        time.sleep(AFAR_SECONDS / 3)
        assert [ref.cache().read_bytes()[0] for ref in refs] == list(range(COUNT))
    assert backend.calls["open"] == COUNT


@over_mysql
@over_s3
def test_errors_are_raised_where_a_file_is_used_and_nowhere_else(filled: Any, store: Store, place: Path) -> None:
    refs = list(filled.to_arrays("raw", order_by="id"))
    store.remove(refs[2].path)
    quote = filled().connection.adapter.quote_identifier
    where = f"WHERE {quote('id')} = 4"
    filled().connection.query(f"UPDATE {filled().full_table_name} SET {quote('raw')} = '[]' {where}")
    with datajoint_file.prefetch(filled) as rows:
        wait_until(lambda: number_here(place) == COUNT - 2)
        with pytest.raises(ObjectNotFoundError):
            refs[2].cache()
        assert [next(rows)["raw"].name for _ in range(2)] == ["0.dat", "1.dat"]
        with pytest.raises(ObjectNotFoundError):
            next(rows)
        assert next(rows) == {"id": 3, "raw": refs[3].cache(), "extra": None}
        with pytest.raises(MetadataError, match="id=4"):
            next(rows)
        assert [row["id"] for row in rows] == [5, 6, 7]
    assert number_here(place) == COUNT - 2


@over_mysql
@over_s3
def test_directories_that_are_worked_on_stay_in_a_cache_that_is_too_small(
    place: Path, schema: dj.Schema, table: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(pipeline_of(table).reads.cached.__dict__, "cache", Cache(place, 400_000))
    Movie, expected = table, 10_000 * 5
    for number in range(5):
        movie = zarr.create_array(
            tmp_path / f"{number}.zarr", shape=(10, 1000), chunks=(1, 1000), dtype="i8", compressors=None
        )
        movie[:] = 5 + number
        table.insert1({"id": number, "raw": tmp_path / f"{number}.zarr"})

    @schema
    class Total(dj.Computed):
        definition = "-> Movie\n---\ntotal : int64"

        def make(self, key: Any) -> None:
            movie: Any = zarr.open((Movie & key).fetch1("raw").cache(), mode="r")
            first = int(movie[0].sum())
            time.sleep(WORK_SECONDS)
            paths.append(len(found(place, "??/*/*.zarr/zarr.json")))
            total = first + int(movie[1:].sum()) - 10_000 * key["id"]
            self.insert1({**key, "total": total})

    paths: list[int] = []
    with datajoint_file.prefetch(table - Total, "raw"):
        Total.populate()
    assert list(Total.to_arrays("total")) == [expected] * 5
    assert max(paths) <= 4


@over_mysql
@over_s3
def test_leaving_the_block_stops_what_is_under_way(filled: Any, place: Path) -> None:
    is_begun, may_go_on = threading.Event(), threading.Event()

    def hold(_: str) -> None:
        is_begun.set()
        may_go_on.wait(30)
        raise StorageUnavailableError("the store has gone")

    set_afar(filled, Fault("open", 2, lasting=True, action=hold))
    with datajoint_file.prefetch(filled, ahead=COUNT, workers=2):
        assert is_begun.wait(30)
        threading.Timer(0.1, may_go_on.set).start()
    assert number_here(place) <= 1
    assert not list(place.glob("??/.*"))


@over_mysql
def test_on_a_disk_files_are_verified_ahead_and_not_copied(filled: Any, place: Path, store: Store) -> None:
    with datajoint_file.prefetch(filled, "raw") as rows:
        paths = [row["raw"] for row in rows]
    assert [path.read_bytes()[0] for path in paths] == list(range(COUNT))
    assert all(Path(store.table["path"]) in path.parents for path in paths)
    assert not place.exists()


@over_mysql
def test_attribute_that_the_query_lacks_is_refused(filled: Any) -> None:
    with pytest.raises(UnsupportedValueError, match="no `file` attribute 'row'; did you mean 'raw'"):
        datajoint_file.prefetch(filled, "row")
