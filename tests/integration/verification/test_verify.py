"""`verify`: what is damaged behind the package's back is found, by table, attribute, key and path; nothing else is."""

from __future__ import annotations

import datetime
import json
import pickle
import random
import uuid
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file.errors import ConfigurationError, UnsupportedValueError
from datajoint_file.hooks import row_listing
from datajoint_file.verification import Finding, VerifyReport
from datajoint_file.verification.verify import verify, verify_telling
from tests.projects import Store, connect, over_local_and_s3, unique

LEVELS = ("exists", "size", "content")
BOTH = pytest.mark.parametrize("workers", [1, 4])


@pytest.fixture
def recording(schema: dj.Schema) -> Any:
    """A table of six rows; half of them have notes."""

    @schema
    class Recording(dj.Manual):
        definition = """
        subject_id : int32
        session_id : int32
        ---
        raw : file
        notes = null : file
        """

    Recording.insert(row(subject, session) for subject in (1, 2) for session in (1, 2, 3))
    return Recording


def row(subject: int, session: int) -> dict[str, Any]:
    content = b"spikes %d %d" % (subject, session)
    notes = ("notes.txt", content[::-1]) if subject == 1 else None
    return {"subject_id": subject, "session_id": session, "raw": ("raw.dat", content), "notes": notes}


def path_of(table: Any, attribute: str = "raw", **key: Any) -> str:
    return str((table & key).fetch1(attribute).path)


def raw_sql(table: Any, statement: str, *values: Any) -> None:
    """Carry out a statement past the package, as an administrator would."""
    table.connection.query(statement.format(table=table.full_table_name), values)


def set_json(table: Any, attribute: str, text: str, condition: str) -> None:
    raw_sql(table, f"UPDATE {{table}} SET {attribute} = %s WHERE {condition}", text)


def kinds(report: VerifyReport) -> list[tuple[Any, ...]]:
    return [(finding.kind, finding.attribute, *finding.key.values()) for finding in report.findings]


@over_local_and_s3
@BOTH
@pytest.mark.parametrize("level", LEVELS)
def test_sound_table_is_found_sound(recording: Any, store: Store, level: str, workers: int) -> None:
    report = verify(recording, level, workers=workers)
    assert report
    assert (report.checked, report.remaining, report.position, report.findings) == (9, 0, None, ())
    assert report.size == (9 * len(b"spikes 1 1") if level == "content" else 0)
    assert "9 files checked" in str(report)


@over_local_and_s3
@BOTH
def test_each_kind_of_damage_is_found_and_named(recording: Any, store: Store, workers: int) -> None:
    missing, short, changed = (path_of(recording, subject_id=1, session_id=session) for session in (1, 2, 3))
    store.remove(missing)
    store.damage(short, b"spikes")
    store.damage(changed, b"sqikes 1 3")
    store.damage(path_of(recording, "notes", subject_id=1, session_id=3), b"")
    set_json(recording, "raw", '{"path": "../../etc/passwd"}', "subject_id = 2 AND session_id = 1")
    before = store.object_keys()

    report = verify(recording(), workers=workers)
    assert not report
    assert report.checked == 9
    assert sorted(kinds(report)) == [
        ("hash", "raw", 1, 3),
        ("missing", "raw", 1, 1),
        ("row", "raw", 2, 1),
        ("size", "notes", 1, 3),
        ("size", "raw", 1, 2),
    ]
    found = {finding.kind: finding for finding in report.findings if finding.attribute == "raw"}
    assert {kind: finding.path for kind, finding in found.items()} == {
        "missing": missing,
        "size": short,
        "hash": changed,
        "row": "../../etc/passwd",
    }
    assert (found["size"].expected, found["size"].found) == ("10 bytes", "6 bytes")
    assert found["hash"].expected != found["hash"].found
    assert all(finding.table == f"{recording.database}.Recording" for finding in report.findings)
    assert found["missing"].message == (
        f"{recording.database}.Recording.raw (subject_id=1, session_id=1): {missing}: expected an object of 10 bytes, "
        "found no object; restore it under this path from a backup or an older version in the bucket, or insert the "
        "file again"
    )
    assert store.object_keys() == before


@over_local_and_s3
def test_cheaper_levels_find_what_they_look_for(recording: Any, store: Store) -> None:
    store.remove(path_of(recording, subject_id=1, session_id=1))
    store.damage(path_of(recording, subject_id=1, session_id=2), b"spikes")
    store.damage(path_of(recording, subject_id=1, session_id=3), b"sqikes 1 3")
    found = {level: [finding.kind for finding in verify(recording, level).findings] for level in LEVELS}
    assert {level: sorted(kinds) for level, kinds in found.items()} == {
        "exists": ["missing"],
        "size": ["missing", "size"],
        "content": ["hash", "missing", "size"],
    }


@over_local_and_s3
def test_every_flipped_bit_is_found(recording: Any, store: Store) -> None:
    chance = random.Random(20250115)
    path = path_of(recording, subject_id=2, session_id=3)
    sound = store.content(path)
    query = recording & {"subject_id": 2, "session_id": 3}
    for _ in range(200 if store.is_local else 10):
        bit = chance.randrange(8 * len(sound))
        flipped = bytearray(sound)
        flipped[bit // 8] ^= 1 << bit % 8
        store.damage(path, bytes(flipped))
        assert [finding.kind for finding in verify(query, workers=1).findings] == ["hash"], bit
    store.damage(path, sound)
    assert verify(query)


def test_two_objects_that_were_swapped_are_both_found(recording: Any, store: Store) -> None:
    first, second = (path_of(recording, subject_id=2, session_id=session) for session in (1, 2))
    content = store.content(first)
    store.damage(first, store.content(second))
    store.damage(second, content)
    assert kinds(verify(recording, workers=1)) == [("hash", "raw", 2, 1), ("hash", "raw", 2, 2)]


def test_restricted_query_concerns_its_rows_only(recording: Any, store: Store) -> None:
    for session in (1, 2, 3):
        store.remove(path_of(recording, subject_id=2, session_id=session))
    assert verify(recording & "subject_id = 1")
    report = verify(recording & "subject_id = 2" & [{"session_id": 3}, {"session_id": 1}], workers=1)
    assert kinds(report) == [("missing", "raw", 2, 1), ("missing", "raw", 2, 3)]
    assert verify(recording & dj.Top(3))
    assert len(verify(recording & dj.Top(4)).findings) == 1


def test_restriction_with_percent_signs_is_taken_as_it_is(recording: Any, store: Store) -> None:
    condition = "CAST(session_id AS char(9)) LIKE '%3%'"
    assert verify(recording & condition).checked == 3


def test_projection_and_join_name_the_table_the_file_is_of(schema: dj.Schema, recording: Any, store: Store) -> None:
    Recording = recording  # noqa: F841 - the foreign key names it

    @schema
    class Probe(dj.Manual):
        definition = """
        -> Recording
        probe : int32
        ---
        image = null : file
        """

    Probe.insert([{"subject_id": 1, "session_id": 1, "probe": p, "image": ("i.png", b"%d" % p)} for p in (1, 2)])
    store.remove(path_of(recording, subject_id=1, session_id=1))
    store.remove(path_of(Probe, "image", probe=2))

    renamed = verify(recording.proj(first="raw"))
    assert kinds(renamed) == [("missing", "raw", 1, 1)]
    assert renamed.checked == 6
    report = verify(recording.proj(data="raw") * Probe)
    assert report.checked == 4
    assert sorted((f.table.partition(".")[2], *k) for f, k in zip(report.findings, kinds(report), strict=True)) == [
        ("Probe", "missing", "image", 1, 1, 2),
        ("Recording", "missing", "raw", 1, 1, 1),
        ("Recording", "missing", "raw", 1, 1, 2),
    ]
    assert verify((recording & "session_id = 1") + recording.proj() & "subject_id = 2").checked == 1


def test_schema_is_checked_with_its_parts_and_without_other_tables(schema: dj.Schema, recording: Any) -> None:
    @schema
    class Plain(dj.Lookup):
        definition = "k : int32"
        contents = [{"k": 1}]

    @schema
    class Session(dj.Manual):
        definition = "session : int32"

        class Trace(dj.Part):
            definition = """
            -> master
            trace : int32
            ---
            samples : file
            """

    Session.insert1({"session": 1})
    Session.Trace.insert({"session": 1, "trace": n, "samples": ("t.bin", b"%d" % n)} for n in range(4))
    assert verify(schema).checked == 9 + 4
    module = dj.VirtualModule("module", schema.database, connection=schema.connection)
    assert verify(module).checked == 13
    assert verify([recording & "subject_id = 1", Session.Trace]).checked == 6 + 4
    assert verify([]).checked == 0


def test_part_table_is_named_as_people_write_it(schema: dj.Schema, store: Store) -> None:
    @schema
    class Session(dj.Manual):
        definition = "session : int32"

        class Trace(dj.Part):
            definition = """
            -> master
            trace : int32
            ---
            samples : file
            """

    Session.insert1({"session": 1})
    Session.Trace.insert1({"session": 1, "trace": 7, "samples": ("t.bin", b"t")})
    store.remove(path_of(Session.Trace, "samples"))
    (finding,) = verify(schema).findings
    assert finding.where == f"{schema.database}.Session.Trace.samples (session=1, trace=7)"


@over_local_and_s3
@BOTH
def test_object_that_rows_share_is_read_once_and_is_each_rows_problem(
    schema: dj.Schema, recording: Any, store: Store, workers: int
) -> None:
    @schema
    class Copied(dj.Manual):
        definition = """
        subject_id : int32
        session_id : int32
        ---
        raw : file
        """

    raw_sql(recording, f"INSERT INTO {Copied.full_table_name} SELECT subject_id, session_id, raw FROM {{table}}")
    report = verify([recording.proj("raw"), Copied], workers=workers)
    assert (report.checked, report.size) == (12, 6 * len(b"spikes 1 1"))

    store.damage(path_of(recording, subject_id=1, session_id=2), b"sqikes 1 2")
    report = verify([recording.proj("raw"), Copied], workers=workers)
    assert report.size == 6 * len(b"spikes 1 1")
    assert sorted(finding.table.partition(".")[2] for finding in report.findings) == ["Copied", "Recording"]
    assert {tuple(finding.key.values()) for finding in report.findings} == {(1, 2)}


GARBAGE = [
    "{}",
    "[]",
    '"text"',
    "17",
    "null",
    "[" * 30 + "]" * 30,
    '{"path": 1, "size": 3}',
    '{"path": "lab/../../etc/passwd", "size": 1, "hash": "sha256:x"}',
    json.dumps({"path": "x" * 2000}),
    '{"format": 99}',
]


@pytest.mark.parametrize("text", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_in_a_row_is_a_finding_of_its_own(recording: Any, text: str) -> None:
    set_json(recording, "raw", text, "subject_id = 1 AND session_id = 2")
    report = verify(recording)
    assert kinds(report) == [("row", "raw", 1, 2)]
    assert report.checked == 9
    assert len(report.findings[0].message) < 1500
    json.dumps(report.to_dict())


def test_path_that_leads_out_of_the_project_through_a_link_is_a_finding(
    recording: Any, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "x").write_bytes(b"spikes 1 1")
    (Path(store.table["path"]) / "link").symlink_to(tmp_path / "secret")
    described = (recording & {"subject_id": 1, "session_id": 1}).fetch1("raw").to_dict()
    text = json.dumps({**described, "path": f"{store.project}/link/x"})
    set_json(recording, "raw", text, "subject_id = 1 AND session_id = 1")
    assert kinds(verify(recording)) == [("row", "raw", 1, 1)]


def test_file_of_another_project_is_unreadable_where_that_is_not_configured(recording: Any) -> None:
    described = (recording & {"subject_id": 1, "session_id": 1}).fetch1("raw").to_dict()
    text = json.dumps({**described, "path": "elsewhere/x/y.dat"})
    set_json(recording, "raw", text, "subject_id = 1")
    report = verify(recording)
    assert kinds(report) == [("unreadable", "raw", 1, session) for session in (1, 2, 3)]
    assert "[projects.elsewhere]" in report.findings[0].found


def test_table_of_another_project_is_told_once(recording: Any) -> None:
    described = (recording & {"subject_id": 1, "session_id": 1}).fetch1("raw").to_dict()
    recording.insert({"subject_id": 3, "session_id": n, "raw": ("x.dat", b"x")} for n in range(12))
    for n in range(12):
        text = json.dumps({**described, "path": f"elsewhere/x/{n}.dat"})
        set_json(recording, "raw", text, f"subject_id = 3 AND session_id = {n}")
    report = verify(recording & "subject_id = 3")
    assert report.findings == ()
    assert report.interruption.startswith("the store is not configured: 10 objects in a row")
    assert "[projects.elsewhere]" in report.interruption


def test_row_deleted_or_updated_since_it_was_listed_is_no_problem(recording: Any, store: Store, database: Any) -> None:
    other = connect(database)
    found: list[Finding] = []

    def meanwhile(_row: Any, _value: Any, finding: Finding | None) -> None:
        """At the first finding, another connection deletes one row whose object is gone, and updates another."""
        if finding is None:
            return
        found.append(finding)
        table = dj.FreeTable(other.connection, recording.full_table_name)
        if len(found) == 1:
            (table & {"subject_id": 1, "session_id": 2}).delete_quick()
            described["path"] = sound
            set_json(table, "raw", json.dumps(described), "subject_id = 1 AND session_id = 3")

    described = (recording & {"subject_id": 2, "session_id": 1}).fetch1("raw").to_dict()
    sound = described["path"]
    for session in (1, 2, 3):
        store.remove(path_of(recording, subject_id=1, session_id=session))
    report = verify_telling(recording.proj("raw"), "exists", workers=1, settled=meanwhile)
    other.connection.close()
    assert kinds(report) == [("missing", "raw", 1, 1)]
    assert report.checked == 6


@BOTH
@pytest.mark.parametrize("budget", [1, "25 B", timedelta(microseconds=1)])
def test_runs_within_a_budget_check_each_object_once(
    schema: dj.Schema, recording: Any, store: Store, budget: Any, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    @schema
    class Another(dj.Manual):
        definition = """
        name : varchar(20)
        ---
        data : file
        """

    Another.insert({"name": name, "data": (f"{name}.bin", name.encode())} for name in "abcde")
    for session in (1, 3):
        store.remove(path_of(recording, subject_id=2, session_id=session))
    monkeypatch.setattr(row_listing, "PAGE_ROWS", 2)
    everything = verify(schema)
    reports = [verify(schema, budget=budget, workers=workers)]
    while reports[-1].position is not None:
        position = json.loads(json.dumps(pickle.loads(pickle.dumps(reports[-1].position))))
        reports.append(verify(schema, budget=budget, workers=workers, after=position))
        assert len(reports) < 20
    assert sum(report.checked for report in reports) == everything.checked == 14
    assert sum(report.size for report in reports) == everything.size
    assert sorted(kinds(everything)) == sorted(kind for report in reports for kind in kinds(report))
    assert [report.remaining for report in reports] == [
        14 - sum(report.checked for report in reports[: i + 1]) for i in range(len(reports))
    ]
    assert reports[-1].is_complete
    assert not reports[0].is_complete
    assert len(reports) > 2


def test_budget_is_exceeded_by_one_row_at_most(recording: Any) -> None:
    report = verify(recording & "subject_id = 2", budget=15, workers=4)
    assert report.size == 20
    assert report.remaining == 1
    assert "1 file not checked yet" in str(report)


def test_budget_that_suffices_reaches_the_end(recording: Any) -> None:
    assert verify(recording, budget="1 GB").is_complete
    assert verify(recording, budget="1h").is_complete


KEY_TYPES: dict[str, tuple[str, list[Any]]] = {
    "int": ("int64", [-5, 0, 2**40]),
    "text": ("varchar(30)", ["", "a'b", "ä%s", "z\\"]),
    "char": ("char(4)", ["a", "b", "cccc"]),
    "enum": ("enum('small', 'large', 'medium')", ["large", "medium", "small"]),
    "date": ("date", [datetime.date(2020, 1, 1), datetime.date(2024, 2, 29)]),
    "datetime": ("datetime(6)", [datetime.datetime(2020, 1, 1, 3, 4, 5, 678901), datetime.datetime(2024, 2, 29)]),
    "uuid": ("uuid", [uuid.UUID(int=7), uuid.UUID(int=2**127), uuid.UUID(int=2**100)]),
    "decimal": ("decimal(9,3)", [Decimal("-1.5"), Decimal("0.001"), Decimal(7)]),
    "float32": ("float32", [0.1, 1 / 3, 1e20]),
    "float64": ("float64", [0.1, 1 / 3, -1e200]),
    "bool": ("bool", [False, True]),
}


@pytest.mark.parametrize(("type_", "values"), KEY_TYPES.values(), ids=KEY_TYPES)
def test_position_works_with_keys_of_every_type(
    schema: dj.Schema, type_: str, values: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Keyed(dj.Manual):
        definition = f"""
        first : {type_}
        second : int32
        ---
        data : file
        """

    schema(Keyed, context={})
    is_postgresql = schema.connection.adapter.backend == "postgresql"
    for value in values:
        given = value.bytes if type_ == "uuid" and not is_postgresql else str(value) if type_ == "uuid" else value
        for n in (1, 2):  # DataJoint itself cannot insert a UUID on PostgreSQL
            raw_sql(Keyed, "INSERT INTO {table} (first, second, data) VALUES (%s, %s, %s)", given, n, "{}")
    monkeypatch.setattr(row_listing, "PAGE_ROWS", 1)
    found, position = [], None
    while True:
        report = verify(Keyed, budget=timedelta(microseconds=1), after=position)
        found += [tuple(finding.key.values()) for finding in report.findings]
        position = report.position
        if position is None:
            break
        assert len(found) < 20
    assert len(found) == len(set(found)) == 2 * len(values)
    assert len(report.to_dict()["findings"]) == len(json.loads(json.dumps(report.to_dict()))["findings"])
    if type_ not in ("float32", "uuid"):
        assert found == [(r["first"], r["second"]) for r in Keyed.proj().to_dicts(order_by="KEY")]


def test_table_without_primary_key_attributes_is_checked(schema: dj.Schema) -> None:
    @schema
    class Settings(dj.Manual):
        definition = """
        ---
        calibration : file
        """

    Settings.insert1({"calibration": ("c.bin", b"c")})
    assert verify(Settings).checked == 1
    assert verify(Settings, budget=1).is_complete


def test_position_of_a_table_that_is_gone_goes_on_with_the_next(schema: dj.Schema) -> None:
    tables = {}
    for name in ("Alpha", "Beta", "Gamma"):
        tables[name] = schema(type(name, (dj.Manual,), {"definition": "k : int32\n---\ndata : file"}), context={})
        tables[name].insert({"k": k, "data": ("x", b"x")} for k in (1, 2))
    first = verify(schema, budget=timedelta(microseconds=1))
    second = verify(schema, budget=timedelta(microseconds=1), after=first.position)
    third = verify(schema, budget=timedelta(microseconds=1), after=second.position)
    assert third.position is not None
    assert "beta" in third.position
    tables["Beta"].drop(prompt=False)
    assert verify(schema, after=third.position).checked == 2


def test_position_of_another_task_is_refused(schema: dj.Schema, recording: Any) -> None:
    position = verify(recording, budget=1).position
    assert position is not None
    with pytest.raises(ValueError, match=r"a position in .*Recording, and .*Elsewhere is to be verified"):
        verify(_another(schema), after=position)
    for wrong in ("", "17", "[]", "{}", '{"part": 0, "table": "x", "key": [["no", 1]]}'):
        with pytest.raises(ValueError, match="after ="):
            verify(recording, after=wrong)


def _another(schema: dj.Schema) -> Any:
    @schema
    class Elsewhere(dj.Manual):
        definition = """
        k : int32
        ---
        data : file
        """

    return Elsewhere


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"level": "hash"}, "level = 'hash': allowed are 'exists', 'size', 'content'"),
        ({"workers": 0}, "workers = 0"),
        ({"workers": True}, "workers = True"),
        ({"budget": "many"}, "budget = 'many'"),
        ({"budget": 0}, "budget = 0"),
        ({"after": "yesterday"}, "after = 'yesterday'"),
    ],
)
def test_bad_arguments_are_named(recording: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"allowed|give") as caught:
        verify(recording, **arguments)
    assert message in str(caught.value)


def test_what_has_no_files_cannot_be_verified(recording: Any) -> None:
    with pytest.raises(UnsupportedValueError, match="no `file` attribute, only subject_id, session_id"):
        verify(recording.proj())
    with pytest.raises(UnsupportedValueError, match="give a table"):
        verify("Recording")


def break_store(store: Store, tmp_path: Path) -> Callable[[], None]:
    """Take a local store away, as an unmounted disk is; return how to bring it back."""
    path, away = Path(store.table["path"]), tmp_path / "unmounted"
    path.rename(away)
    return lambda: (away.rename(path), None)[1]


@BOTH
def test_unreachable_store_is_not_a_store_without_objects(
    recording: Any, store: Store, tmp_path: Path, workers: int
) -> None:
    break_store(store, tmp_path)
    report = verify(recording & "subject_id = 2", workers=workers)
    assert not report
    assert kinds(report) == [("unreadable", "raw", 2, session) for session in (1, 2, 3)]
    assert "is its disk mounted?" in report.findings[0].found
    assert not report.interruption


@BOTH
@pytest.mark.parametrize("count", [1, 40])
def test_run_stops_when_the_store_is_gone_and_can_go_on_later(
    schema: dj.Schema, store: Store, tmp_path: Path, workers: int, count: int
) -> None:
    @schema
    class Many(dj.Manual):
        definition = """
        k : int32
        ---
        data : file
        """

    Many.insert({"k": k, "data": ("x.bin", b"%d" % k)} for k in range(100))
    store.remove(path_of(Many, "data", k=0))
    bring_back: list[Callable[[], None]] = []

    def take_away(_row: Any, _value: Any, finding: Finding | None) -> None:
        if finding is not None and finding.kind == "missing":
            bring_back.append(break_store(store, tmp_path))

    report = verify_telling(Many & f"k < {count + 40}", "content", workers=workers, settled=take_away)
    assert not report
    assert "the store cannot be reached: 10 objects in a row" in report.interruption
    assert "is its disk mounted?" in str(report)
    assert report.counts["missing"] == 1  # others at that moment may be unreadable, but are not missing
    assert report.counts.keys() <= {"missing", "unreadable"}
    assert report.position is not None
    assert report.remaining is not None
    assert report.checked + report.remaining >= count + 40  # what was checked behind the first gap is checked again

    bring_back[0]()
    rest = verify(Many & f"k < {count + 40}", after=report.position)
    assert rest
    assert rest.checked == report.remaining


def test_run_stops_when_the_database_is_gone_and_can_go_on_later(
    schema: dj.Schema, recording: Any, store: Store, database: Any
) -> None:
    for path in recording.to_arrays("raw"):
        store.remove(path.path)
    connection, other = recording.connection, connect(database)
    port, session = connection.conn_info["port"], connection.adapter.get_connection_id(connection._conn)
    is_postgresql = connection.adapter.backend == "postgresql"

    def lose(_row: Any, _value: Any, finding: Finding | None) -> None:
        if finding is None:
            return
        connection.conn_info["port"] = 1  # where nobody listens
        other.connection.query(f"SELECT pg_terminate_backend({session})" if is_postgresql else f"KILL {session}")

    report = verify_telling(recording, "exists", workers=1, settled=lose)
    assert (report.checked, kinds(report), report.remaining) == (2, [("missing", "raw", 1, 1)], None)
    assert report.interruption
    assert "not checked yet" in str(report)
    connection.conn_info["port"] = port
    connection.connect()
    rest = verify(recording, "exists", after=report.position)
    assert (len(rest.findings), rest.checked, rest.interruption) == (5, 7, "")


def test_store_that_is_gone_from_the_start_is_begun_again(schema: dj.Schema, store: Store, tmp_path: Path) -> None:
    @schema
    class Many(dj.Manual):
        definition = """
        k : int32
        ---
        data : file
        """

    Many.insert({"k": k, "data": ("x.bin", b"x")} for k in range(15))
    bring_back = break_store(store, tmp_path)
    for subject in (Many, schema):
        report = verify(subject)
        assert report.interruption
        assert (report.checked, report.remaining, report.findings) == (0, 15, ())
    bring_back()
    assert verify(schema, after=report.position).checked == 15
    assert verify(Many, after=verify(Many, budget=1).position).checked == 14


@pytest.mark.parametrize("level", LEVELS)
def test_unreachable_bucket_stops_the_run(instance: dj.Instance, s3_storage: dict[str, Any], level: str) -> None:
    store = Store({**s3_storage, "bucket": "no-such-bucket-of-ours"}, unique("project"))
    datajoint_file.configure(store.configuration(), connection=instance)
    schema = instance.Schema(unique("schema"))

    @schema
    class Many(dj.Manual):
        definition = """
        k : int32
        ---
        data : file
        """

    described = {
        "path": f"{store.project}/s/x.dat",
        "size": 3,
        "hash": "sha256:" + "0" * 64,
        "original_name": "x.dat",
        "timestamp": "2025-01-15T10:30:00Z",
    }
    for k in range(15):
        text = json.dumps({**described, "path": f"{store.project}/s/{k}.dat"})
        raw_sql(Many, "INSERT INTO {table} (k, data) VALUES (%s, %s)", k, text)
    report = verify(Many, level)
    schema.drop(prompt=False)
    assert "no-such-bucket-of-ours does not exist" in report.interruption
    assert report.findings == ()


def test_all_objects_missing_points_at_the_store(recording: Any, store: Store) -> None:
    for path in store.object_keys():
        store.remove(path)
    assert "is its disk mounted, and is this the right bucket" in str(verify(recording, "exists"))


def test_empty_table_is_sound(schema: dj.Schema, recording: Any) -> None:
    recording.delete()
    report = verify(recording)
    assert report
    assert (report.checked, report.position) == (0, None)


def test_missing_configuration_is_said(instance: dj.Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    schema = instance.Schema(unique("schema"))

    @schema
    class Sound(dj.Manual):
        definition = """
        k : int32
        ---
        data : <file>
        """

    with pytest.raises(ConfigurationError, match=r"no datajoint\.toml"):
        verify(Sound)
    schema.drop(prompt=False)
