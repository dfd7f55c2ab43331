"""Streams that users insert: named for what they give, refused at their end, warned of elsewhere."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

from datajoint_file.errors import SourceError, SourceWarning, UnsupportedValueError
from datajoint_file.transfer.source_readers import moved_by
from tests.projects import Store
from tests.tables import recording_of

CSV = b"x,y\n1,2\n"


@pytest.fixture
def table(schema: dj.Schema) -> Any:
    return recording_of(schema, "k : int32\n---\nraw : file")


def rows(table: Any) -> list[dict[str, Any]]:
    """Give the JSON of the rows as the database has it."""
    connection = table().connection
    quoted = connection.adapter.quote_identifier("raw")
    found = connection.query(
        f"SELECT CAST({quoted} AS char(2000)) FROM {table().full_table_name} ORDER BY k"
    ).fetchall()
    return [json.loads(text) for (text,) in found]


def test_what_comes_out_of_an_archive_is_no_archive(table: Any, tmp_path: Path) -> None:
    packed = tmp_path / "x.csv.gz"
    packed.write_bytes(gzip.compress(CSV))
    image = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
    with tarfile.open(tmp_path / "run.tar", "w") as archive:
        member = tarfile.TarInfo("inner/a.png")
        member.size = len(image)
        archive.addfile(member, io.BytesIO(image))
    with gzip.open(packed) as stream, tarfile.open(tmp_path / "run.tar") as archive:
        table.insert([{"k": 1, "raw": stream}, {"k": 2, "raw": archive.extractfile("inner/a.png")}])
    csv, png = rows(table)
    assert (csv["original_name"], csv["mime_type"], csv["size"]) == ("x.csv", "text/csv", len(CSV))
    assert png["original_name"] in ("raw.png", "a.png")  # before Python 3.12 nobody knows the member's name
    assert (png["mime_type"], png["size"]) == ("image/png", len(image))


def test_stream_that_was_written_and_not_put_back_leaves_neither_row_nor_object(table: Any, store: Store) -> None:
    stream = io.BytesIO()
    stream.write(CSV)
    with pytest.raises(SourceError, match=r"Recording\.raw \(k=1\): no row was written: .*seek\(0\)"):
        table.insert1({"k": 1, "raw": stream})
    assert (rows(table), store.object_keys()) == ([], [])
    assert not table.validate([{"k": 1, "raw": stream}]).is_valid
    stream.seek(0)
    table.insert1({"k": 1, "raw": stream})
    assert rows(table)[0]["size"] == len(CSV)


def test_stream_elsewhere_is_warned_of_once_a_statement_also_when_its_file_is_adopted(table: Any, store: Store) -> None:
    stream = io.BytesIO(CSV)
    stream.seek(4)
    connection = table().connection
    for is_kept in (False, True):
        connection.start_transaction()
        with pytest.warns(SourceWarning, match="stands at byte 4") as warned:
            table.insert1({"k": 1, "raw": ("x.csv", stream)})
        assert [warning.filename for warning in warned] == [__file__]
        (connection.commit_transaction if is_kept else connection.cancel_transaction)()
        if not is_kept:
            stream.seek(4)
    assert [row["size"] for row in rows(table)] == [len(CSV) - 4]
    assert len(store.object_keys()) == 1


def test_asynchronous_upload_leaves_neither_row_nor_object(table: Any, store: Store) -> None:
    class UploadFile:
        file = io.BytesIO(CSV)
        filename = "x.csv"

        async def read(self, size: int = -1) -> bytes:
            return self.file.read(size)

    with pytest.raises(UnsupportedValueError, match=r"read\(\) of UploadFile is asynchronous.*upload\.file"):
        table.insert1({"k": 1, "raw": UploadFile()})
    assert (rows(table), store.object_keys()) == ([], [])


def _temporary_and_its_file(path: Path) -> tuple[Any, Any]:
    file = tempfile.NamedTemporaryFile(dir=path.parent)  # noqa: SIM115 - closed with the test
    file.write(CSV * 1000)
    file.seek(0)
    return file, file.file


def _two_gzips(path: Path) -> tuple[Any, Any]:
    path.write_bytes(gzip.compress(CSV))
    file = path.open("rb")
    return gzip.GzipFile(fileobj=file), gzip.GzipFile(fileobj=file)


def _two_descriptors(path: Path) -> tuple[Any, Any]:
    path.write_bytes(CSV * 1000)
    file = path.open("rb")
    return file, os.fdopen(os.dup(file.fileno()), "rb")


@pytest.mark.parametrize("streams", [_temporary_and_its_file, _two_gzips, _two_descriptors])
def test_streams_that_move_each_other_are_refused(
    table: Any, store: Store, tmp_path: Path, streams: Callable[[Path], tuple[Any, Any]]
) -> None:
    first, second = streams(tmp_path / "shared")
    with pytest.raises((SourceError, UnsupportedValueError), match=r"reads from it|something else has moved it"):
        table.insert([{"k": 1, "raw": ("a", first)}, {"k": 2, "raw": ("b", second)}])
    assert rows(table) == []
    for stream in (first, second, moved_by(first), moved_by(second)):
        stream.close()


def test_a_stream_that_lies_about_where_it_stands_is_not_read_twice(table: Any) -> None:
    class Lying(io.RawIOBase):
        """Says that it is at its start, and that it can be put back."""

        def __init__(self) -> None:
            self._inner = io.BytesIO(CSV)

        def readable(self) -> bool:
            return True

        def seekable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            return self._inner.read(size)

        def seek(self, *_: int) -> int:
            return 0

        def tell(self) -> int:
            return 0

    with pytest.raises(ZeroDivisionError), table().connection.transaction:
        table.insert1({"k": 1, "raw": ("x.csv", Lying())})
        raise ZeroDivisionError  # what it has stored is left for a retry
    table.insert1({"k": 2, "raw": ("x.csv", Lying())})
    with pytest.raises(SourceError, match="cannot be put back"):
        table.insert1({"k": 1, "raw": ("x.csv", Lying())})
    (only,) = rows(table)
    assert only["size"] == len(CSV)
