"""Scanning a directory: rows of real paths, which a table takes; and inserts that leave out what fails."""

from __future__ import annotations

import io
import os
from datetime import date
from pathlib import Path
from typing import Any

import datajoint as dj
import pandas as pd
import polars as pl
import pytest
from datajoint.errors import DuplicateError

import datajoint_file
from datajoint_file.errors import (
    PathMismatchError,
    RuleError,
    SourceError,
    SourceNotFoundError,
    StorageUnavailableError,
    UnknownRootError,
    UnsupportedValueError,
)
from datajoint_file.journal.second_connection import second_connection_of
from tests.projects import Store, over_mysql
from tests.tables import recording_of


@pytest.fixture
def table(schema: dj.Schema) -> Any:
    return recording_of(
        schema,
        """
        subject_id : int32
        day : date
        side : enum('L','R')
        ---
        raw : file
        rig = "" : varchar(8)
        """,
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "run 1"
    made.mkdir()
    return made


@pytest.fixture
def pipeline(root: Path, store: Store, instance: dj.Instance) -> dj.Instance:
    """A pipeline that knows the directory as a root."""
    datajoint_file.configure(store.configuration(roots={"nas": {"path": str(root)}}), connection=instance)
    return instance


def put(root: Path, *paths: str, content: bytes = b"spikes") -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)


RULE = "subject{subject_id}/{day:%Y%m%d}_{side}_*.dat"


def test_three_equal_files_make_three_rows(table: Any, root: Path) -> None:
    paths = ["subject007/20250131_L_Köln 1.dat", "subject007/20250131_R_x.dat", "subject8/20250201_L_x.dat"]
    put(root, *paths)
    found = datajoint_file.scan(root, RULE, table=table, values={"rig": "three"})
    assert (found.unmatched, found.duplicates, len(found)) == ((), (), 3)
    assert found[0] == {
        "rig": "three",
        "subject_id": 7,
        "day": date(2025, 1, 31),
        "side": "L",
        "raw": root / "subject007/20250131_L_Köln 1.dat",
    }
    table.insert(found.require_all())
    table.insert(found, skip_duplicates=True)
    rows = table.to_dicts(order_by="KEY")
    assert [(row["subject_id"], row["side"], row["rig"]) for row in rows] == [
        (7, "L", "three"),
        (7, "R", "three"),
        (8, "L", "three"),
    ]
    assert {row["raw"].read() for row in rows} == {b"spikes"}
    assert rows[0]["raw"].original_name == "20250131_L_Köln 1.dat"


@over_mysql
def test_what_gives_no_row_is_listed_and_never_chosen(table: Any, root: Path, tmp_path: Path) -> None:
    put(root, "subject1/20250131_L_a.dat", "subject2/20250131_L_a.dat", "subject02/20250131_L_b.dat", "notes.txt")
    put(root, "subjectX/20250131_L_a.dat", "subject3/20250231_L_a.dat", "subject4/20250131_M_a.dat", "tmp/x.dat")
    put(tmp_path, "outside.dat")
    (root / "subject5").mkdir()
    (root / "subject5/20250131_L_out.dat").symlink_to(tmp_path / "outside.dat")
    (root / "subject5/20250131_R_in.dat").symlink_to("../subject1/20250131_L_a.dat")
    (root / "subject6").symlink_to(root / "subject1")
    os.mkfifo(root / "subject5/20250201_L_fifo.dat")
    (root / "subject5/20250202_L_gone.dat").symlink_to("nowhere")
    put(root, "subject5/20250203_L_a\nb.dat")
    (root / os.fsdecode(b"subject5/20250204_L_\xff.dat")).write_bytes(b"")
    found = datajoint_file.scan(root, RULE, table=table, exclude="tmp/")
    assert [str(row["raw"].relative_to(root)) for row in found] == [
        "subject1/20250131_L_a.dat",
        "subject5/20250131_R_in.dat",
    ]
    (duplicate,) = found.duplicates
    assert duplicate.paths == ("subject02/20250131_L_b.dat", "subject2/20250131_L_a.dat")
    assert duplicate.key == {"subject_id": 2, "day": date(2025, 1, 31), "side": "L"}
    reasons = {one.path.encode(errors="backslashreplace").decode(): one.reason for one in found.unmatched}
    expected = {
        "notes.txt": "does not match the rule",
        "subjectX/20250131_L_a.dat": "subject_id = 'X' is no value of type int32",
        "subject3/20250231_L_a.dat": "day = '20250231' is no value of type date",
        "subject4/20250131_M_a.dat": "side = 'M'",
        "subject5/20250131_L_out.dat": "leaves the directory",
        "subject6": "a symbolic link to a directory",
        "subject5/20250201_L_fifo.dat": "FIFO",
        "subject5/20250202_L_gone.dat": "leads nowhere",
        "subject5/20250203_L_a\nb.dat": "control",
        "subject5/20250204_L_\\udcff.dat": "no text in UTF-8",
    }
    assert set(reasons) == set(expected)
    assert {path for path, said in expected.items() if said not in reasons[path]} == set(), reasons
    text = str(found)
    assert "2 rows from" in text
    assert "subject_id=2, day=2025-01-31, side=L: subject02/" in text
    assert "a\\nb" in text
    put(root, "<b>.txt")
    html = datajoint_file.scan(root, RULE, table=table)._repr_html_()
    assert "&lt;b&gt;.txt" in html
    assert "<b>.txt" not in html
    with pytest.raises(PathMismatchError, match="does not match the rule"):
        found.require_all()


@over_mysql
def test_directories_are_values_where_the_rule_ends_in_a_slash(table: Any, root: Path) -> None:
    put(root, "subject1/20250131_L_run/a.npy", "subject1/20250131_L_run/b/c.npy", "subject1/notes.txt")
    put(root, "subject1/20250131_M_run/a.npy")
    found = datajoint_file.scan(root, "subject{subject_id}/{day:%Y%m%d}_{side}_run/", table=table)
    assert [one.path for one in found.unmatched] == ["subject1/20250131_M_run", "subject1/notes.txt"]
    table.insert(found)
    assert sorted(file.name for file in table.fetch1("raw").files()) == ["a.npy", "c.npy"]


@over_mysql
def test_a_rule_that_does_not_suit_the_table_is_refused(table: Any, schema: Any, root: Path) -> None:
    for rule, options, said in (
        ("subject{subject_id}/*", {}, "does not give day, side, of the primary key of"),
        ("{subject_id}{day}{side}{rg}", {}, "no attribute 'rg'; did you mean 'rig'"),
        ("{subject_id}{day}{side}{raw}", {}, "no attribute 'raw'"),
        (RULE, {"values": {"rigg": 1}}, "no attribute 'rigg'"),
        (RULE, {"values": {"side": "L"}}, "given a value by the rule"),
    ):
        with pytest.raises(RuleError, match=said):
            datajoint_file.scan(root, rule, table=table, **options)
    optional = "n = 1 : int32\nnote = null : varchar(8)\nat = CURRENT_TIMESTAMP : datetime"
    asking = recording_of(schema, f"id : int32\n---\nby : varchar(8)\n{optional}\nraw : file\nlog : file", "Asking")
    with pytest.raises(RuleError, match=r"Asking takes no row without by, log, .* add \{by\}, or values=\{'by': "):
        datajoint_file.scan(root, "{id}", table=asking, attribute="raw")
    datajoint_file.scan(root, "{by}/{id}", table=asking, attribute="raw", values={"log": None})
    with pytest.raises(UnsupportedValueError, match="has no `file` attribute, only id"):
        datajoint_file.scan(root, "{id}", table=recording_of(schema, "id : int32", "Plain"))
    with pytest.raises(UnsupportedValueError, match="neither a table nor a query"):
        datajoint_file.scan(root, "{id}", table="Two")
    two = recording_of(schema, name="Two")
    with pytest.raises(UnsupportedValueError, match="several `file` attributes: say which: raw, extra"):
        datajoint_file.scan(root, "{id}", table=two)
    with pytest.raises(UnsupportedValueError, match="no `file` attribute 'id'"):
        datajoint_file.scan(root, "{id}", table=two, attribute="id")
    with pytest.raises(UnsupportedValueError, match="not a join"):
        datajoint_file.scan(root, "{id}", table=two.proj("raw") * table.proj())
    put(root, "5")
    (row,) = datajoint_file.scan(root, "{id}", table=two, attribute="extra", values={"raw": None})
    assert row == {"id": 5, "raw": None, "extra": root / "5"}
    with pytest.raises(SourceNotFoundError):
        datajoint_file.scan(root / "nowhere", "{id}")
    with pytest.raises(SourceError, match="is a file"):
        datajoint_file.scan(root / "5", "{id}")
    assert list(datajoint_file.scan(root, "{id}")) == [{"id": "5", "path": root / "5"}]


@pytest.fixture
def recording(schema: dj.Schema) -> Any:
    return recording_of(schema)


def test_one_bad_row_of_a_hundred_is_left_out_and_reported(recording: Any, root: Path, store: Store) -> None:
    put(root, *(f"{number}.dat" for number in range(100)))
    (root / "57.dat").unlink()
    rows = [{"id": number, "raw": root / f"{number}.dat"} for number in range(100)]
    with pytest.raises(SourceNotFoundError):
        recording.insert(rows)
    assert (len(recording()), store.object_keys()) == (0, [])
    report = recording.insert(rows, on_error="skip")
    assert (len(report.inserted), len(recording()), bool(report)) == (99, 99, False)
    (failed,) = report.failed
    assert (failed.index, failed.key, type(failed.error)) == (57, {"id": 57}, SourceNotFoundError)
    assert "99 rows inserted, 1 failed\n  row 57 (id=57): SourceNotFoundError: " in str(report)
    assert len(store.object_keys()) == 99
    put(root, "57.dat")
    again = recording.insert(rows, on_error="skip", skip_duplicates=True)
    assert (again.inserted, len(again.present), again.failed, bool(again)) == (({"id": 57},), 99, (), True)
    assert (recording & "id = 57").fetch1("raw").read() == b"spikes"


def test_rows_of_all_kinds_fail_one_by_one(recording: Any, root: Path) -> None:
    put(root, "a.dat")

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    rows = [
        {"id": 1, "raw": root / "a.dat"},
        {"id": 1, "raw": root / "a.dat"},  # there already
        {"id": "x", "raw": root / "a.dat"},
        {"raw": root / "a.dat"},
        {"id": 4, "raw": None},
        {"id": 5, "raw": ("b.dat", Pipe(b"read once"))},
        {"id": 6, "raw": io.StringIO("text")},
        {"id": 7, "raw": root / "a.dat", "nothing": 1},
        17,
        {"id": 9, "raw": ("c.dat", b"bytes"), "extra": ("d.dat", b"d")},
    ]
    report = recording.insert(iter(rows), on_error="skip")
    assert [key["id"] for key in report.inserted] == [1, 5, 9]
    assert [one.index for one in report.failed] == [1, 2, 3, 4, 6, 7, 8]
    assert (recording & "id = 5").fetch1("raw").read() == b"read once"
    frame = pd.DataFrame({"id": [20, 1], "raw": [str(root / "a.dat")] * 2})
    assert [key["id"] for key in recording.insert(frame, on_error="skip").inserted] == [20]
    polars = pl.DataFrame({"id": [21, 1], "raw": [str(root / "a.dat")] * 2})
    assert [key["id"] for key in recording.insert(polars, on_error="skip", chunk_size=1).inserted] == [21]
    assert recording.insert([rows[0]], False, True, on_error="skip").present == ({"id": 1},)
    row = {"raw": root / "a.dat"}
    (failed,) = recording.insert1({**row, "id": 1}, on_error="skip").failed
    assert (failed.key, type(failed.error)) == ({"id": 1}, DuplicateError)
    assert recording.insert1({**row, "id": 22}, on_error="skip").inserted == ({"id": 22},)
    assert recording.insert1({**row, "id": 23}) is None


def test_a_row_that_somebody_inserts_meanwhile_is_not_reported_as_inserted(schema: Any) -> None:
    table = recording_of(schema, "id : int32\n---\nname : varchar(8)\nraw : file\nunique index (name)", "Named")

    class Meanwhile(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if len(table & "id = 1") == 0:
                theirs = f"(id, name, raw) SELECT 1, 'theirs', raw FROM {table.full_table_name}"
                second_connection_of(table.connection).execute(f"INSERT INTO {table.full_table_name} {theirs}")
            return super().read(size)

    table.insert1({"id": 0, "name": "first", "raw": ("a.dat", b"theirs")})
    rows = [
        {"id": 1, "name": "ours", "raw": ("b.dat", Meanwhile(b"ours"))},
        {"id": 2, "name": "first", "raw": ("c.dat", b"another index")},
        {"id": 3, "name": "third", "raw": ("d.dat", b"well")},
    ]
    report = table.insert(rows, on_error="skip", skip_duplicates=True)
    assert (report.inserted, report.present) == (({"id": 3},), ({"id": 1},))
    (failed,) = report.failed
    assert (failed.index, type(failed.error)) == (1, DuplicateError)
    assert table.to_arrays("name", order_by="id").tolist() == ["first", "theirs", "third"]


def test_what_is_no_rows_fault_is_raised(recording: Any, root: Path, store: Store) -> None:
    put(root, "a.dat")
    row = {"id": 1, "raw": root / "a.dat"}
    with recording.connection.transaction:
        with pytest.raises(UnsupportedValueError, match="not for transactions"):
            recording.insert([row], on_error="skip")
        recording.insert([row], on_error="raise")
    assert len(recording()) == 1
    with pytest.raises(UnsupportedValueError, match="rows of a query"):
        recording.insert(recording, on_error="skip")
    with pytest.raises(ValueError, match='on_error = \'ignore\': allowed are "raise" and "skip"'):
        recording.insert([row], on_error="ignore")
    place = Path(store.table["path"])
    place.rename(place.with_name("unmounted"))
    with pytest.raises(StorageUnavailableError):
        recording.insert([{"id": number, "raw": root / "a.dat"} for number in range(2, 9)], on_error="skip")
    assert len(recording()) == 1


@over_mysql
def test_tables_without_files_report_too(schema: Any) -> None:
    plain = recording_of(schema, "id : int32\n---\nname : varchar(4)", "Plain")
    report = plain.insert(
        [{"id": 1, "name": "a"}, {"id": 2, "name": "too long"}, {"id": 3, "name": "c"}], on_error="skip"
    )
    assert ([key["id"] for key in report.inserted], [one.index for one in report.failed]) == ([1, 3], [1])


@over_mysql
def test_files_of_several_attributes_become_one_row_or_are_listed(root: Path, schema: dj.Schema) -> None:
    two = recording_of(
        schema, "subject_id : int32\n---\nprobe : varchar(8)\nraw : file\nnotes : file\nvideo = null : file"
    )
    put(root, "s1/left_1.dat", "s1/1.txt", "s1/left.mp4", "s2/left_2.dat", "s2/2.txt")  # of 2 no video
    put(root, "s3/left_3.dat", "s4/left_4.dat", "s4/4.txt", "s04/4.txt", "s5/left_5.dat", "s5/5.txt", "s5/right.mp4")
    rules = {
        "raw": "s{subject_id}/{probe}_*.dat",
        "notes": "s{subject_id}/*.txt",
        "video": "s{subject_id}/{probe}.mp4",
    }
    found = datajoint_file.scan(root, rules, table=two, link=True)
    assert [list(row) for row in found] == [["subject_id", "probe", "raw", "notes", "video"]] * 2
    assert found[1]["video"] is None
    assert {one.path: one.reason for one in found.unmatched} == {
        "s3/left_3.dat": "there is no path for notes of subject_id=3",
        **dict.fromkeys(
            ("s5/5.txt", "s5/left_5.dat", "s5/right.mp4"),
            "probe of subject_id=5 is left by one path and right by another",
        ),
    }
    (duplicate,) = found.duplicates
    assert (duplicate.key, duplicate.paths) == ({"subject_id": 4}, ("s04/4.txt", "s4/4.txt", "s4/left_4.dat"))
    two.insert(found)
    row = (two & "subject_id = 1").fetch1()
    assert [row[name].path for name in rules] == ["nas/s1/left_1.dat", "nas/s1/1.txt", "nas/s1/left.mp4"]
    assert (two & "subject_id = 2").fetch1("video") is None

    both = datajoint_file.scan(root, {"raw": "**/*.dat", "notes": "**/*"}, values={"subject_id": 1})
    assert "it matches the rules of raw and notes" in both.unmatched[0].reason
    for rule, options, said in (
        ({}, {}, "give a rule for each"),
        (rules, {"attribute": "raw"}, "no attribute= besides"),
        (rules, {"patterns": {"prob": "x"}}, "pattern for prob"),
        (rules, {"values": {"video": "x"}}, "video is given a value"),
        ({"raw": "*.dat", "notes": "s{subject_id}/*.txt"}, {}, "does not give subject_id"),
    ):
        with pytest.raises(RuleError, match=said):
            datajoint_file.scan(root, rule, table=two, **options)


@over_mysql
def test_links_are_made_below_a_root_only(schema: dj.Schema, tmp_path: Path) -> None:
    recording = recording_of(schema)
    put(tmp_path, "elsewhere/1.dat")
    with pytest.raises(UnknownRootError, match=r"elsewhere lies below no root .*\n(.*\n)*\[roots.elsewhere\]"):
        datajoint_file.scan(tmp_path / "elsewhere", "{id}.dat", table=recording, attribute="raw", link=True)
    assert (
        datajoint_file.scan(tmp_path / "elsewhere", "{id}.dat", link=True)[0]["path"].path
        == tmp_path / "elsewhere/1.dat"
    )
