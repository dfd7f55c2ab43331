"""Names are exchanged, given back and dropped; what others write meanwhile is there, and nothing of it is lost."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file import Migration
from datajoint_file.insert.statement import Statement
from datajoint_file.migrate import changing
from tests.projects import connect
from tests.tables import recording_of

DEFINITION = "id : int32\n---\nraw : varchar(300)  # the recording\nnote = '' : varchar(30)"


@pytest.fixture
def table(schema: dj.Schema) -> Any:
    return recording_of(schema, DEFINITION)


@pytest.fixture
def put(table: Any, tmp_path: Path) -> Any:
    """Write a file, and insert or update the row that names it."""

    def put(key: int, content: bytes, name: str = "") -> Path:
        path = tmp_path / (name or f"{key}.dat")
        path.write_bytes(content)
        row = {"id": key, "raw": str(path)}
        table.update1(row) if table & {"id": key} else table.insert1(row)
        return path

    return put


def ready(table: Any, **options: Any) -> Migration:
    migration = Migration(table, "raw", **options)
    assert (ran := migration.run()), ran
    assert (checked := migration.check()), checked
    return migration


def fresh(table: Any) -> Any:
    """The table as a program sees it that has just been started and knows no class of it."""
    module = dj.VirtualModule("fresh", table.database, connection=table.connection)
    return module.Recording


def test_finish_gives_the_name_and_downstream_code_goes_on(table: Any, put: Any, columns: Any, tmp_path: Path) -> None:
    for key in range(3):
        put(key, b"%d" % key)
    migration = ready(table)
    put(3, b"late")
    assert (finished := migration.finish()), finished
    assert "1 row" in finished.notes[0]
    assert migration.stage == "swapped"
    assert columns(table).contents("raw") == {0: b"0", 1: b"1", 2: b"2", 3: b"late"}
    assert columns(table).values("raw__before")[3] == str(tmp_path / "3.dat")
    for one in (table, fresh(table)):
        assert (one & "id = 1").fetch1("raw").read() == b"1"
        assert "raw : <file> # the recording" in " ".join(one().describe().split())
    (tmp_path / "new.dat").write_bytes(b"new")
    table.insert1({"id": 4, "raw": str(tmp_path / "new.dat")})
    assert (table & "id = 4").fetch1("raw").read() == b"new"
    with pytest.raises(datajoint_file.DataJointFileError):
        table.insert1({"id": 5})  # the attribute is as little nullable as it was
    assert migration.finish(), "again"
    assert (checked := migration.check()), checked
    assert checked.rows == 4
    assert datajoint_file.verify(table)


def test_steps_are_refused_before_their_time(table: Any, put: Any) -> None:
    put(1, b"1")
    migration = Migration(table, "raw")
    for step in (migration.check, migration.finish, migration.back, migration.forget):
        assert not step()
    migration.run()
    assert "no check()" in str(migration.finish())
    assert not migration.forget()
    with table.connection.transaction, pytest.raises(dj.DataJointError, match="transactions of its own"):
        migration.run()
    assert migration.stage == "beside"


def test_back_and_again(table: Any, put: Any, columns: Any, tmp_path: Path) -> None:
    for key in range(3):
        put(key, b"%d" % key)
    migration = ready(table)
    described = table().describe()
    assert migration.finish()
    table.insert1({"id": 7, "raw": ("seven.dat", b"7")})
    table.update1({"id": 1, "raw": ("one.dat", b"other")})
    back = migration.back()
    assert back, back
    assert len(back.notes) == 3, back
    seen = columns(table)
    assert seen.values("raw") == {key: str(tmp_path / f"{key}.dat") for key in range(3)} | {7: None}
    assert seen.contents("raw__file") == {0: b"0", 1: b"other", 2: b"2", 7: b"7"}
    table.insert1({"id": 8, "raw": str(put(8, b"8", "eight"))}, skip_duplicates=True)
    migration = ready(table)
    assert migration.finish()
    assert columns(table).contents("raw") == {0: b"0", 1: b"other", 2: b"2", 7: b"7", 8: b"8"}
    (table & "id = 7").delete(prompt=False)
    assert migration.back()
    assert table().describe() == described, "nothing is left that would keep it nullable"
    assert migration.back(), "again"


def test_forget_drops_the_old_values_alone(table: Any, put: Any, columns: Any, tmp_path: Path) -> None:
    path = put(1, b"1")
    migration = ready(table)
    assert migration.finish()
    assert (forgotten := migration.forget()), forgotten
    assert sorted(table().heading.names) == ["id", "note", "raw"]
    assert columns(table).contents("raw") == {1: b"1"}
    assert path.read_bytes() == b"1"
    assert migration.stage == "over"
    assert not migration.back()
    assert migration.forget()


def test_changed_emptied_and_damaged_rows(schema: dj.Schema, tmp_path: Path, columns: Any) -> None:
    table = recording_of(schema, DEFINITION.replace("raw : ", "raw = null : "))
    for name in "abcd":
        (tmp_path / name).write_bytes(name.encode())
    table.insert({"id": key, "raw": str(tmp_path / name)} for key, name in enumerate("abc"))
    migration = ready(table)
    table.update1({"id": 0, "raw": str(tmp_path / "d")})
    table.update1({"id": 1, "raw": None})
    assert [problem.key for problem in migration.check().problems] == ["id=0", "id=1"]
    assert (report := migration.run()), report
    assert "1 row emptied" in report.notes[0]
    assert columns(table).contents("raw__file") == {0: b"d", 1: None, 2: b"c"}
    assert sorted(version.file.read() for version in datajoint_file.history(table, "raw__file")) == [b"a", b"b"]
    assert migration.check()
    assert migration.finish()
    assert columns(table).contents("raw") == {0: b"d", 1: None, 2: b"c"}


def test_source_that_changed_after_it_was_moved_is_found(table: Any, put: Any) -> None:
    path = put(1, b"one")
    migration = ready(table)
    path.write_bytes(b"two")
    report = migration.check()
    assert not report
    assert "the file is not what" in str(report)
    path.write_bytes(b"one")
    assert migration.check()
    path.unlink()
    assert "does not exist" in str(migration.check())


def test_stored_file_that_was_damaged_is_found(table: Any, put: Any, columns: Any, store: Any) -> None:
    put(1, b"one")
    migration = ready(table)
    store.damage(columns(table).values("raw__file")[1]["path"], b"0ne")
    assert "not sound" in str(migration.check())


def test_file_that_a_user_has_put_beside_is_left_alone(table: Any, put: Any, columns: Any) -> None:
    put(1, b"one")
    migration = ready(table)
    table.update1({"id": 1, "raw__file": ("own.dat", b"own")})
    report = migration.run()
    assert "was not made of the old value" in str(report)
    assert not migration.finish()
    assert columns(table).contents("raw__file") == {1: b"own"}


def put_back(table: Any, key: int) -> Any:
    attribute = "raw__file" if "raw__file" in table().heading.names else "raw"
    deleted = datajoint_file.history(table, attribute, key={"id": key})[0]
    return datajoint_file.undelete(table, event=deleted.event)


def test_history_goes_with_the_names(table: Any, put: Any, columns: Any) -> None:
    put(1, b"one")
    put(2, b"two")
    migration = ready(table)
    (table & "id = 2").delete(prompt=False)
    put(1, b"other", "other.dat")
    migration.run()
    assert migration.check()
    assert migration.finish()
    assert [version.file.read() for version in datajoint_file.history(table, "raw", key={"id": 1})] == [b"one"]
    assert put_back(table, 2)
    assert columns(table).contents("raw") == {1: b"other", 2: b"two"}
    assert columns(table).values("raw__before")[2].endswith("2.dat")
    (table & "id = 2").delete(prompt=False)
    assert migration.back()
    assert put_back(table, 2)
    assert columns(table).contents("raw__file") == {1: b"other", 2: b"two"}
    assert columns(table).values("raw")[2].endswith("2.dat")


def test_what_cannot_become_a_file_is_refused_at_once(schema: dj.Schema) -> None:
    keyed = recording_of(schema, "raw : varchar(30)\n---\nx : int32", "Keyed")
    assert "primary key" in str(Migration(keyed, "raw").plan())
    with pytest.raises(datajoint_file.errors.DeclarationError, match="primary key"):
        Migration(keyed, "raw").run()
    unique = recording_of(schema, "id : int32\n---\nraw : varchar(30)\nunique index (raw)", "Unique")
    assert "unique index" in str(Migration(unique, "raw").plan())
    child = schema(type("Child", (dj.Manual,), {"definition": "id : int32\n---\n-> Keyed"}), context={"Keyed": keyed})
    assert "foreign key" in str(Migration(child, "raw").plan())
    assert child().heading.names == ["id", "raw"]
    for attribute, words in (("x", "what can become"), ("nothing", "no attribute")):
        with pytest.raises(TypeError, match=words):
            Migration(keyed, attribute)


def test_others_insert_while_it_runs_and_finishes(
    table: Any, put: Any, columns: Any, database: Any, tmp_path: Path
) -> None:
    for key in range(50):
        put(key, b"%d" % key)
    other, stop, wrote = connect(database), threading.Event(), []

    def write() -> None:
        free = dj.FreeTable(other.connection, table.full_table_name)
        key = 1000
        while not stop.is_set():
            path = tmp_path / f"w{key}"
            path.write_bytes(b"w%d" % key)
            free.insert1({"id": key, "raw": str(path)})
            wrote.append(key)
            key += 1
            stop.wait(0.02)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        migration = Migration(table, "raw")
        migration.run()
        while not wrote:
            stop.wait(0.02)
        while not migration.check():
            migration.run()
            if len(wrote) > 60:
                stop.set()
    finally:
        stop.set()
        writer.join()
    assert migration.finish()
    assert columns(table).contents("raw") == {key: b"%d" % key for key in range(50)} | {
        key: b"w%d" % key for key in wrote
    }
    other.connection.close()


def test_row_that_changes_while_its_bytes_are_stored_is_done_again(
    table: Any, put: Any, columns: Any, tmp_path: Path, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in range(3):
        put(key, b"%d" % key)
    (tmp_path / "other").write_bytes(b"other")
    another, claim, changed = connect(database), Statement.claim, list[int]()

    def claim_late(self: Statement, *, is_own: bool) -> None:
        if not changed:
            changed.append(1)
            free = dj.FreeTable(another.connection, table.full_table_name)
            free.update1({"id": 1, "raw": str(tmp_path / "other")})
            (free & "id = 2").delete_quick()
        claim(self, is_own=is_own)

    with monkeypatch.context() as patch:
        patch.setattr(Statement, "claim", claim_late)
        assert (report := Migration(table, "raw").run()), report
    assert columns(table).contents("raw__file") == {0: b"0", 1: b"other"}
    assert Migration(table, "raw").check()
    assert Migration(table, "raw").finish()
    another.connection.close()


def test_finish_waits_for_others_but_not_for_ever(
    table: Any, put: Any, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changing, "PATIENCE_SECONDS", 1)
    put(1, b"1")
    migration, other = ready(table), connect(database)
    with other.connection.transaction:
        dj.FreeTable(other.connection, table.full_table_name).fetch1("note")
        with pytest.raises(datajoint_file.errors.DeclarationError, match="others have used the table for 1 seconds"):
            migration.finish()
    assert migration.stage == "beside"
    assert migration.finish()
    other.connection.close()


def test_two_runs_at_once_do_no_harm(table: Any, put: Any, columns: Any, database: Any, store: Any) -> None:
    for key in range(300):
        put(key, b"%d" % key)
    other = connect(database)
    datajoint_file.configure(store.configuration(), connection=other)
    reports = []

    def run() -> None:
        reports.append(Migration(dj.FreeTable(other.connection, table.full_table_name), "raw").run())

    begun = threading.Thread(target=run)
    begun.start()
    reports.append(Migration(table, "raw").run())
    begun.join()
    assert all(reports), reports
    assert sum(report.rows for report in reports) == 300
    assert columns(table).contents("raw__file") == {key: b"%d" % key for key in range(300)}
    assert Migration(table, "raw").check()
    other.connection.close()


def test_progress_is_shown_to_who_wants_it(table: Any, put: Any, capsys: pytest.CaptureFixture[str]) -> None:
    put(1, b"one")
    for progress, expected in ((True, 3), (False, 0)):
        migration = Migration(table, "raw", progress=progress)
        assert all(report() for report in (migration.plan, migration.run, migration.check))
        told = capsys.readouterr().err
        assert sum(f"{step} {table.database}" in told for step in ("looking at", "moving", "comparing")) == expected
