"""Printed tables: names and sizes of files, of whatever query and whatever is in the rows, without a store."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from tests.projects import Store
from tests.tables import recording_of

DEFINITION = "k : int32\n---\nrate : float64\nraw = null : file\nnotes = null : json"


@pytest.fixture
def table(schema: dj.Schema, tmp_path: Path) -> Any:
    made = recording_of(schema, DEFINITION)
    (tmp_path / "sorted").mkdir()
    for number in range(3):
        (tmp_path / "sorted" / f"{number}.npy").write_bytes(b"12")
    made.insert(
        [
            {"k": 1, "rate": 1.5, "raw": ("recording.dat", b"12345"), "notes": {"a": 1}},
            {"k": 2, "rate": 2.5, "raw": tmp_path / "sorted", "notes": None},
            {"k": 3, "rate": 3.5, "raw": None, "notes": None},
        ]
    )
    return made


def set_text(table: Any, text: str, k: int = 1) -> None:
    """Write the JSON of a row as somebody with SQL access would."""
    connection = table().connection
    quoted = connection.adapter.quote_identifier("raw")
    connection.query(f"UPDATE {table().full_table_name} SET {quoted} = %s WHERE k = %s", (text, k))


def lines(query: Any, width: int = 40) -> list[str]:
    return [" ".join(line.split()) for line in query.preview(width=width).splitlines()]


def cells(query: Any) -> list[str]:
    body = query._repr_html_().partition("<tbody>")[2].partition("</tbody>")[0]
    return [cell.partition("</td>")[0] for cell in body.split("<td>")[1:]]


def test_table_shows_name_and_size_without_its_store(table: Any, store: Store) -> None:
    shutil.rmtree(store.table["path"])
    assert lines(table())[2:5] == [
        "1 1.5 recording.dat, 5 B json",
        "2 2.5 sorted/, 3 files, 6 B json",
        "3 3.5 None json",
    ]
    assert "*k rate raw notes" in lines(table())[0]
    assert "(Total: 3)" in lines(table())[-1]
    assert cells(table())[2::4] == ["recording.dat, 5 B", "sorted/, 3 files, 6 B", "None"]
    assert "Total: 3" in table()._repr_html_()
    assert [type(value).__name__ for value in table.to_arrays("raw", order_by="k")] == [
        "FileRef",
        "DirectoryRef",
        "NoneType",
    ]


def test_limits_of_datajoint_hold(table: Any) -> None:
    config = table().connection._config
    assert config["display.width"] == 14
    shown = repr(table()).splitlines()
    assert "reco….dat, 5 B" in shown[2]
    assert "sorted/, 6 B" in shown[3]
    with config.override(display__limit=2, display__width=30, display__show_tuple_count=False):
        assert "recording.dat, 5 B" in repr(table())
        assert "..." in repr(table())
        assert "None" not in repr(table())
        assert len(cells(table())) == 2 * 4
        assert "Total" not in repr(table()) + table()._repr_html_()
    assert "recording.dat, 5 B" in table().preview(limit=1, width=20)
    assert "sorted" not in table().preview(limit=1, width=20)


def test_queries_of_every_kind_are_shown(table: Any, schema: dj.Schema) -> None:
    other = dj.Schema(schema.database, {"Recording": table}, connection=schema.connection)(
        type("Video", (dj.Manual,), {"definition": "-> Recording\n---\nvideo : file"})
    )
    other.insert1({"k": 1, "video": ("v.mp4", b"123456")})
    named = "recording.dat, 5 B"
    queries = {
        "projection": table.proj("raw"),
        "renamed": table.proj(session="raw"),
        "renamed, restricted": table.proj("rate", session="raw") & "rate < 2",
        "computed": table.proj("raw", twice="rate * 2") & "twice < 4",
        "duplicated": table.proj("raw", again="(raw)"),
        "restricted": table & {"k": 1},
        "by a file": table & {"raw": (table & "k=1").fetch1("raw")},
        "top": table & dj.Top(1, "k"),
        "top, restricted": (table & dj.Top(2, "k")) & "k = 1",
        "aggregation": table.aggr(other.proj(), "raw", n="count(*)"),
        "union": table.proj("raw") + other.proj("video"),
        "join": table * other,
        "left join": table.proj("raw").join(other, left=True),
        "universal": dj.U("k", "raw") & table,
        "free": dj.FreeTable(table().connection, table().full_table_name),
    }
    for name, query in queries.items():
        for shown in (query.preview(width=40), query._repr_html_()):
            assert named in shown, name
            assert "FileRef" not in shown, name
            assert "<file>" not in shown, name
    for name in ("union", "join", "left join"):
        assert "v.mp4, 6 B" in queries[name].preview(width=40), name
    assert "raw" not in table.proj().preview()
    assert "None" in queries["left join"].preview(width=40)


def test_row_that_describes_no_file_is_shown_as_such(table: Any) -> None:
    for damage in ("[]", '"text"', "5", "{}", '{"format": 99}', '{"path": "lab/../x"}', "null", "true"):
        set_text(table, damage)
        assert lines(table())[2] == "1 1.5 <unreadable> json"
        assert cells(table())[2] == "&lt;unreadable&gt;"
        assert lines(table())[3] == "2 2.5 sorted/, 3 files, 6 B json"
    if table().connection.adapter.backend == "postgresql":  # MariaDB takes none that is nested as deep
        set_text(table, "[" * 3000 + "]" * 3000)
        assert "<unreadable>" in table().preview(width=40)


def test_names_are_escaped(table: Any) -> None:
    row = (table & "k=1").fetch1("raw").to_dict()
    for name in ("<img src=x onerror=alert(1)>", "a\x1b[2Jb", "a\u202eb", "%s%d", "a&amp;b"):
        set_text(table, json.dumps({**row, "original_name": name}))
        plain, html = table().preview(width=60), table()._repr_html_()
        assert plain.replace("\n", "").isprintable()
        assert "<img" not in html
        assert "\x1b" not in html
        assert "\u202e" not in html
    assert "a&amp;amp;b, 5 B" in html


def test_names_are_hidden_where_the_configuration_says_so(instance: dj.Instance, store: Store) -> None:
    datajoint_file.configure(store.configuration(display={"file_names": False}), connection=instance)
    schema = instance.Schema(f"hidden_{store.project[-12:]}")
    table = recording_of(schema)
    table.insert1({"id": 1, "raw": ("patient.dat", b"1")})
    assert "patient" not in table().preview(width=60) + table()._repr_html_()
    assert "<file>" in table().preview(width=60)
    schema.drop(prompt=False)


def test_printing_takes_no_more_queries_than_before(
    table: Any, schema: dj.Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = recording_of(schema, "k : int32\n---\nrate : float64", "Plain")
    plain.insert1({"k": 1, "rate": 2.5})
    seen: list[str] = []
    original = table().connection.query

    def noted(sql: str, *args: Any, **options: Any) -> Any:
        seen.append(sql)
        return original(sql, *args, **options)

    monkeypatch.setattr(table().connection, "query", noted)
    for query in (plain(), table()):
        seen.clear()
        query.preview()
        assert len(seen) == 2, seen  # the rows, and their count
