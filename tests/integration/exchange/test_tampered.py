"""An export that somebody has damaged or made up is refused as a whole: nothing is declared, nothing is inserted."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest
from datajoint.schemas import list_schemas

import datajoint_file
from datajoint_file.errors import ExchangeError, HashMismatchError
from datajoint_file.exchange.description import TableDescription, definition
from datajoint_file.exchange.importing import _Import
from tests.integration.exchange.conftest import Side


@pytest.fixture
def out(sides: tuple[Side, Side], tmp_path: Path) -> Path:
    schema, out = sides[0].schema(), tmp_path / "out"

    class Subject(dj.Manual):
        definition = """
        n : int32
        ---
        note = null : json
        """

    class Recording(dj.Manual):
        definition = """
        -> Subject
        ---
        raw : file
        tree : file
        """

    schema(Subject, context=None)
    schema(Recording, context={"Subject": Subject})
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    (tmp_path / "tree" / "sub" / "a.bin").write_bytes(b"abc")
    Subject.insert({"n": n, "note": {"n": n}} for n in range(3))
    Recording.insert({"n": n, "raw": ("r.dat", b"raw%d" % n), "tree": tmp_path / "tree"} for n in range(3))
    datajoint_file.export(Recording, out)
    return out


Change = Callable[[dict[str, Any]], object]


def resealed(out: Path, change: Change, table: int = 1) -> None:
    """Change the first row of a table, and let all checksums be right."""
    description = json.loads((out / "data/definitions.json").read_text())
    one = description["tables"][table]
    path = out / "data/tables" / f"{one['schema']}.{one['name']}.jsonl"
    lines = path.read_text().splitlines()
    row = json.loads(lines[0])
    lines[0] = json.dumps(row) if (text := change(row)) is None or not isinstance(text, str) else text
    content = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(content)
    one |= {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    described(out, lambda found: found.update(description))


def described(out: Path, change: Change) -> None:
    """Change the description, and let its checksum be right."""
    path = out / "data/definitions.json"
    description = json.loads(path.read_text())
    text = change(description)
    path.write_text(text if isinstance(text, str) else json.dumps(description))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest = out / "manifest-sha256.txt"
    lines = [line for line in manifest.read_text().splitlines() if not line.endswith(path.name)]
    manifest.write_text("".join(f"{line}\n" for line in [*lines, f"{digest}  data/definitions.json"]))


def _file(out: Path, name: str) -> Path:
    return next(path for path in (out / "data/files").rglob(name))


def _traversal(row: dict[str, Any]) -> None:
    row["raw"]["path"] = "data/files/a.b/raw/0000/000/../../../../../../secret"


def _link(out: Path) -> None:
    path = _file(out, "r.dat")
    shutil.move(path, out.parent / "elsewhere")
    path.symlink_to(out.parent / "elsewhere")


def _renamed(key: str, value: Any) -> Callable[[Path], None]:
    return lambda out: described(out, lambda found: found["tables"][1].update({key: value}))


def _typed(type_: str) -> Callable[[Path], None]:
    return lambda out: described(out, lambda found: found["tables"][0]["attributes"][1].update(type=type_))


TAMPERED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a changed byte": (lambda out: _file(out, "r.dat").write_bytes(b"rawX"), "SHA-256"),
    "a longer file": (lambda out: _file(out, "r.dat").write_bytes(b"raw0 and more"), "13 bytes, expected 4"),
    "a changed member": (lambda out: _file(out, "a.bin").write_bytes(b"abX"), "SHA-256"),
    "a changed manifest": (lambda out: _file(out, "~manifest").write_bytes(b"# "), "list of files"),
    "a missing file": (lambda out: _file(out, "r.dat").unlink(), "cannot be read"),
    "a link": (_link, "cannot be read"),
    "changed rows": (lambda out: next(out.rglob("*.recording.jsonl")).write_text("{}\n"), "bytes, expected"),
    "a changed description": (lambda out: (out / "data/definitions.json").write_text("{}"), "SHA-256"),
    "no manifest": (lambda out: (out / "manifest-sha256.txt").unlink(), "cannot be read"),
    "a traversal": (lambda out: resealed(out, _traversal), "no path of a file"),
    "another attribute": (lambda out: resealed(out, lambda row: row.update(more=1)), "'more' are odd"),
    "another field": (lambda out: resealed(out, lambda row: row["raw"].update(more=1)), "no file as an export"),
    "an absurd number": (lambda out: resealed(out, lambda row: row.update(n=10**30)), "is no int32"),
    "an endless number": (
        lambda out: resealed(out, lambda row: json.dumps(row)[:-1] + ',"n":' + "9" * 9_999 + "}"),
        "no row",
    ),
    "an absurd size": (
        lambda out: resealed(out, lambda row: row["raw"]["row"].update(size=2**80)),
        "not a number of bytes",
    ),
    "no number": (lambda out: resealed(out, lambda row: row.update(n="1")), "is no int32"),
    "a null": (lambda out: resealed(out, lambda row: row.update(raw=None)), "must not be"),
    "deep rows": (lambda out: resealed(out, lambda _: "[" * 100_000), "no row"),
    "deep values": (lambda out: resealed(out, lambda row: row.update(note="[" * 100_000), 0), "note"),
    "a deep description": (lambda out: described(out, lambda _: "[" * 100_000), "description"),
    "another format": (lambda out: described(out, lambda found: found.update(format="x")), "this version reads"),
    "a wild table": (_renamed("name", "x`; DROP TABLE y"), "description"),
    "a wild schema": (_renamed("schema", "../x"), "description"),
    "code for a parent": (
        _renamed("foreign_keys", [{"parent": "__import__('os')", "attributes": {"n": "n"}}]),
        "no table",
    ),
    "code for an attribute": (_renamed("unique", [["n); DROP TABLE x"]]), "description"),
    "a wild type": (_typed("int32 NOT NULL, x int"), "no type"),
    "a wild enumeration": (_typed("enum('a','b\\'')"), "no type"),
    "a schema of the server": (_renamed("schema", "mysql"), "the server's own"),
    "a codec that may run code": (_typed("<graph>"), "no type"),
}


@pytest.mark.parametrize("name", TAMPERED)
@pytest.mark.parametrize("sides", ["mysql"], indirect=True)
def test_tampered_export_is_refused(sides: tuple[Side, Side], out: Path, name: str) -> None:
    _, target = sides
    tamper, told = TAMPERED[name]
    tamper(out)
    before = set(list_schemas(target.connection))
    with pytest.raises(ExchangeError, match=told.replace("(", r"\(")):
        datajoint_file.import_(
            out, prefix="" if name == "a schema of the server" else "got_", connection=target.connection
        )
    assert set(list_schemas(target.connection)) == before
    assert target.store.object_keys() == []


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("decimal(5,2)", "1.234"),
        ("decimal(5,2)", "12345.1"),
        ("datetime", "2020-01-01T00:00:00.5"),
        ("datetime(6)", "2020-01-01T00:00:00+05:00"),
        ("float32", 0.1),
        ("float32", 1e300),
        ("char(5)", "a "),
        ("time", "24:00:00"),
        ("varchar(5)", "a\ud800"),
        ("<attach>", base64.b64encode(b"../a\0b").decode()),
        ("<attach>", base64.b64encode(b"/tmp/a\0b").decode()),
        ("<attach>", base64.b64encode(b"..\0b").decode()),
        ("<attach>", base64.b64encode(b"a").decode()),
        ("json", '"\\ud800"'),
    ],
)
@pytest.mark.parametrize("sides", ["mysql"], indirect=True)
def test_values_that_would_be_others_or_lead_elsewhere_are_refused(
    sides: tuple[Side, Side], out: Path, type_: str, value: Any
) -> None:
    _, target = sides
    _typed(type_)(out)
    resealed(out, lambda row: row.update(note=value), 0)
    before = set(list_schemas(target.connection))
    with pytest.raises(ExchangeError, match="line 1: note: "):
        datajoint_file.import_(out, prefix="got_", connection=target.connection)
    assert set(list_schemas(target.connection)) == before


def test_no_comment_ends_its_statement() -> None:
    wild = ': :<file>: ":\\" COMMENT "%s {database}\n---\n-> Parent #'
    table = {
        "schema": "a",
        "name": "b",
        "comment": wild,
        "attributes": [{"name": "n", "type": "int32", "in_key": True, "comment": wild}],
    }
    lines = definition(TableDescription.model_validate(table), {}, is_mysql=True).splitlines()
    assert len(lines) == 3
    for line in (lines[0], lines[1]):
        assert not set('"\\%{}') & set(line)
        assert "# <file>" in line, "nothing that DataJoint takes for a type"


def test_rows_that_differ_are_refused_or_left_out(sides: tuple[Side, Side], out: Path) -> None:
    source, _ = sides
    name = json.loads((out / "data/definitions.json").read_text())["tables"][1]["schema"]
    table = source.table(f"{name}.recording")
    table.update1({"n": 1, "raw": ("r.dat", b"mine")})
    (table & "n = 2").delete(prompt=False)
    with pytest.raises(ExchangeError, match=r"\(n=1\) is there, and has another raw. Nothing was inserted"):
        datajoint_file.import_(out, connection=source.connection)
    assert len(table) == 2
    report = datajoint_file.import_(out, connection=source.connection, on_conflict="skip")
    assert not report
    assert (sum(report.inserted.values()), sum(report.present.values()), len(report.conflicts)) == (1, 4, 1)
    assert (table & "n = 1").fetch1("raw").read() == b"mine"
    assert (table & "n = 2").fetch1("raw").read() == b"raw2"


def test_another_table_under_the_name_is_refused(sides: tuple[Side, Side], out: Path) -> None:
    _, target = sides
    name = json.loads((out / "data/definitions.json").read_text())["tables"][1]["schema"]
    schema = target.schema(f"got_{name}")

    class Subject(dj.Manual):
        definition = "n : int64\n---\nage = null : int32"

    schema(Subject, context=None)
    with pytest.raises(
        ExchangeError, match="age is only in the database; n is 'int64', and 'int32' in the export; note is"
    ):
        datajoint_file.import_(out, prefix="got_", connection=target.connection)


@pytest.mark.parametrize("name", ["r.dat", "a.bin"])
@pytest.mark.parametrize("sides", ["mysql"], indirect=True)
def test_what_is_changed_after_the_check_is_not_inserted(
    sides: tuple[Side, Side], out: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, target = sides
    original = _Import.check_tables

    def changing(self: _Import) -> None:
        original(self)
        path = _file(out, name)
        path.write_bytes(b"X" * path.stat().st_size)

    monkeypatch.setattr(_Import, "check_tables", changing)
    schema = target.note(f"got_{json.loads((out / 'data/definitions.json').read_text())['tables'][1]['schema']}")
    with pytest.raises(HashMismatchError):
        datajoint_file.import_(out, prefix="got_", connection=target.connection)
    assert len(target.table(f"{schema}.recording")) == 0
