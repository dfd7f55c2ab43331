"""What a retry takes over: objects that have its very bytes, whatever an intent says of them."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from tests.projects import Store, connect, over_all_stores, over_local_and_s3, over_mysql, unique
from tests.tables import recording_of


class Interruption(Exception):
    """Ends a transaction."""


def insert_and_roll_back(table: Any, *rows: dict[str, Any]) -> None:
    with pytest.raises(Interruption), table().connection.transaction:
        table.insert(rows)
        raise Interruption


def read(table: Any) -> bytes:
    return bytes((table & {"id": 1}).fetch1("raw").read())


def journal(table: Any, schema: str = "") -> str:
    return str(table().connection.adapter.make_full_table_name(schema or table().database, "~file_intent"))


class CountedStream(io.BytesIO):
    """Counts what is read of it."""

    count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        chunk = super().read(size)
        self.count += len(chunk)
        return chunk


@over_mysql
@over_local_and_s3
def test_an_object_that_was_damaged_is_not_adopted(table: Any, store: Store) -> None:
    row = {"id": 1, "raw": ("a.dat", b"recording")}
    insert_and_roll_back(table, row)
    (key,) = store.object_keys()
    store.damage(key, b"\0" * 9)
    table.insert1(row)
    assert read(table) == b"recording"


@over_mysql
def test_an_object_that_was_damaged_in_its_place_is_not_adopted(table: Any, store: Store) -> None:
    row = {"id": 1, "raw": ("a.dat", b"recording")}
    insert_and_roll_back(table, row)
    (path,) = (path for path in Path(store.table["path"]).rglob("a.dat"))
    before = path.stat()
    path.chmod(0o644)
    path.write_bytes(b"\0" * 9)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    table.insert1(row)
    assert read(table) == b"recording"


def test_an_intent_that_claims_another_hash_is_not_believed(table: Any, store: Store, database: Any) -> None:
    insert_and_roll_back(table, {"id": 1, "raw": ("a.dat", b"forgeries")})
    connection = table().connection
    ((number, metadata),) = connection.query(f"SELECT number, metadata FROM {journal(table)}").fetchall()
    forged = json.dumps({**json.loads(metadata), "hash": f"sha256:{hashlib.sha256(b'recording').hexdigest()}"})
    connection.query(
        f"UPDATE {journal(table)} SET metadata = %s, lease_until = lease_until - INTERVAL '1' HOUR WHERE number = %s",
        (forged, number),
    )
    second = connect(database)
    datajoint_file.configure(store.configuration(), connection=second)
    theirs = dj.FreeTable(second.connection, table().full_table_name)
    theirs.insert1({"id": 1, "raw": ("a.dat", b"recording")})
    second.connection.close()
    assert read(table) == b"recording"


@over_mysql
def test_a_source_is_hashed_once_whatever_earlier_attempts_have_left(table: Any, store: Store) -> None:
    size = 2**20
    for attempt in range(4):
        stream = CountedStream(bytes([attempt]) * size)
        insert_and_roll_back(table, {"id": 1, "raw": ("a.dat", stream)})
        assert stream.count < 2.5 * size, "once to compare, once to send"
    assert len(store.object_keys()) == 4
    again = CountedStream(bytes([1]) * size)
    table.insert1({"id": 1, "raw": ("a.dat", again)})
    assert len(store.object_keys()) == 4
    assert again.count < 1.5 * size
    assert read(table) == bytes([1]) * size


@over_mysql
@over_all_stores
def test_a_retry_in_the_same_process_reads_nothing_back(
    table: Any, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    row = {"id": 1, "raw": ("a.dat", b"recording"), "extra": ("b.dat", b"x" * 20_000_000)}
    insert_and_roll_back(table, row)
    with caplog.at_level(logging.DEBUG, "datajoint_file.storage"):
        table.insert1(row)
    said = [record.getMessage() for record in caplog.records if record.name == "datajoint_file.storage"]
    said = [line for line in said if "~registry" not in line]  # a disk is asked for its mark before each insert
    assert [verb for verb in (line.split()[0] for line in said) if verb != "publish"] == ["stat", "stat"]
    assert len(store.object_keys()) == 2


@over_mysql
def test_an_intent_that_was_copied_from_another_schema_is_not_adopted(
    table: Any, pipeline: dj.Instance, store: Store
) -> None:
    row = {"id": 1, "raw": ("a.dat", b"recording")}
    insert_and_roll_back(table, row)
    copy = pipeline.Schema(unique("schema"))
    theirs = recording_of(copy)
    theirs.insert1({"id": 2, "raw": ("a.dat", b"other")})
    pipeline.connection.query(f"INSERT INTO {journal(table, copy.database)} SELECT * FROM {journal(table)}")
    theirs.insert1(row)
    key = json.loads(
        pipeline.connection.query(f"SELECT raw FROM {theirs().full_table_name} WHERE id = 1").fetchone()[0]
    )
    assert f"/{copy.database}/objects/" in key["path"]
    table.insert1(row)
    copy.drop(prompt=False)
    assert len(store.object_keys()) == 3
