"""`copy_in`: links become stored files, row by row; what was changed since is left and told."""

from __future__ import annotations

from typing import Any

import pytest

import datajoint_file
from datajoint_file import Link
from datajoint_file.errors import DataJointError, StorageError, UnsupportedValueError
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.insert.replaced import Replaced
from datajoint_file.journal.second_connection import second_connection_of
from datajoint_file.testing import Fault, FaultyBackend
from tests.projects import Store, over_local_and_s3, over_mysql

from .conftest import CONTENT, Root


@over_local_and_s3
def test_links_become_stored_files_and_the_history_has_the_links(table: Any, store: Store, nas: Root) -> None:
    links = [Link(nas.write(f"run{number}.dat", CONTENT * number), title=f"Run {number}") for number in (1, 2, 3)]
    table.insert({"id": number, "raw": link} for number, link in enumerate(links))
    table.update1({"id": 0, "extra": Link(nas.write("notes.txt", b"notes"))})
    table.insert1({"id": 9, "raw": ("stored.dat", b"stored")})
    before = {row["id"]: row["raw"] for row in table.to_dicts()}
    done = datajoint_file.copy_in(table)
    assert done
    assert (done.copied, done.size) == (4, 6 * len(CONTENT) + 5)
    for number in range(3):
        ref = (table & {"id": number}).fetch1("raw")
        assert (ref.linked, ref.path.split("/")[0], ref.name) == ("", store.project, f"run{number + 1}.dat")
        assert (ref.hash, ref.title, ref.read()) == (before[number].hash, before[number].title, CONTENT * (number + 1))
        (version,) = datajoint_file.history(table & {"id": number}, "raw")
        assert version.file == before[number]
    assert len(store.object_keys()) == 5
    assert len(nas.names()) == 4
    assert datajoint_file.copy_in(table).copied == 0


@over_mysql
def test_copy_in_goes_on_after_a_failure_and_leaves_what_was_changed(table: Any, store: Store, nas: Root) -> None:
    for number in (1, 2, 3):
        table.insert1({"id": number, "raw": Link(nas.write(f"run{number}.dat", CONTENT * number))})
    pipeline = pipeline_of(table.connection)
    inner = pipeline.backend
    pipeline.stores._backends[store.project] = FaultyBackend(inner, Fault("upload", call=2, lasting=True))
    with pytest.raises(StorageError):
        datajoint_file.copy_in(table & "id > 1", "raw")
    assert [bool(ref.linked) for ref in table.to_arrays("raw")] == [True, False, True]
    pipeline.stores._backends[store.project] = inner
    nas.write("run1.dat", b"changed")
    done = datajoint_file.copy_in(table)
    assert not done
    assert done.copied == 1
    (problem,) = done.problems
    assert "(id=1)" in problem
    assert f"expected {len(CONTENT)} bytes, found 7" in problem
    assert "link it again" in problem
    assert [bool(ref.linked) for ref in table.to_arrays("raw")] == [True, False, False]
    nas.remove("run1.dat")
    assert "there is no file at" in str(datajoint_file.copy_in(table))


@over_mysql
@pytest.mark.parametrize("is_same", [True, False])
def test_copy_in_does_not_overwrite_what_somebody_else_has_put_there(
    table: Any, nas: Root, monkeypatch: pytest.MonkeyPatch, is_same: bool
) -> None:
    theirs = CONTENT if is_same else b"other"  # another copy_in does the former
    table.insert1({"id": 1, "raw": Link(nas.write("run1.dat"))})
    pipeline = pipeline_of(table.connection)
    ingest = type(pipeline).ingest

    def meanwhile(self: Any, *args: Any, **options: Any) -> Any:
        monkeypatch.undo()
        table.update1({"id": 1, "raw": ("other.dat", theirs)})
        return ingest(self, *args, **options)

    monkeypatch.setattr(type(pipeline), "ingest", meanwhile)
    done = datajoint_file.copy_in(table)
    assert ["somebody else has changed the row" in problem for problem in done.problems] == [True] * (not is_same)
    assert done.copied == 0
    assert table.fetch1("raw").read() == theirs


@over_mysql
def test_copy_in_is_of_tables_and_outside_of_transactions(table: Any) -> None:
    for wrong in ("x", table.proj() * table.proj()):
        with pytest.raises(UnsupportedValueError, match="no table"):
            datajoint_file.copy_in(wrong)
    with pytest.raises(UnsupportedValueError, match="no `file` attribute"):
        datajoint_file.copy_in(table, "x")
    with table.connection.transaction, pytest.raises(DataJointError, match="transactions of its own"):
        datajoint_file.copy_in(table)


@over_mysql
def test_copy_in_sees_what_was_committed_when_its_transaction_had_begun(
    table: Any, nas: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.insert1({"id": 1, "raw": Link(nas.write("run1.dat"))})
    table.insert1({"id": 2, "raw": ("other.dat", b"other")})
    second, keep = second_connection_of(table.connection), Replaced.keep

    def meanwhile(self: Replaced) -> None:
        monkeypatch.undo()
        name = table.full_table_name
        second.execute(f"UPDATE {name} one, {name} other SET one.raw = other.raw WHERE one.id = 1 AND other.id = 2")
        keep(self)

    monkeypatch.setattr(Replaced, "keep", meanwhile)
    (problem,) = datajoint_file.copy_in(table).problems
    assert "somebody else has changed" in problem
    assert (table & "id = 1").fetch1("raw").read() == b"other"
