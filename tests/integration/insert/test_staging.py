"""Files stored before their rows are, and uploads that take longer than the server waits."""

from __future__ import annotations

import pickle
import shutil
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest
from datajoint.errors import DuplicateError
from deepdiff import DeepHash

import datajoint_file
from datajoint_file.errors import InvalidKeyError, LeaseLostError, UnsupportedValueError
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.journal.schema_registry import ensure_marked
from datajoint_file.testing import FaultyBackend, SlowReader
from tests.integration.journal.test_journal import intents, paths
from tests.projects import Store, connect, over_all_stores, over_mysql

"""Where a transaction goes on after a statement of it has failed."""


@over_all_stores
def test_a_staged_file_is_inserted_without_sending_it_again(table: Any, store: Store) -> None:
    staged = datajoint_file.stage(table, {"id": 1}, "raw", ("a.dat", b"recording"))
    assert store.object_keys() == [staged.path]
    assert len(table()) == 0

    table.insert1({"id": 1, "raw": pickle.loads(pickle.dumps(staged)), "extra": ("b.dat", b"not staged")})

    ref = (table & {"id": 1}).fetch1("raw")
    assert (ref.path, ref.size, ref.hash) == (staged.path, staged.size, staged.hash)
    assert ref.read() == b"recording"
    assert intents(table) == []


def test_staging_again_gives_the_same_object(table: Any, store: Store) -> None:
    first = datajoint_file.stage(table, {"id": 1}, "raw", ("a.dat", b"recording"))
    again = datajoint_file.stage(table(), {"id": 1, "other": 3}, "raw", ("a.dat", b"recording"))
    assert first.path == again.path
    assert store.object_keys() == [first.path]
    table.insert1({"id": 1, "raw": again})
    assert paths(table) == {first.path}


def test_a_staged_file_is_a_value(table: Any) -> None:
    staged = datajoint_file.stage(table, {"id": 1}, "raw", ("a.dat", b"recording"))
    copy = pickle.loads(pickle.dumps(staged))
    assert copy == staged
    assert hash(copy) == hash(staged)
    assert DeepHash(copy)[copy] == DeepHash(staged)[staged]
    with pytest.raises(AttributeError):
        staged.metadata = None  # type: ignore[misc,assignment]


def test_a_staged_file_fits_its_own_place_only(table: Any, schema: dj.Schema) -> None:
    @schema
    class Other(dj.Manual):
        definition = "id : int32\n---\nraw : file"

    staged = datajoint_file.stage(table, {"id": 1}, "raw", ("a.dat", b"recording"))
    with pytest.raises(UnsupportedValueError, match="another primary key"):
        table.insert1({"id": 2, "raw": staged})
    with pytest.raises(UnsupportedValueError, match=r"staged for .*Recording.raw"):
        table.insert1({"id": 1, "raw": ("b.dat", b""), "extra": staged})
    with pytest.raises(UnsupportedValueError, match=r"staged for .*Recording.raw"):
        Other.insert1({"id": 1, "raw": staged})
    assert table().validate([{"id": 1, "raw": staged, "extra": None}]).is_valid
    table.insert1({"id": 1, "raw": staged})


def test_a_staged_file_cannot_be_inserted_twice(table: Any) -> None:
    staged = datajoint_file.stage(table, {"id": 1}, "raw", ("a.dat", b"recording"))
    table.insert1({"id": 1, "raw": staged})
    with pytest.raises(datajoint_file.errors.LeaseLostError):
        table.update1({"id": 1, "raw": staged})
    assert (table & {"id": 1}).fetch1("raw").read() == b"recording"


@over_mysql
def test_a_staged_file_outlives_an_insert_that_fails_in_a_transaction_that_goes_on(table: Any) -> None:
    staged = datajoint_file.stage(table, {"id": 1}, "raw", ("a.dat", b"new"))
    table.insert1({"id": 1, "raw": ("a.dat", b"old")})
    with table.connection.transaction:
        for _ in range(2):
            with pytest.raises(DuplicateError):
                table.insert([{"id": 1, "raw": staged, "extra": ("b.dat", b"b")}])
        (table & {"id": 1}).delete_quick()
        table.insert1({"id": 1, "raw": staged})
    assert table.fetch1("raw").read() == b"new"
    assert len(intents(table)) == 2  # of the files that were not staged


@over_mysql
@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_a_staged_file_outlives_the_transaction_in_which_its_insert_failed(table: Any, end: str) -> None:
    staged = datajoint_file.stage(table, {"id": 1}, "raw", ("a.dat", b"new"))
    noted = intents(table, "number, write_id, state, holder")
    table.insert1({"id": 1, "raw": ("a.dat", b"old")})
    table.connection.query("START TRANSACTION")
    with pytest.raises(DuplicateError):
        table.insert1({"id": 1, "raw": staged})
    table.connection.query(end)
    assert intents(table, "number, write_id, state, holder") == noted
    table.delete_quick()
    table.insert1({"id": 1, "raw": pickle.loads(pickle.dumps(staged))})
    assert table.fetch1("raw").read() == b"new"
    assert intents(table) == []


@pytest.mark.parametrize("is_open", [True, False], ids=["in a transaction", "by itself"])
def test_a_staged_file_outlives_an_insert_in_which_another_row_replaces_its_own(table: Any, is_open: bool) -> None:
    first, last = (datajoint_file.stage(table, {"id": 1}, "raw", ("a.dat", content)) for content in (b"1", b"last"))
    with table.connection.transaction if is_open else nullcontext():
        table.insert([{"id": 1, "raw": first}, {"id": 1, "raw": last}], replace=True)
    assert table.fetch1("raw").read() == b"last"
    assert intents(table, "number") == [(first.write.number,)]
    table.update1({"id": 1, "raw": first})
    assert table.fetch1("raw").read() == b"1"
    assert intents(table) == []


def test_what_cannot_be_staged_is_refused(table: Any) -> None:
    with pytest.raises(UnsupportedValueError, match="no `file` attribute"):
        datajoint_file.stage(table, {"id": 1}, "id", ("a.dat", b""))
    with pytest.raises(InvalidKeyError):
        datajoint_file.stage(table, {}, "raw", ("a.dat", b""))
    with pytest.raises(UnsupportedValueError):
        datajoint_file.stage(table, {"id": 1}, "raw", None)
    with pytest.raises(UnsupportedValueError):
        datajoint_file.stage(table, {"id": 1}, "raw", 12)


def test_a_three_part_make_stages_before_its_transaction(schema: dj.Schema, store: Store) -> None:
    open_while_staging = []

    @schema
    class Subject(dj.Manual):
        definition = "id : int32"

    @schema
    class Movie(dj.Computed):
        definition = "-> Subject\n---\nraw : file"
        fails = True

        def make_fetch(self, key: dict[str, Any]) -> tuple[int]:
            return (key["id"],)

        def make_compute(self, key: dict[str, Any], id_: int) -> tuple[Any]:
            open_while_staging.append(self.connection.in_transaction)
            return (datajoint_file.stage(self, key, "raw", ("movie.mp4", bytes([id_]) * 1000)),)

        def make_insert(self, key: dict[str, Any], raw: Any) -> None:
            self.insert1({**key, "raw": raw})
            if self.fails:
                raise RuntimeError("after the insert")

    Subject.insert([{"id": 1}, {"id": 2}])
    pipeline = pipeline_of(schema.connection)
    ensure_marked(pipeline, schema.connection, schema.database)
    counted = pipeline.stores._backends[pipeline.project] = FaultyBackend(pipeline.backend)
    Movie.populate(suppress_errors=True)
    assert (len(Movie()), counted.uploaded_bytes) == (0, 2000)

    Movie.fails = False
    Movie.populate()

    assert (len(Movie()), counted.uploaded_bytes) == (2, 2000)
    assert open_while_staging == [False] * 4
    assert len(store.object_keys()) == 2


SHORT = {
    "mysql": "SET SESSION wait_timeout = 1",
    "postgresql": "SET idle_in_transaction_session_timeout = '1s'",
}


@pytest.mark.parametrize(
    ("database", "kind"),
    [("mysql", "transaction"), ("mysql", "no transaction"), ("postgresql", "transaction")],
    indirect=["database"],
)
def test_a_session_outlives_an_upload_of_ten_times_its_timeout(table: Any, kind: str) -> None:
    connection = table().connection
    connection.query(SHORT[connection.adapter.backend])
    pieces = iter([0.0] + [2.5] * 4)

    def pause() -> None:
        threading.Event().wait(next(pieces, 0.0))

    row = {"id": 1, "raw": ("slow.dat", SlowReader(b"x" * 4 * 2**20, pause))}
    if kind == "transaction":
        with connection.transaction:
            table.insert1(row)
    else:
        identity = connection.adapter.get_connection_id(connection._conn)
        table.insert1(row)
        assert connection.adapter.get_connection_id(connection._conn) == identity
    assert (table & {"id": 1}).fetch1("raw").size == 4 * 2**20


def test_what_was_staged_into_another_store_is_not_inserted(
    table: Any, store: Store, database: Any, tmp_path: Path
) -> None:
    """The project's name, the schema and the database are the same; the directory is not."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "a.dat").write_bytes(b"recording")
    staged = datajoint_file.stage(table, {"id": 1}, "raw", ("a.dat", b"recording"))
    directory = datajoint_file.stage(table, {"id": 1}, "extra", tmp_path / "run")
    copied = shutil.ignore_patterns("objects", table().database)
    shutil.copytree(store.table["path"], tmp_path / "elsewhere", ignore=copied)  # its marks
    other = {**store.configuration(), "storage": {"backend": "file", "path": str(tmp_path / "elsewhere")}}
    second = connect(database)
    datajoint_file.configure(other, connection=second)
    there = dj.FreeTable(second.connection, table().full_table_name)
    for files in ({"raw": staged}, {"raw": ("a.dat", b"another"), "extra": directory}):
        with pytest.raises(LeaseLostError, match=r"elsewhere.*is not there.*Stage it again"):
            there.insert1({"id": 1, **files})
    assert len(table()) == 0
    second.connection.close()
    table.insert1({"id": 1, "raw": staged, "extra": directory})
