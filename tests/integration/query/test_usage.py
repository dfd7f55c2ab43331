"""Sums and trees of files on real databases, against sums that Python makes of the fetched rows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file import File, Link
from datajoint_file.errors import UnsupportedValueError
from tests.projects import Store, over_mysql, over_postgresql

SUBJECTS = ("a", "a", "b<i>'%$x$", "c")


@pytest.fixture
def pipeline(instance: dj.Instance, store: Store, tmp_path: Path) -> dj.Instance:
    (tmp_path / "nas").mkdir()
    roots = {"nas": {"path": str(tmp_path / "nas")}}
    datajoint_file.configure(store.configuration(roots=roots), connection=instance)
    return instance


@pytest.fixture
def lab(schema: dj.Schema, tmp_path: Path) -> Any:
    """Two tables with files, of three subjects, and one without; a link, a directory, an empty file."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "a.bin").write_bytes(b"a" * 700)
    (tmp_path / "nas" / "linked.dat").write_bytes(b"l" * 5000)

    @schema
    class Recording(dj.Manual):
        definition = """
        subject : varchar(30)
        number : int32
        ---
        raw : file
        extra = null : file
        rig = '' : varchar(10)
        """

    @schema
    class Atlas(dj.Manual):
        definition = "atlas : int32\n---\nimage : file"

    @schema
    class Subject(dj.Manual):
        definition = "subject : varchar(30)\n---\nnote = '' : varchar(10)"

    rows: list[dict[str, Any]] = []
    for number, subject in enumerate(SUBJECTS):
        raw: Any = (f"r{number}.dat", b"x" * (100 + number))
        rows.append({"subject": subject, "number": number, "raw": raw, "extra": None, "rig": f"rig{number % 2}"})
    rows[0]["extra"] = File(tmp_path / "run", title="A directory")
    rows[2]["extra"] = ("empty", b"")
    rows.append(
        {"subject": "c", "number": 9, "raw": Link(tmp_path / "nas" / "linked.dat"), "extra": None, "rig": "rig0"}
    )
    Recording.insert(rows)
    Atlas.insert1({"atlas": 1, "image": ("atlas.png", b"p" * 40)})
    Subject.insert1({"subject": "a"})
    return SimpleNamespace(schema=schema, Recording=Recording, Atlas=Atlas, rows=rows)


def reference(query: Any, group: Callable[[str, dict[str, Any], Any], Any]) -> dict[Any, list[int]]:
    """Add up in Python what a fetch gives, as groups with files, size, linked files and linked size."""
    sums: dict[Any, Counter[str]] = {}
    names = [name for name in query.heading.names if query.heading[name].codec]
    for row in query.to_dicts():
        for name in names:
            if (ref := row[name]) is not None:
                linked = "linked_" if ref.linked else ""
                counter = sums.setdefault(group(name, row, ref), Counter())
                counter += Counter()
                counter[f"{linked}files"] += 1
                counter[f"{linked}size"] += ref.size
    return {key: [one[name] for name in ("files", "size", "linked_files", "linked_size")] for key, one in sums.items()}


def numbers(found: Any) -> dict[Any, list[int]]:
    return {row.group: [row.files, row.size, row.linked_files, row.linked_size] for row in found.rows}


def test_sums_are_those_of_the_fetched_rows(lab: Any) -> None:
    name, recording = lab.schema.database, lab.Recording()
    cases: list[tuple[Any, Any, Callable[[str, dict[str, Any], Any], Any]]] = [
        (recording, "table", lambda *_: (f"{name}.Recording",)),
        (recording, "schema", lambda *_: (name,)),
        (recording, "attribute", lambda attribute, *_: (f"{name}.Recording.{attribute}",)),
        (recording, "subject", lambda _, row, __: (row["subject"],)),
        (recording, "rig", lambda _, row, __: (row["rig"],)),
        (recording, ("number", "attribute"), lambda a, row, _: (row["number"], f"{name}.Recording.{a}")),
        (recording, ("subject", "month"), lambda _, row, ref: (row["subject"], f"{ref.timestamp:%Y-%m}")),
        (recording & "number > 1", "month", lambda _, __, ref: (f"{ref.timestamp:%Y-%m}",)),
        (recording & {"subject": SUBJECTS[2]}, "subject", lambda _, row, __: (row["subject"],)),
        (recording.proj("raw", whose="subject"), "whose", lambda _, row, __: (row["whose"],)),
        (recording & "number > 99", "table", lambda *_: ()),
    ]
    for query, by, group in cases:
        found = datajoint_file.usage(query, by=by)
        assert numbers(found) == reference(query, group), by
        total = reference(query, lambda *_: None).get(None, [0, 0, 0, 0])
        assert [found.total.files, found.total.size, found.total.linked_files, found.total.linked_size] == total
    whole = datajoint_file.usage(lab.schema, by="subject")
    assert [row.group for row in whole.rows] == [("a",), (SUBJECTS[2],), ("c",), (None,)]
    assert whole.rows[-1].size == 40
    assert (whole.total.size, whole.total.linked_size) == (100 + 101 + 102 + 103 + 700 + 40, 5000)
    with pytest.raises(UnsupportedValueError, match="did you mean 'subject'"):
        datajoint_file.usage(lab.schema, by="subjet")


def test_what_only_the_history_has_is_apart(lab: Any) -> None:
    name = lab.schema.database
    (lab.Recording & "number = 1").delete(prompt=False)
    (lab.Recording & "number = 9").delete(prompt=False)  # a link, of which nothing is stored
    lab.Recording.update1({**KEY, "raw": ("new.dat", b"new")})
    found = datajoint_file.usage(lab.schema, by="attribute")
    kept = {row.group[0]: (row.history_files, row.history_size) for row in found.rows}
    assert kept == {
        f"{name}.Atlas.image": (0, 0),
        f"{name}.Recording.extra": (0, 0),
        f"{name}.Recording.raw": (2, 101 + 102),
    }
    assert (found.total.history_files, found.total.history_size) == (2, 203)
    assert "2 (203 B)" in str(found)
    assert datajoint_file.usage(lab.Recording & "number = 0").total.history_files is None
    datajoint_file.revert(lab.Recording & KEY, "raw", version=1)
    by_subject = datajoint_file.usage(lab.Recording, by="subject")
    assert by_subject.total.history_size == 101 + 3  # the row that is gone, and the new one; what is back is a row's
    assert by_subject.rows[0].history_size is None
    lab.Recording.drop(prompt=False)
    gone = datajoint_file.usage(lab.schema)
    assert {row.group[0]: (row.size, row.history_files) for row in gone.rows} == {
        f"{name}.Atlas": (40, 0),
        f"{name}.Recording": (0, 7),
    }


KEY = {"subject": SUBJECTS[2], "number": 2}


@over_mysql
def test_report_prints_and_becomes_a_frame_and_a_plot(lab: Any) -> None:
    pytest.importorskip("matplotlib").use("Agg")
    found = datajoint_file.usage(lab.schema, by="subject")
    lines = str(found).splitlines()
    assert lines[0].split() == ["subject", "files", "size", "linked"]
    assert lines[-1].split() == ["total", "7", "1.1", "kB", "1", "(5.0", "kB)"]
    assert len({len(line) for line in lines if "kB)" in line}) == 1
    html = found._repr_html_()
    assert "b&lt;i&gt;" in html
    assert "<i>" not in html
    frame = found.to_pandas()
    assert frame["size"].sum() == found.total.size
    assert list(frame.columns)[:3] == ["subject", "files", "size"]
    assert json.loads(json.dumps(found.to_dict()))["total"]["linked_files"] == 1
    axes = found.plot()
    axes.figure.canvas.draw()
    assert [text.get_text() for text in axes.get_yticklabels()][1] == r"b<i>'%\$x\$"
    growth = datajoint_file.usage(lab.schema, by=("subject", "month")).plot()
    growth.figure.canvas.draw()
    assert len(growth.get_lines()) == 4


@over_mysql
def test_unknown_objects_are_counted_when_asked(lab: Any, store: Store, instance: dj.Instance) -> None:
    key = next(key for key in store.object_keys() if key.endswith("r0.dat"))
    instance.connection.query(f"DELETE FROM {lab.Recording.full_table_name} WHERE number = 0")
    found = datajoint_file.usage(lab.schema, unknown=True)
    assert found.unknown_files is not None
    assert key in store.object_keys()
    assert found.notes or found.unknown_files >= 1


def test_tree_by_key_and_by_path(lab: Any, store: Store, tmp_path: Path) -> None:
    name = lab.schema.database
    whole = datajoint_file.tree(lab.schema)
    lines = str(whole).splitlines()
    assert lines[0] == f"{name}  1.1 kB, 7 files, 1 linked (5.0 kB)"
    assert any(line.endswith("│   ├── number=0  800 B, 2 files") for line in lines)
    assert any(line.endswith("└── extra: empty  0 B") for line in lines)
    assert any(line.endswith("raw: linked.dat  5.0 kB  (linked)") for line in lines)
    shallow = datajoint_file.tree(lab.Recording, depth=1)
    (recording,) = shallow.branches[0].branches
    first = recording.branches[0]
    assert (first.name, first.size, first.branches) == ("subject=a", 901, ())
    cut = datajoint_file.tree(lab.Recording, depth=2, limit=2)
    (recording,) = cut.branches[0].branches
    assert (recording.size, recording.more_files) == (1106, 6 - 1)
    assert "… 5 more files" in str(cut)
    fitting = datajoint_file.tree(lab.Recording, limit=3)
    assert [one.name for one in fitting.branches[0].branches[0].branches] == [
        "subject=a",
        f"subject={SUBJECTS[2]}",
        "subject=c",
    ]
    assert "<i>" not in fitting._repr_html_()
    paths = datajoint_file.tree(lab.schema, by="path")
    shown = set()

    def walk(branch: Any, prefix: str) -> None:
        if branch.is_file:
            shown.add(prefix + branch.name)
        for one in branch.branches:
            walk(one, f"{prefix}{branch.name}/")

    for branch in paths.branches:
        walk(branch, "")
    rows = [*lab.Recording.to_dicts(), *lab.Atlas.to_dicts()]
    refs = [value for row in rows for value in row.values() if hasattr(value, "path")]
    assert shown == {ref.path for ref in refs}
    by_table = datajoint_file.tree(lab.schema, by="path", depth=4)
    project = next(one for one in by_table.branches if one.name == store.project)
    tables = project.branches[0].branches[0].branches
    assert {one.name: one.size for one in tables} == {"Recording-raw": 406, "Recording-extra": 700, "Atlas-image": 40}
    store.remove(next(key for key in store.object_keys() if key.endswith("r3.dat")))
    (tmp_path / "nas" / "linked.dat").rename(tmp_path / "nas" / "renamed.dat")
    checked = str(datajoint_file.tree(lab.Recording, check=True))
    assert "r3.dat  103 B  (missing)" in checked
    assert "linked.dat  5.0 kB  (linked, missing)" in checked
    assert checked.count("missing") == 2
    assert json.loads(json.dumps(whole.to_dict()))["branches"][0]["name"] == name


@over_postgresql
def test_a_size_that_no_file_has_hides_no_other(table: Any) -> None:
    table.insert1({"id": 1, "raw": ("a.dat", b"a")})
    row = '{"path": "x/y", "original_name": "b", "size": 1e400}'
    table().connection.query(f"INSERT INTO {table().full_table_name} (id, raw) VALUES (2, %s)", [row])
    assert "a.dat  1 B" in str(datajoint_file.tree(table))
