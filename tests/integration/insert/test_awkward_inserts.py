"""Inserts that go wrong easily: shared and spent streams, odd transactions, odd keys, late hooks."""

from __future__ import annotations

import io
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import datajoint as dj
import numpy as np
import pandas as pd
import pytest

import datajoint_file
from datajoint_file.config import parse_settings
from datajoint_file.errors import ConfigurationError, InvalidKeyError, StorageError, UnsupportedValueError
from datajoint_file.model.key_values import KeyValue
from datajoint_file.storage.bucket.gcs import GCSBackend
from datajoint_file.storage.factory import _connector
from datajoint_file.testing import FailingReader
from tests.projects import Store, connect, unique
from tests.tables import recording_of

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def table(schema: dj.Schema) -> Any:
    return recording_of(
        schema,
        """
        k : int32
        ---
        raw = null : file
        other = null : file
        note = "none" : varchar(20)
        """,
    )


def test_one_stream_for_two_values_is_refused(table: Any, store: Store) -> None:
    stream = io.BytesIO(CONTENT)
    with pytest.raises(
        UnsupportedValueError,
        match=r"Recording.raw \(k=2\).*: the same stream, .* is given for .*\(k=1\)",
    ):
        table.insert([{"k": 1, "raw": ("a", stream)}, {"k": 2, "raw": ("b", stream)}])
    with pytest.raises(UnsupportedValueError, match="the same stream"):
        table.insert1({"k": 1, "raw": stream, "other": ("b", stream)})
    assert store.object_keys() == []
    table.insert1({"k": 1, "raw": stream})
    assert table.fetch1("raw").read() == CONTENT


@pytest.mark.filterwarnings("ignore::datajoint_file.errors.SourceWarning")
def test_a_stream_whose_insert_failed_can_be_inserted_again(table: Any) -> None:
    table.insert1({"k": 1})
    stream = io.BytesIO(b"head" + CONTENT)
    stream.seek(4)
    with pytest.raises(dj.errors.DuplicateError):
        table.insert1({"k": 1, "raw": stream})
    with pytest.raises(datajoint_file.errors.SourceNotFoundError):
        table.insert([{"k": 2, "raw": stream}, {"k": 3, "raw": "/nowhere"}])
    table.insert1({"k": 2, "raw": stream})
    assert (table & "k=2").fetch1("raw").read() == CONTENT


def test_a_failing_stream_is_named_by_its_row(table: Any, store: Store) -> None:
    class Broken(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            raise RuntimeError("the microscope is off")

    with pytest.raises(datajoint_file.errors.SourceError, match=r"Recording.raw \(k=2\), row 1.*the microscope is off"):
        table.insert([{"k": 1, "raw": ("a", b"a")}, {"k": 2, "raw": Broken()}])
    assert store.object_keys() == []


def test_an_error_after_the_first_file_says_what_is_left(table: Any, store: Store) -> None:
    stream = FailingReader(CONTENT, after=10, error=ConnectionResetError("the rig was unplugged"))
    rows = [{"k": 1, "raw": ("a", io.BytesIO(b"a"))}, {"k": 2, "raw": ("b.bin", stream)}]  # streams go in turn
    with pytest.raises(datajoint_file.errors.SourceError) as caught:
        table.insert(rows)
    said = "(k=2), row 1: no row was written; 1 other file is stored: a retry does not send that again"
    assert said in str(caught.value)
    assert len(table()) == 0
    assert [key.rsplit("/", 1)[1] for key in store.object_keys()] == ["a"]


def test_two_pipelines_of_one_project_name_keep_apart(database: Any, tmp_path: Path) -> None:
    schema_name, tables = unique("schema"), []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        instance = connect(database)
        document = {"project": {"name": "lab"}, "storage": {"backend": "file", "path": str(tmp_path / name)}}
        datajoint_file.configure(document, connection=instance)
        schema = instance.Schema(f"{schema_name}_{name}")

        @schema
        class Recording(dj.Manual):
            definition = """
            k : int32
            ---
            raw : file
            """

        Recording.insert1({"k": 1, "raw": ("a.txt", name.encode())})
        tables.append((Recording.fetch1("raw"), Recording, schema, instance))
    first, second = tables
    assert (first[0].read(), second[0].read()) == (b"one", b"two")
    first[1].insert1({"k": 2, "raw": second[0]})
    assert (first[1] & "k=2").fetch1("raw").read() == b"two"
    assert first[0].read() == b"one"
    for _, _, schema, instance in tables:
        schema.drop(prompt=False)
        instance.connection.close()


@pytest.mark.parametrize("way", ["free", "virtual"])
def test_the_first_insert_of_a_process_without_the_package_stores_files(
    table: Any, database: Any, store: Store, tmp_path: Path, way: str
) -> None:
    (tmp_path / "datajoint.toml").write_text(
        f'[project]\nname = "{store.project}"\n[storage]\nbackend = "file"\npath = "{store.table["path"]}"\n'
        '[object_storage]\npartition_pattern = "k{k}"\n'
    )
    backend = table().adapter.backend
    target = {
        "free": f"instance.FreeTable({table.full_table_name!r})",
        "virtual": f"dj.VirtualModule('lab', {table.database!r}, connection=instance.connection).Recording()",
    }[way]
    code = f"""
import sys, warnings
warnings.simplefilter("ignore")
import datajoint as dj
instance = dj.Instance({database.host!r}, {database.user!r}, {database.password!r}, port={database.port},
                       use_tls=False, backend={backend!r})
table = {target}
table.insert1({{"k": 1, "raw": ("a.txt", "first note")}})
table.update1({{"k": 1, "other": ("b.txt", b"second")}})
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    row = table.fetch1()
    assert (row["raw"].read(), row["other"].read()) == (b"first note", b"second")
    assert row["raw"].path.startswith(f"{store.project}/k1/{table.database}/objects/Recording-raw/")


def test_a_transaction_opened_with_sql_is_the_users(table: Any) -> None:
    connection = table().connection
    connection.query(connection.adapter.start_transaction_sql())
    table.insert1({"k": 1, "raw": ("a", b"a")})
    table.insert1({"k": 2})
    connection.query("ROLLBACK")
    assert len(table()) == 0
    table.insert1({"k": 3, "raw": ("a", b"a")})
    connection.query("ROLLBACK")
    assert len(table()) == 1


def test_replace_keeps_rows_that_others_refer_to(schema: dj.Schema, table: Any) -> None:
    Recording = table  # the name in the definition

    @schema
    class Analysis(dj.Manual):
        definition = """
        -> Recording
        ---
        result : int32
        """

    table.insert1({"k": 1, "raw": ("a", b"old"), "note": "old"})
    table.insert1({"k": 9})
    table.insert(
        [
            {"k": 1, "raw": ("a", b"first")},
            {"k": 2, "raw": ("b", b"second")},
            {"k": 1, "raw": ("a", b"last")},
        ],
        replace=True,
    )
    rows = {row["k"]: row for row in Recording()}
    assert set(rows) == {1, 2, 9}
    assert (rows[1]["raw"].read(), rows[2]["raw"].read()) == (b"last", b"second")
    assert rows[1]["note"] == "none"


def test_replace_without_files_still_replaces(table: Any) -> None:
    table.insert1({"k": 1, "raw": ("a", b"a"), "note": "x"})
    table.insert1({"k": 1, "note": "y"}, replace=True)
    assert table.fetch1() == {"k": 1, "raw": None, "other": None, "note": "y"}


def test_the_database_says_which_keys_are_equal(schema: dj.Schema, store: Store) -> None:
    @schema
    class Named(dj.Manual):
        definition = """
        name : varchar(20)
        ---
        raw : file
        """

    Named.insert1({"name": "Anna", "raw": ("a", b"a")})
    is_sensitive = schema.connection.adapter.backend == "postgresql"
    Named.insert1({"name": "anna", "raw": ("a", b"b")}, skip_duplicates=True)
    assert len(Named()) == len(store.object_keys()) == (2 if is_sensitive else 1)


def test_a_malformed_key_is_refused_before_the_database_is_asked(table: Any) -> None:
    with pytest.raises(InvalidKeyError, match=r"Recording, row 0: the key attribute k = 'x\\ud800'"):
        table.insert([{"k": "x\ud800", "raw": ("a", b"a")}], skip_duplicates=True)


def test_keys_that_databases_read_are_accepted(schema: dj.Schema) -> None:
    @schema
    class Dated(dj.Manual):
        definition = """
        day : date
        ---
        raw : file
        """

    Dated.insert1({"day": "2024-1-5", "raw": ("a", b"a")})
    Dated.insert1({"day": "2024-01-05", "raw": ("a", b"b")}, skip_duplicates=True)
    assert Dated.fetch1("raw").read() == b"a"


def test_validate_agrees_with_insert(table: Any) -> None:
    frame = pd.DataFrame({"k": [1, 2], "raw": [np.nan, None]})
    assert table.validate(frame)
    assert not table.validate([{"k": "abc", "raw": ("a", b"a")}])
    table.insert(frame)
    assert len(table()) == 2


def test_skipping_many_rows_compares_each_a_few_times(table: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"k": k, "raw": None} for k in range(1000)]
    table.insert(rows)
    comparisons = 0
    original = KeyValue.__eq__

    def counted(value: KeyValue, other: object) -> bool:
        nonlocal comparisons
        comparisons += 1
        return original(value, other)

    monkeypatch.setattr(KeyValue, "__eq__", counted)
    table.insert(rows, skip_duplicates=True)
    assert len(table()) == 1000
    assert comparisons < 30 * len(rows)


CANARY = "ya29.CANARY0123456789"


def test_a_credential_in_a_clients_error_is_in_no_traceback() -> None:
    def connect_to_nobody() -> Any:
        raise RuntimeError(f"no answer from https://oauth2.example.org/tokeninfo?access_token={CANARY}")

    backend = GCSBackend("bucket", connect_to_nobody)
    with pytest.raises(StorageError, match=r"access_token=\*\*\*") as caught:
        backend.stat("lab/x/y")
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_a_token_for_google_is_not_sent_to_be_looked_up() -> None:
    settings = parse_settings(
        {
            "project": {"name": "lab"},
            "storage": {"backend": "gcs", "bucket": "b", "credentials": {"token": CANARY, "project": "p"}},
        },
        "test",
    )
    token = bare_filesystem_of(settings).credentials.credentials.token
    assert token == CANARY
    key = '{"type": "service_account", "private_key": "CANARY'
    broken = {"backend": "gcs", "bucket": "b", "credentials": {"token": key}}
    settings = parse_settings({"project": {"name": "lab"}, "storage": broken}, "test")
    with pytest.raises(ConfigurationError, match="is no JSON") as caught:
        bare_filesystem_of(settings)
    assert "CANARY" not in "".join(traceback.format_exception(caught.value))


def bare_filesystem_of(settings: Any) -> Any:
    return _connector(settings.storage, "gs", None)()


def test_small_mistakes_of_a_configuration_are_its_errors() -> None:
    project = {"name": "lab"}
    for storage, message in (
        ({"backend": "file", "path": "/data\x00/x"}, "path"),
        ({"backend": "http", "path": "http://anna:CANARY@host/x"}, "name them in credentials"),
    ):
        with pytest.raises(ConfigurationError, match=message) as caught:
            parse_settings({"project": project, "storage": storage}, "test")
        assert "CANARY" not in str(caught.value)
    table = {"backend": "memory", "path": "/x"}
    with pytest.raises(ConfigurationError, match="this project itself"):
        parse_settings({"project": project, "storage": table, "projects": {"lab": table}}, "test")
