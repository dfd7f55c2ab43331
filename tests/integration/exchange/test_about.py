"""Tags of rows and the provenance of files go along with a slice, and are told as what somebody else says."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest
from datajoint.schemas import list_schemas

import datajoint_file
from datajoint_file import Link
from datajoint_file.errors import ExchangeError
from datajoint_file.exchange import importing, putting
from datajoint_file.exchange.putting import Judged
from tests.integration.exchange.conftest import Side
from tests.integration.exchange.test_exchange import sent


def lab(side: Side, nas: Path) -> dict[str, Any]:
    """Rows with tags, inserted by two programs; of one nothing is noted."""
    schema = side.schema()

    class Subject(dj.Manual):
        definition = "subject : varchar(20)"

    class Recording(dj.Manual):
        definition = "-> Subject\nday : date\n---\nraw = null : file\nlinked = null : file"

    schema(Subject, context=None)
    schema(Recording, context={"Subject": Subject})
    (nas / "run.dat").write_bytes(b"on the NAS")
    Subject.insert({"subject": name} for name in ("a%s", "ü", "not wanted"))
    with datajoint_file.program("rig upload", version="1.4"):
        Recording.insert1(
            {"subject": "a%s", "day": "2026-01-01", "raw": ("a.dat", b"a"), "linked": Link(nas / "run.dat")}
        )
        Recording.insert1({"subject": "ü", "day": "2026-01-02", "raw": ("b.dat", b"b")})
    with datajoint_file.program("by hand"):
        Recording.insert1({"subject": "ü", "day": "2026-01-03", "raw": ("b.dat", b"b")})
    Recording.insert1({"subject": "ü", "day": "2026-01-04"})
    Recording.insert1({"subject": "not wanted", "day": "2026-01-01", "raw": ("c.dat", b"c")})
    datajoint_file.tag(Recording, "all", "größe %")
    datajoint_file.tag(Recording & {"day": "2026-01-03"}, "good")
    datajoint_file.tag(Subject & {"subject": "ü"}, "healthy")
    return {"Subject": Subject, "Recording": Recording}


def raw_tags(table: Any) -> list[tuple[Any, ...]]:
    """The hidden table of tags, by raw SQL."""
    adapter = table.connection.adapter
    name = adapter.make_full_table_name(table.database, f"~tag__{table.table_name}")
    return sorted(tuple(map(str, row)) for row in table.connection.query(f"SELECT * FROM {name}").fetchall())


def rewritten(out: Path, path: str, text: str) -> None:
    """Change a file of a slice, and its checksum, as anybody can."""
    before, after = (hashlib.sha256(one).hexdigest() for one in ((out / path).read_bytes(), text.encode()))
    (out / path).write_text(text)
    manifest = out / "manifest-sha256.txt"
    manifest.write_text(manifest.read_text().replace(before, after))


def test_tags_and_provenance_arrive(sides: tuple[Side, Side], nas: Path, tmp_path: Path) -> None:
    source, target = sides
    tables, out = lab(source, nas), tmp_path / "out"
    query = tables["Recording"] & "subject <> 'not wanted'"
    _, schemas = sent(source, target, tables, out, query, links="keep")
    name = schemas[tables["Recording"]().database]
    there, people = target.table(f"{name}.recording"), target.table(f"{name}.subject")
    assert raw_tags(there) == [one for one in raw_tags(tables["Recording"]()) if one[0] != "not wanted"]
    assert datajoint_file.tags(there) == {"all": 4, "good": 1, "größe %": 4}
    assert datajoint_file.tags(people) == {"healthy": 1}
    for key in query.proj().to_dicts():
        for attribute in ("raw", "linked"):
            before = datajoint_file.source(tables["Recording"] & key, attribute)
            after = datajoint_file.source(there & key, attribute)
            if before is None:
                assert after is None
                continue
            assert after is not None
            told = ("at", "who", "user", "host", "program", "version", "commit", "is_dirty", "package", "table", "key")
            assert [getattr(after, one) for one in told] == [getattr(before, one) for one in told]
            assert after.imported.keys() == {"at", "user", "host"}
            assert "the lines above are what the export says" in str(after)
            assert not before.imported
    text = (out / f"data/about/{there.database[4:]}.recording.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    known = [sorted(line["provenance"]) for line in lines if "provenance" in line]
    assert known == [["linked", "raw"], ["raw"], ["raw"]]

    (there & {"day": "2026-01-01"}).delete(prompt=False)
    datajoint_file.untag(there, "good")
    datajoint_file.import_(out, prefix="got_", connection=target.connection)  # what an interruption had left out
    assert datajoint_file.tags(there) == {"all": 4, "good": 1, "größe %": 4}
    again = datajoint_file.source(there & {"day": "2026-01-01"}, "raw")
    assert again is not None
    assert (again.program, again.version) == ("rig upload", "1.4")
    (there & {"day": "2026-01-03"}).delete(prompt=False)
    assert datajoint_file.tags(there) == {"all": 3, "größe %": 3}


def test_what_is_said_of_rows_can_be_left_out(sides: tuple[Side, Side], nas: Path, tmp_path: Path) -> None:
    source, target = sides
    tables, out = lab(source, nas), tmp_path / "out"
    _, schemas = sent(source, target, tables, out, tables["Recording"], leave_out=["tags", "provenance"])
    assert not (out / "data" / "about").exists()
    there = target.table(f"{schemas[tables['Recording']().database]}.recording")
    assert datajoint_file.tags(there) == {}
    by = datajoint_file.source(there & {"day": "2026-01-02"}, "raw")
    assert by is not None
    assert by.program not in ("rig upload", None)  # nothing else is known: who imported it
    assert not by.imported


def test_a_row_that_differs_gets_no_tags(sides: tuple[Side, Side], nas: Path, tmp_path: Path) -> None:
    source, target = sides
    tables, out = lab(source, nas), tmp_path / "out"
    _, schemas = sent(source, target, tables, out, tables["Recording"], leave_out=["tags"])
    there = target.table(f"{schemas[tables['Recording']().database]}.recording")
    there.update1({"subject": "ü", "day": "2026-01-03", "raw": ("other.dat", b"other")})
    datajoint_file.export(tables["Recording"], tmp_path / "tagged")
    found = datajoint_file.import_(tmp_path / "tagged", prefix="got_", on_conflict="skip", connection=target.connection)
    assert len(found.conflicts) == 1
    assert datajoint_file.tags(there) == {"all": 4, "größe %": 4}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda one: one["key"].update(subject="else"), "it is about no row of the export"),
        (lambda one: one["tags"].append(" x"), "is no tag"),
        (lambda one: one["provenance"].update(day=one["provenance"]["raw"]), "'day' is said to come from somewhere"),
        (lambda one: one["provenance"]["raw"].update(at="2026-01-01T00:00:00"), "timezone"),
        (lambda one: one["provenance"]["raw"].update(at="1066-10-14T00:00:00Z"), "no file was inserted then"),
        (lambda one: one["provenance"]["raw"].update(who="a\x1b[31m"), "not printable"),
        (lambda one: one["provenance"]["raw"].update(imported={}), "provenance.raw.imported"),
    ],
)
@pytest.mark.parametrize("sides", ["mysql"], indirect=True)
def test_what_others_say_is_checked_first(
    sides: tuple[Side, Side], nas: Path, tmp_path: Path, change: Any, told: str
) -> None:
    source, target = sides
    tables, out = lab(source, nas), tmp_path / "out"
    database = tables["Recording"]().database
    datajoint_file.export(tables["Recording"] & {"subject": "a%s"}, out)
    path = f"data/about/{database}.recording.jsonl"
    said = json.loads((out / path).read_text())
    change(said)
    rewritten(out, path, json.dumps(said))
    with pytest.raises(ExchangeError, match=told):
        datajoint_file.import_(out, connection=target.connection)
    assert database not in list_schemas(target.connection)
    (out / path).write_text("{}")
    with pytest.raises(ExchangeError, match=f"{path}: its SHA-256"):
        datajoint_file.import_(out, connection=target.connection)


@pytest.mark.parametrize("sides", ["mysql"], indirect=True)
def test_what_is_said_of_rows_counts_for_how_much_is_held_at_a_time(
    sides: tuple[Side, Side], nas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = sides
    tables, out = lab(source, nas), tmp_path / "out"
    held: list[int] = []

    def put(rows: Any, new: Any, judged: Judged, *others: Any) -> None:
        held.append(len(judged.about))
        putting.put(rows, new, judged, *others)

    monkeypatch.setattr(importing, "put", put)
    monkeypatch.setattr(importing, "_BYTES_AT_ONCE", 120)
    _, schemas = sent(source, target, tables, out, tables["Recording"])
    assert max(held) == 1
    assert datajoint_file.tags(target.table(f"{schemas[tables['Recording']().database]}.recording"))["all"] == 5
