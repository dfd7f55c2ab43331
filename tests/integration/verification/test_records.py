"""Results of `verify` in the table ``~file_check``: what is asked of it, whose turn is next, and its upkeep."""

from __future__ import annotations

import json
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file.errors import UnsupportedValueError
from datajoint_file.journal.check_table import CheckTable
from datajoint_file.journal.second_connection import second_connection_of
from datajoint_file.sql import dialect_of
from datajoint_file.verification.records import ByAge
from datajoint_file.verification.verify import verify
from tests.projects import Store


@pytest.fixture
def recording(schema: dj.Schema) -> Any:
    """Five rows; the attributes are called as the columns of the notes are."""

    @schema
    class Recording(dj.Manual):
        definition = """
        n : int32
        ---
        path : file
        level = null : file
        """

    Recording.insert({"n": n, "path": ("raw.dat", b"%d" % n), "level": None} for n in range(5))
    return Recording


def checks(table: Any) -> dict[str, tuple[str, str]]:
    """Return level and result by path, as raw SQL has them."""
    name = dialect_of(table.connection).quoted(table.database, "~file_check")
    found = table.connection.query(f"SELECT path, level, result FROM {name}").fetchall()
    return {path: (level, result) for path, level, result in found}


def make_older(table: Any, paths: list[str], days: int) -> None:
    dialect = dialect_of(table.connection)
    age = f"INTERVAL '{days}' DAY"
    table.connection.query(
        f"UPDATE {dialect.quoted(table.database, '~file_check')} SET checked_at = checked_at - {age}, "
        f"sound_at = sound_at - {age} WHERE path IN %s",
        (tuple(paths),),
    )


def path_of(table: Any, n: int) -> str:
    return str((table & {"n": n}).fetch1("path").path)


def numbers(query: Any) -> list[int]:
    return sorted(query.to_arrays("n").tolist())


def test_results_are_noted_and_what_was_long_ago_or_is_damaged_is_unverified(recording: Any, store: Store) -> None:
    old = recording & datajoint_file.unverified(recording, "path", days=90)
    assert numbers(old) == [0, 1, 2, 3, 4]
    assert numbers(recording & datajoint_file.unverified(recording, "level")) == []  # all are NULL

    store.damage(path_of(recording, 3), b"X")
    verify(recording & "n > 0")
    assert checks(recording) == {path_of(recording, n): ("content", "hash" if n == 3 else "ok") for n in range(1, 5)}
    make_older(recording, [path_of(recording, 4)], 91)
    assert numbers(recording & datajoint_file.unverified(recording, "path", days=90)) == [0, 3, 4]
    assert numbers(recording & datajoint_file.unverified(recording, "path", days=92)) == [0, 3]
    renamed = recording.proj(file="path")
    assert numbers(renamed & datajoint_file.unverified(renamed, "file", days=92)) == [0, 3]

    store.damage(path_of(recording, 3), b"3")
    verify(recording & "n = 3")
    verify(recording & "n = 0", level="size")  # does not count for content, but for what is less
    assert numbers(recording & datajoint_file.unverified(recording, "path", days=92)) == [0]
    assert numbers(recording & datajoint_file.unverified(recording, "path", days=92, level="exists")) == []


def test_sound_is_what_was_found_sound_though_it_could_not_be_read_since_unless_damaged(
    recording: Any, store: Store
) -> None:
    verify(recording)
    table = CheckTable(second_connection_of(recording.connection), recording.database)
    table.record("content", {path_of(recording, 1): "unreadable"})
    assert numbers(recording & datajoint_file.unverified(recording, "path")) == []  # it was sound, today
    path = path_of(recording, 2)
    content = store.content(path)
    store.damage(path, b"longer")
    verify(recording & "n = 2", "size")  # less closely tells it too
    assert numbers(recording & datajoint_file.unverified(recording, "path")) == [2]
    store.damage(path, content)
    verify(recording & "n = 2")
    assert numbers(recording & datajoint_file.unverified(recording, "path")) == []


def test_nothing_is_forgotten_if_nobody_can_tell_whether_all_was_met(
    schema: dj.Schema, recording: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify(schema)
    (recording & "n = 1").delete_quick()

    def lost(_: ByAge) -> int:
        raise dj.DataJointError("the server does not say")

    monkeypatch.setattr(ByAge, "count_all", lost)
    assert verify(schema, budget="1h").is_complete
    assert len(checks(recording)) == 5


def test_attribute_without_files_is_refused(recording: Any) -> None:
    with pytest.raises(UnsupportedValueError, match="'n' is no `file` attribute"):
        datajoint_file.unverified(recording, "n")
    with pytest.raises(ValueError, match="days = 0"):
        datajoint_file.unverified(recording, "path", days=0)


def test_within_a_budget_the_longest_unverified_come_first(schema: dj.Schema, recording: Any, store: Store) -> None:
    @schema
    class Another(dj.Manual):
        definition = "n : int32\n---\npath : file"

    Another.insert({"n": n, "path": ("raw.dat", b"%d" % n)} for n in range(3))
    verify(schema)
    for days, table, number in ((5, recording, 1), (40, Another, 2), (9, recording, 4), (90, Another, 0)):
        make_older(table, [path_of(table, number)], days)
    recording.insert1({"n": 9, "path": ("raw.dat", b"9"), "level": None})
    expected = [(recording, 9), (Another, 0), (Another, 2), (recording, 4), (recording, 1)]
    for table, number in expected:
        store.remove(path_of(table, number))  # which shows when it is looked at
    found, position = [], None
    for _ in range(12):
        report = verify(schema, budget=1, workers=1, after=position)
        found += [(finding.table.rpartition(".")[2], finding.key["n"]) for finding in report.findings]
        position = report.position
        if report.is_complete:
            break
    assert report.is_complete
    assert found == [(table.__name__, number) for table, number in expected]


def test_row_that_cannot_be_read_is_found_once_a_run(recording: Any) -> None:
    verify(recording)
    make_older(recording, [path_of(recording, n) for n in range(3)], 3)
    name = recording.full_table_name
    recording.connection.query(f"UPDATE {name} SET path = '{{\"no\": 1}}' WHERE n = 1")
    report = verify(recording, budget="1h")
    assert [finding.kind for finding in report.findings] == ["row"]
    assert report.is_complete


def test_files_that_no_row_names_any_more_are_forgotten_after_a_whole_round(schema: dj.Schema, recording: Any) -> None:
    verify(schema)
    gone = path_of(recording, 1)
    (recording & "n = 1").delete_quick()
    verify(recording)
    assert gone in checks(recording)  # only a look at all tables of the schema tells
    verify(schema, "exists")
    assert gone not in checks(recording)
    assert len(checks(recording)) == 4


def test_a_round_of_several_runs_forgets_them_too_and_only_if_it_has_met_all(schema: dj.Schema, recording: Any) -> None:
    verify(schema)
    gone = path_of(recording, 1)
    (recording & "n = 1").delete_quick()
    position, runs = None, 0
    while runs == 0 or position is not None:
        position, runs = verify(schema, budget=1, workers=1, after=position).position, runs + 1
    assert runs > 2
    assert gone not in checks(recording)
    assert len(checks(recording)) == 4
    verify(schema, budget=1)
    late = {"part": 0, "table": f"{schema.database}.z", "key": None, "since": "2999-01-01T00:00:00"}
    assert verify(schema, after=json.dumps(late)).is_complete  # of a round that nobody has begun here
    assert len(checks(recording)) == 4
