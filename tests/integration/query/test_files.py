"""`files`: a query's files as a sequence, frames of them, and totals, with rows of strangers beside ours."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file import FileRef, files, where
from datajoint_file.errors import MetadataError, QueryError
from datajoint_file.hooks import row_listing

SIZES = [0, 2, 4, 1, 3, 0, 5, 5]
"""Of all files, attribute by attribute in the order of keys; the stranger's is none."""

HOSTILE = "<script src=x>.dat"


@pytest.fixture
def table(schema: dj.Schema, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Five rows of ours, one whose JSON is a stranger's, and one of nulls; pages of two rows."""

    @schema
    class Recording(dj.Manual):
        definition = """
        subject : varchar(12)
        session : int32
        ---
        raw = null : file
        video = null : file
        """

    monkeypatch.setattr(row_listing, "PAGE_ROWS", 2)
    Recording.insert(
        {
            "subject": f"s{n % 2}",
            "session": n,
            "raw": datajoint_file.File(b"x" * n, name=f"r{n}.dat", title=f"run {n}" if n == 4 else None),
            "video": ("v.mp4", b"video") if n % 2 else None,
        }
        for n in range(5)
    )
    run, name = Recording.connection.query, Recording().full_table_name
    values = [("s1", 7, '{"size": "many"}', "null"), ("s9", 8, None, None)]
    for value in values:
        run(f"INSERT INTO {name} (subject, session, raw, video) VALUES (%s, %s, %s, %s)", value)
    return Recording


@contextmanager
def statements(connection: Any) -> Iterator[list[str]]:
    """Note what is asked of the database."""
    asked: list[str] = []
    original = connection._execute_query

    def noted(cursor: Any, query: str, *args: Any) -> Any:
        asked.append(query)
        return original(cursor, query, *args)

    connection._execute_query = noted
    try:
        yield asked
    finally:
        del connection._execute_query


def cells(found: Iterable[Any]) -> list[tuple[Any, str]]:
    return [(item.key, item.attribute) for item in found]


def test_sequence_has_each_file_with_its_key(table: Any) -> None:
    found = files(table)
    told = [(key["subject"], key["session"], attribute) for key, attribute, _ in found]
    raw = [("s0", 0), ("s0", 2), ("s0", 4), ("s1", 1), ("s1", 3), ("s1", 7)]
    assert told == [*((*key, "raw") for key in raw), ("s1", 1, "video"), ("s1", 3, "video")]
    assert len(found) == found.count == 8
    assert found.size == sum(SIZES)
    assert found[3].ref.read() == b"x"
    assert [item.ref.name for item in files(table & "session < 5", "raw")] == [
        "r0.dat",
        "r2.dat",
        "r4.dat",
        "r1.dat",
        "r3.dat",
    ]
    assert files(table & "session = 8", "raw").size == 0
    assert not files(table & "session = 8")
    described = found[5].ref
    table().connection.query(f"UPDATE {table().full_table_name} SET raw = '[1]' WHERE session = 7 AND subject = 's1'")
    for bad in (described, found[5].ref):
        assert isinstance(bad, FileRef)
        with pytest.raises(MetadataError):
            bad.read()


def test_slices_read_their_rows_alone(table: Any) -> None:
    whole = cells(files(table))
    for window in (slice(1, 4), slice(4, 7), slice(None, 3), slice(6, None), slice(-3, -1), slice(5, 2), slice(20, 30)):
        assert cells(files(table)[window]) == whole[window]
        assert len(files(table)[window]) == len(whole[window])
        assert files(table)[window].size == sum(SIZES[window])
        assert cells(files(table)[window][1:2]) == whole[window][1:2]
    assert files(table)[-1] == files(table)[7]
    assert cells([files(table)[-8], files(table)[7]]) == [whole[0], whole[7]]
    with pytest.raises(IndexError, match="no file 8"):
        files(table)[8]
    with pytest.raises(QueryError, match="no step"):
        files(table)[::2]
    raw = files(table, "raw")
    with statements(table.connection) as asked:
        some = raw[1:3]
        assert not asked
        assert [item.key["session"] for item in some] == [2, 4]
    assert len(asked) == 1
    assert "LIMIT 2 OFFSET 1" in asked[0]
    assert raw[1:3].size == 2 + 4
    with statements(table.connection) as asked:
        assert len(list(raw[1:3])) == 2
    assert all("LIMIT 2 OFFSET 1" in sql for sql in asked)  # also that for the length, which `list` asks for
    with statements(table.connection) as asked:
        assert [item.key["session"] for item in raw[4:6]] == [3, 7]
        assert not raw[40:]
    assert len(asked) == 3  # from far behind keys are asked for first
    with statements(table.connection) as asked:
        assert len(raw) == 6
    assert len(asked) == 1


def test_frame_has_a_row_for_each_file_and_the_right_types(table: Any) -> None:
    frame = files(table).to_pandas()
    assert frame.dtypes.astype(str).to_dict() == {
        "subject": "string", "session": "Int64", "attribute": "string", "name": "string", "size": "Int64",
        "hash": "string", "media_type": "string", "stored": "datetime64[ns, UTC]", "files": "Int64", "title": "string",
        "linked": "boolean", "path": "string",
    }  # fmt: skip
    assert frame["session"].tolist() == [0, 2, 4, 1, 3, 7, 1, 3]
    assert frame["size"].tolist()[:5] == [0, 2, 4, 1, 3]
    assert frame.loc[5, "name":].isna().all()
    assert frame["title"].dropna().tolist() == ["run 4"]
    assert not frame["linked"].dropna().any()
    assert frame.groupby("subject")["size"].sum().to_dict() == {"s0": 6, "s1": 14}
    empty = files(table & False).to_pandas()
    assert empty.empty
    assert empty["stored"].dtype == frame["stored"].dtype
    arrow = files(table).to_arrow()
    assert arrow.num_rows == 8
    assert str(arrow.schema.field("stored").type) == "timestamp[us, tz=UTC]"
    assert arrow.column("size").to_pylist() == [0, 2, 4, 1, 3, None, 5, 5]
    renamed = files((table & where("raw", name="r1*")).proj("raw", name="subject", size="session"))
    assert renamed.to_pandas().loc[0, ["name", "size", "file_name", "file_size"]].tolist() == ["s1", 1, "r1.dat", 1]


def test_files_are_brought_and_verified(table: Any, tmp_path: Any) -> None:
    ours = files(table & "session < 5", "raw")
    assert [path.name for path in ours.download(tmp_path / "all")] == [item.ref.name for item in ours]
    assert [path.name for path in ours[1:3].download(tmp_path / "two", layout="name")] == ["r2.dat", "r4.dat"]
    assert ours.verify().checked == 5
    assert ours[3:].verify("exists").checked == 2
    assert not files(table).verify("exists")
    with pytest.raises(QueryError, match=r"Name one attribute, such as files\(query, 'raw'\)"):
        files(table)[1:3].verify()


def test_what_it_is_is_said_shortly_and_shown_escaped(table: Any) -> None:
    with statements(table.connection) as asked:
        assert repr(files(table)) == f"<files of {table.database}.Recording: raw, video>"
        assert repr(files(table, "raw")[1:3]) == f"<files of {table.database}.Recording: raw [1:3]>"
    assert not asked
    row = (table & "session = 4").fetch1("raw").to_dict() | {"original_name": HOSTILE}
    name = table().full_table_name
    table.connection.query(f"UPDATE {name} SET raw = %s, subject = %s WHERE session = 4", (json.dumps(row), "<i>s0"))
    shown = files(table)._repr_html_()
    assert escape(HOSTILE) in shown
    assert "<script" not in shown
    assert "<i>" not in shown
    assert "&lt;unreadable&gt;" in shown
    assert "<p>8 files, 20 B</p>" in shown


def test_what_is_no_file_is_refused_by_name(table: Any) -> None:
    with pytest.raises(QueryError, match=r"Recording has no `file` attribute 'row'; did you mean 'raw'"):
        files(table, "row")
    with pytest.raises(TypeError, match="has no `file` attribute, only subject, session"):
        files(table.proj())
    with pytest.raises(TypeError, match="neither a table nor a query"):
        files("Recording")
