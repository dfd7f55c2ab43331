"""Tables of all kinds: keys of many types, part tables, old attributes that the database keeps in other ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

from datajoint_file import Migration
from tests.integration.migrate.conftest import put_old
from tests.tables import recording_of


def all_steps(table: Any) -> None:
    described = table().describe()
    migration = Migration(table, "raw")
    for step in ("plan", "run", "check", "finish", "check", "back"):
        assert (report := getattr(migration, step)()), report
    lines = [line for line in table().describe().splitlines() if not line.startswith("raw__file")]
    assert [" ".join(line.split()) for line in lines] == [" ".join(line.split()) for line in described.splitlines()]
    assert migration.finish()
    assert migration.forget()


def test_keys_of_many_types(schema: dj.Schema, tmp_path: Path) -> None:
    table = recording_of(
        schema,
        "code : varchar(30)\nat : datetime(6)\nnumber : decimal(6,2)\nday : date\nid : int32\n---\nraw : varchar(300)",
    )
    contents, rows = {}, []
    for number, code in enumerate(("a'b", "50%", 'ü"x', "%s {0}", " ", "back\\slash")):
        (tmp_path / str(number)).write_bytes(code.encode())
        key = {"code": code, "at": f"2025-01-02 03:04:05.12345{number}", "number": f"{number}.25", "day": "2025-02-03"}
        rows.append({**key, "id": number, "raw": str(tmp_path / str(number))})
        contents[number] = code.encode()
    table.insert(rows)
    all_steps(table)
    assert {row["id"]: row["raw"].read() for row in table.to_dicts()} == contents


@pytest.mark.parametrize("kind", ["<attach>", "<filepath@main>", "<attach@main>", "<blob>"])
def test_old_attributes_come_back_as_they_were(schema: dj.Schema, old_store: Path, tmp_path: Path, kind: str) -> None:
    table = recording_of(schema, f"id : int32\n---\nraw : {kind}  # it's \\ so; (old)\nother = null : varchar(9)")
    (old_store / "rig.dat").write_bytes(b"rig")
    values: dict[str, Any] = {"<filepath@main>": "rig.dat", "<blob>": {"a": 1}}
    put_old(table, {1: values.get(kind, str(old_store / "rig.dat"))})
    all_steps(table)
    assert table.fetch1("raw").size


def test_comments_with_the_ends_of_lines_that_only_unicode_knows(schema: dj.Schema, tmp_path: Path) -> None:
    comment = "the\u2028  `raw` int \x85recording"
    table = recording_of(schema, f"id : int32\n---\nraw : varchar(300)  # {comment}")
    (tmp_path / "a").write_bytes(b"a")
    table.insert1({"id": 1, "raw": str(tmp_path / "a")})
    migration = Migration(table, "raw")
    for step in ("run", "check", "finish", "back", "finish"):
        assert (report := getattr(migration, step)()), report
        assert table.heading["raw"].comment == comment
    assert table.fetch1("raw").read() == b"a"


def test_part_tables_and_children(schema: dj.Schema, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")

    @schema
    class Session(dj.Manual):
        definition = """
        id : int32
        ---
        raw : varchar(300)
        """

        class Trace(dj.Part):
            definition = """
            -> master
            trace : int32
            ---
            raw : varchar(300)
            """

    @schema
    class Child(dj.Manual):
        definition = """
        -> Session.Trace
        """

    Session.insert1({"id": 1, "raw": str(tmp_path / "a")})
    Session.Trace.insert1({"id": 1, "trace": 2, "raw": str(tmp_path / "a")})
    Child.insert1({"id": 1, "trace": 2})
    all_steps(Session.Trace)
    all_steps(Session)
    assert Session.Trace.fetch1("raw").read() == b"a"
    (Session & "id = 1").delete(prompt=False)
    assert len(Child()) == 0
