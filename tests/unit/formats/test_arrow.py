"""Files of Arrow and Parquet that become more than they say, or say it where few look; and tables that only look so."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from datajoint_file.errors import FormatError, UnsafeContentError
from datajoint_file.formats import limits
from datajoint_file.preview import Subject, preview_file
from tests.unit.conftest import InChild
from tests.unit.formats.conftest import Keep

ROWS = 20_000_000
END_OF_STREAM = struct.pack("<iI", -1, 0)


def feather(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pa.feather.write_feather(table, out, compression="lz4", chunksize=max(len(table), 1))
    return out.getvalue()


def plain() -> bytes:
    return feather(pa.table({"a": np.zeros(ROWS, "u1")}))


def less_than_nothing() -> bytes:
    """A buffer says that it has so many bytes less than none as the others have more."""
    content = feather(pa.table({"a": np.zeros(ROWS, "u1"), "b": pa.nulls(ROWS, pa.int8())}))
    bitmap = struct.pack("<q", (ROWS + 7) // 8) + b"\x04\x22\x4d\x18"  # and LZ4's first bytes
    assert content.count(bitmap) == 1
    place = content.index(bitmap)
    return content[:place] + struct.pack("<q", -2 * ROWS) + content[place + 8 :]


def behind_the_end() -> bytes:
    """The stream ends after the schema, and the footer goes on to name a batch."""
    content = plain()
    schema = 8 + 8 + struct.unpack_from("<i", content, 12)[0]
    footer = content.rindex(struct.pack("<q", schema))
    moved = content[:footer] + struct.pack("<q", schema + 8) + content[footer + 8 :]
    return moved[:schema] + END_OF_STREAM + moved[schema:]


def as_arrow_0_17_did() -> bytes:
    """Compressed by a word in the metadata of the message, and nothing in the place for it."""
    data = bytes(ROWS)
    packed = struct.pack("<q", len(data)) + pa.compress(data, "lz4", asbytes=True)
    batch = pa.record_batch({"a": np.frombuffer(packed, "u1")})
    out = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(metadata_version=pa.ipc.MetadataVersion.V4)
    with pa.ipc.new_file(out, batch.schema, options=options) as file:
        file.write_batch(batch, custom_metadata={"ARROW:experimental_compression": "lz4"})
    return out.getvalue()


def in_dictionaries() -> bytes:
    return feather(pa.table({"a": pa.array(["a" * ROWS]).dictionary_encode()}))


BOMBS = [plain, less_than_nothing, behind_the_end, as_arrow_0_17_did, in_dictionaries]


@pytest.mark.parametrize("bomb", BOMBS)
def test_arrow_is_asked_before_anything_is_decompressed(keep: Keep, in_child: InChild, bomb: Any) -> None:
    content = bomb()
    assert len(content) < 200_000

    def taken() -> tuple[str, int, int]:
        limits.ALWAYS = 2**20
        pool = pa.proxy_memory_pool(pa.default_memory_pool())
        pa.set_memory_pool(pool)
        with pytest.raises(UnsafeContentError, match="times as many"):
            keep(("a.feather", content)).load()
        loading = pool.max_memory()
        import datajoint_file.preview.tables

        datajoint_file.preview.tables._MOST_UNPACKED = 2**20
        shown = preview_file(Subject("a.feather", len(content), None, lambda: io.BytesIO(content)))
        return str(shown), loading, pool.max_memory()

    shown, loading, previewing = in_child(taken)
    assert "too large for its first rows" in shown
    assert max(loading, previewing) < 2**20


def test_texts_that_parquet_writes_once_are_counted_as_often_as_they_are(
    keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ALWAYS", 2**22)
    label = ["a" * 10_000] * 2000
    for column in (label, [[text] for text in label], [{"b": text} for text in label]):
        out = io.BytesIO()
        pa.parquet.write_table(pa.table({"a.b": pa.array(column), "n": range(2000)}), out, compression="zstd")
        assert pa.parquet.read_metadata(out).row_group(0).total_byte_size < 50_000
        with pytest.raises(UnsafeContentError, match="times as many"):
            keep(("a.parquet", out.getvalue())).load()
    categories = pd.DataFrame({"a": pd.Categorical(label)})
    assert keep(("a.parquet", categories)).load().equals(categories)  # which has it once


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
def test_columns_of_nothing_become_objects(keep: Keep, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.setattr(limits, "ALWAYS", 2**22)
    out = io.BytesIO()
    table = pa.table({"a": pa.nulls(2**20)})
    pa.parquet.write_table(table, out) if suffix == "parquet" else pa.feather.write_feather(table, out)
    with pytest.raises(UnsafeContentError, match="times as many"):
        keep((f"a.{suffix}", out.getvalue())).load()


def test_an_old_feather_is_not_read_since_nothing_in_it_is_checked(keep: Keep) -> None:
    with pytest.raises(FormatError, match="Feather of version 1"):
        keep(("a.feather", b"FEA1" + bytes(60) + b"FEA1")).load()
