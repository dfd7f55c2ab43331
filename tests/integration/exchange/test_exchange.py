"""A slice goes to a server of the other kind and another store, with equal rows, bytes and hashes."""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import bagit
import datajoint as dj
import numpy as np
import pytest
from datajoint.schemas import list_schemas

import datajoint_file
from datajoint_file import Directory, File, Link
from datajoint_file.errors import DestinationExistsError, ExchangeError, HashMismatchError
from tests.integration.exchange.conftest import Side

BYTES = bytes(range(256)) * 3


def lab(side: Side, nas: Path) -> dict[str, Any]:
    """Declare two schemas in which tables depend on each other in many ways, and fill them."""
    people, schema = side.schema(), side.schema()

    class Person(dj.Lookup):
        definition = """
        # who's there: experimenters
        person : varchar(20)   # it's the name, as written
        ---
        unique_id : uuid
        unique index (unique_id)
        """

    people(Person, context=None)

    class Subject(dj.Manual):
        definition = """
        subject_id : int32
        ---
        -> Person.proj(owner="person")
        -> [nullable] Person.proj(helper="person")
        sex = "U" : enum('M', 'F', 'U')
        """

    schema(Subject, context={"Person": Person})

    class Session(dj.Manual):
        definition = """
        -> Subject
        session : int16
        ---
        raw : file              # what was recorded
        tree = null : file
        linked = null : file
        """

        class Trace(dj.Part):
            definition = """
            -> master
            trace : int8
            ---
            picture = null : file
            """

    schema(Session, context={"Subject": Subject})

    class Unit(dj.Computed):
        definition = """
        -> Session
        ---
        small : int8
        big : int64
        flag : bool
        single : float32
        double_ : float64
        price : decimal(9,3)
        fixed : char(4)
        text_ = null : varchar(200)
        day : date
        moment = null : datetime(6)
        raw_bytes : bytes
        document = null : json
        array = null : <blob>
        """

        def make(self, key: dict[str, Any]) -> None:
            n = key["session"]
            self.insert1(
                {
                    **key,
                    "small": -128,
                    "big": 2**63 - 1,
                    "flag": n % 2 == 0,
                    "single": 0.1,
                    "double_": 1 / 3,
                    "price": Decimal("-123456.789"),
                    "fixed": "ab",
                    "text_": None if n == 2 else 'it\'s 100% \\ "größer" \N{SNOWMAN}\n\t',
                    "day": datetime.date(1970, 1, 1),
                    "moment": None if n == 2 else datetime.datetime(2026, 2, 28, 23, 59, 59, 123456),
                    "raw_bytes": BYTES,
                    "document": None if n == 2 else {"a": [1, 2.5, None, True], "ü": 2**53 + 1, "b": "\\"},
                    "array": None if n == 2 else {"x": np.arange(6).reshape(2, 3), "y": "z"},
                }
            )

    schema(Unit, context={"Session": Session})
    for n, name in enumerate(("Ann", "Bo", "Cy", "Di")):  # past DataJoint, which has no UUID on PostgreSQL
        key = uuid.UUID(int=n)
        value = key.bytes if side.is_mysql else str(key)
        side.connection.query(
            f"INSERT INTO {Person().full_table_name} (person, unique_id) VALUES (%s, %s)", (name, value)
        )
    Subject.insert(
        {"subject_id": n, "owner": "Ann", "helper": "Bo" if n == 1 else None, "sex": "MFU"[n]} for n in (0, 1, 2)
    )
    tree = nas.parent / "a tree"
    for name, content in {"a=b.npy": b"1", "sub/.zarray": b"{}", "sub/50%.bin": BYTES, "nul": b"", "x~y": b"y"}.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(content)
    (tree / "empty").mkdir()
    (nas / "run.dat").write_bytes(b"on the NAS")
    for n in (1, 2):
        Session.insert1(
            {
                "subject_id": 1,
                "session": n,
                "raw": File(BYTES * n, name=f"große Daten {n} 50%.dat", title=f"run {n}" if n == 1 else None),
                "tree": Directory(tree, title="all") if n == 1 else None,
                "linked": Link(nas / "run.dat") if n == 1 else None,
            }
        )
    Session.Trace.insert(
        {"subject_id": 1, "session": 1, "trace": n, "picture": ("con.png", b"png") if n else None} for n in range(2)
    )
    Session.insert1({"subject_id": 2, "session": 1, "raw": ("other.dat", b"not wanted")})
    Unit.populate(suppress_errors=False)
    return {"Person": Person, "Subject": Subject, "Session": Session, "Trace": Session.Trace, "Unit": Unit}


def content(table: Any) -> list[dict[str, Any]]:
    """Return rows as a fetch gives them; of files what must be equal, and the bytes."""
    rows = []
    names = [name for name, attribute in table.heading.attributes.items() if not attribute.uuid]
    for row in table.proj(*names).to_dicts(order_by="KEY"):
        rows.append({name: _plain(value) for name, value in row.items()})
    return rows


def uuids(table: Any) -> list[uuid.UUID]:
    sql = f"SELECT unique_id FROM {table.full_table_name}{table.where_clause()} ORDER BY person"
    found = [row[0] for row in table.connection.query(sql).fetchall()]
    return [uuid.UUID(bytes=one) if isinstance(one, bytes) else uuid.UUID(str(one)) for one in found]


def _plain(value: Any) -> Any:
    if isinstance(value, datajoint_file.FileRef):
        return value.original_name, value.title, value.mime_type, value.hash, value.read()
    if isinstance(value, datajoint_file.DirectoryRef):
        return (
            value.original_name,
            value.title,
            value.hash,
            {ref.path.rpartition("/")[2]: ref.read() for ref in value.files()},
        )
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, memoryview):
        return bytes(value)
    if isinstance(value, str):
        return value.rstrip(" ")  # PostgreSQL pads char(4)
    if isinstance(value, float):
        return float(np.float32(value)) if abs(value - 0.1) < 1e-6 else value
    return value


def sent(source: Side, target: Side, tables: dict[str, Any], out: Path, query: Any, **options: Any) -> Any:
    """Export and import, and return what the import says."""
    datajoint_file.export(query, out, **options)
    schemas = {table().database: target.note(f"got_{table().database}") for table in tables.values()}
    return datajoint_file.import_(out, prefix="got_", connection=target.connection), schemas


@pytest.mark.parametrize("format_", ["bagit", "ro-crate"])
def test_rows_files_and_definitions_arrive(sides: tuple[Side, Side], nas: Path, tmp_path: Path, format_: str) -> None:
    source, target = sides
    tables, out = lab(source, nas), tmp_path / "out"
    query = [tables["Unit"] & {"subject_id": 1}, tables["Trace"] & "trace < 2"]
    report, schemas = sent(source, target, tables, out, query, format=format_)
    if format_ == "bagit":
        assert bagit.Bag(str(out)).validate()
    assert report
    wanted = {
        "Person": tables["Person"] & "person in ('Ann', 'Bo')",
        "Subject": tables["Subject"] & "subject_id = 1",
        "Session": tables["Session"] & "subject_id = 1",
        "Trace": tables["Trace"],
        "Unit": tables["Unit"] & "subject_id = 1",
    }
    for name, rows in wanted.items():
        there = target.table(f"{schemas[rows.database]}.{rows.table_name}")
        assert content(there) == content(rows), name
        if name == "Person":
            assert uuids(there) == uuids(rows) == [uuid.UUID(int=0), uuid.UUID(int=1)]
        assert there.heading.primary_key == rows.heading.primary_key
        assert {n: a.nullable for n, a in there.heading.attributes.items()} == {
            n: a.nullable for n, a in rows.heading.attributes.items()
        }
    assert not [key for key in target.store.object_keys() if key.endswith(".partial")]
    again = datajoint_file.import_(out, prefix="got_", connection=target.connection)
    assert again
    assert not again.inserted
    assert sum(again.present.values()) == sum(report.inserted.values())


def test_a_slice_is_a_tree_that_others_can_check(sides: tuple[Side, Side], nas: Path, tmp_path: Path) -> None:
    source, _ = sides
    tables, out = lab(source, nas), tmp_path / "out"
    exported = datajoint_file.export(tables["Session"], out, format="ro-crate")
    crate = json.loads((out / "ro-crate-metadata.json").read_text())
    assert crate["@context"] == ["https://w3id.org/ro/crate/1.1/context", {"sha256": "https://schema.org/sha256"}]
    graph = crate["@graph"]
    assert all(list(entity)[:2] == ["@id", "@type"] for entity in graph)
    files = [entity for entity in graph if entity["@type"] == "File"]
    for entity in files:
        from urllib.parse import unquote

        found = (out / unquote(entity["@id"])).read_bytes()
        assert (str(len(found)), hashlib.sha256(found).hexdigest()) == (entity["contentSize"], entity["sha256"])
    root = next(entity for entity in graph if entity["@id"] == "./")
    on_disk = [path for path in (out / "data").rglob("*") if path.is_file()]
    assert len(root["hasPart"]) == len(files) == len(on_disk)
    assert exported.files == 3 + 1 + 5
    for path in on_disk:
        assert set(str(path.relative_to(out))) <= set(
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._=~-/#"
        )


def test_a_target_that_is_not_empty_is_left_alone(sides: tuple[Side, Side], nas: Path, tmp_path: Path) -> None:
    source, _ = sides
    tables = lab(source, nas)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(DestinationExistsError, match="left as it is"):
        datajoint_file.export(tables["Session"], tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("sides", ["mysql"], indirect=True)
def test_a_long_number_in_json_is_there_when_it_is_there(sides: tuple[Side, Side], tmp_path: Path) -> None:
    schema = sides[0].schema()
    noted = schema(type("Noted", (dj.Manual,), {"definition": "n : int32\n---\nnote : json"}))
    noted.insert({"n": n, "note": {"a": value}} for n, value in enumerate((1e300, 2**64 - 1, 0.1)))
    report, _ = sent(*sides, {"Noted": noted}, tmp_path / "out", noted)
    again = datajoint_file.import_(tmp_path / "out", prefix="got_", connection=sides[1].connection)
    assert [sum(report.inserted.values()), sum(again.present.values())] == [3, 3]


def test_numbers_that_are_none_are_kept_or_refused(sides: tuple[Side, Side], tmp_path: Path) -> None:
    source, target = sides
    if source.connection.adapter.backend == "mysql":
        pytest.skip("MySQL has none")
    schema = source.schema()

    class Odd(dj.Manual):
        definition = """
        n : int32
        ---
        a : float64
        b : float32
        """

    schema(Odd, context=None)
    name = Odd().full_table_name
    Odd.connection.query(f"INSERT INTO {name} (n, a, b) VALUES (1, 'NaN', '-Infinity'), (2, '-0', 'Infinity')")
    datajoint_file.export(Odd, tmp_path / "out")
    with pytest.raises(ExchangeError, match=r"line 1: a: MySQL and MariaDB have no nan; nothing was inserted"):
        datajoint_file.import_(tmp_path / "out", connection=target.connection)
    datajoint_file.import_(tmp_path / "out", prefix="got_", connection=source.connection)
    there = source.table(f"{source.note(f'got_{schema.database}')}.odd")
    a, b = there.to_arrays("a", "b", order_by="n")
    assert math.isnan(a[0])
    assert math.copysign(1, a[1]) == -1
    assert list(b) == [-math.inf, math.inf]


def test_links_stay_links_if_told(sides: tuple[Side, Side], nas: Path, tmp_path: Path) -> None:
    source, target = sides
    schema = source.schema()

    class Recording(dj.Manual):
        definition = "n : int32\n---\nraw : file\nrun = null : file"

    schema(Recording, context=None)
    (nas / "run").mkdir()
    (nas / "run" / "a.bin").write_bytes(b"abc")
    (nas / "run.dat").write_bytes(b"on the NAS")
    Recording.insert1({"n": 1, "raw": Link(nas / "run.dat"), "run": Link(nas / "run")})
    done = datajoint_file.export(Recording, tmp_path / "out", links="keep")
    assert done.files == 1  # a linked directory comes along
    datajoint_file.import_(tmp_path / "out", connection=target.connection)
    there = target.table(f"{target.note(schema.database)}.recording").fetch1()
    assert (there["raw"].linked, there["raw"].read()) == ("nas/run.dat", b"on the NAS")
    assert (there["run"].linked, there["run"].hash) == ("", Recording.fetch1("run").hash)
    (nas / "run.dat").write_bytes(b"else")
    with pytest.raises(
        ExchangeError, match=r"nas/run.dat cannot be kept: changed: .*found 4 bytes. Nothing was inserted"
    ):
        datajoint_file.import_(tmp_path / "out", prefix="got_", connection=target.connection)
    assert f"got_{schema.database}" not in list_schemas(target.connection)


def test_what_cannot_be_carried_is_named_or_left_out(sides: tuple[Side, Side], tmp_path: Path) -> None:
    source, target = sides
    (tmp_path / "raw").mkdir()
    source.instance.config.stores = {"raw": {"protocol": "file", "location": str(tmp_path / "raw")}}
    schema = source.schema()

    class Trace(dj.Manual):
        definition = "n : int32\n---\ntraces = null : <blob@raw>\nraw : file"

    schema(Trace, context=None)
    Trace.insert1({"n": 1, "raw": ("r.dat", b"raw")})
    name = f"{schema.database}.Trace.traces"
    with pytest.raises(ExchangeError, match=rf"{name} is '<blob@raw>', .*leave_out=\['{name}'\]"):
        datajoint_file.export(Trace, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ExchangeError, match="there is no attribute"):
        datajoint_file.export(Trace, tmp_path / "out", leave_out=[f"{name}x", name])
    done = datajoint_file.export(Trace, tmp_path / "out", leave_out=[name])
    assert done.notes == (f"{name} was left out",)
    got = datajoint_file.import_(tmp_path / "out", connection=target.connection)
    assert got.notes == done.notes
    assert target.table(f"{target.note(schema.database)}.trace").heading.names == ["n", "raw"]


def test_a_damaged_object_ends_the_export(sides: tuple[Side, Side], nas: Path, tmp_path: Path) -> None:
    source, _ = sides
    tables = lab(source, nas)
    path = (tables["Session"] & {"subject_id": 1, "session": 2}).fetch1("raw").path
    source.store.damage(path, b"X" * len(BYTES) * 2)
    with pytest.raises(HashMismatchError):
        datajoint_file.export(tables["Session"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))
