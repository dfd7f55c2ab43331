"""Sources of files: what is noted of an insert, and of which program; and the warning of undeclared inputs."""

from __future__ import annotations

import contextvars
import json
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file.errors import JournalWarning, QueryError, UndeclaredInputWarning, UnsupportedValueError
from datajoint_file.journal import sources
from datajoint_file.journal.history_table import HistoryTable
from datajoint_file.journal.second_connection import second_connection_of
from datajoint_file.journal.source_table import SourceTable
from datajoint_file.query.source import source
from tests.projects import Store, connect, over_mysql, over_postgresql, unique
from tests.tables import recording_of

PROGRAMS = ("python -m pytest", "python -c")
"""That run tests: alone, and as one of several workers."""


def noted(table: Any) -> list[tuple[Any, ...]]:
    """The rows of the hidden table, by raw SQL: whether it is a call's, and its facts."""
    name = table.connection.adapter.make_full_table_name(table.database, "~file_source")
    found = table.connection.query(f"SELECT event, object, who, facts FROM {name} ORDER BY event, object").fetchall()
    return [tuple(row) for row in found]


def counted(connection: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the statements that are sent on the user's connection."""
    sent: list[str] = []
    execute = connection._execute_query

    def spy(cursor: Any, query: str, *args: Any) -> Any:
        sent.append(query)
        return execute(cursor, query, *args)

    monkeypatch.setattr(connection, "_execute_query", spy)
    return sent


def test_an_insert_notes_who_and_by_which_program(table: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    table.insert1({"id": 0, "raw": ("first.dat", b"0")})
    sent = counted(table().connection, monkeypatch)
    with datajoint_file.program("rig upload", version="1.4"):
        table.insert({"id": n, "raw": (f"{n}.dat", b"%d" % n), "extra": ("e", b"e")} for n in (1, 2))
    assert sum("~file_source" in sql for sql in sent) == 1
    assert sum(sql.startswith("INSERT") for sql in sent) == 2
    monkeypatch.undo()

    found = source(table & "id = 1", "raw")
    assert found is not None
    assert (found.program, found.version, found.table, found.key) == ("rig upload", "1.4", None, {})
    assert found.who.partition("@")[0] == table().connection.conn_info["user"]
    assert found.host == os.uname().nodename
    assert found.package == datajoint_file.__version__
    assert (found.file, found.at.tzinfo is not None) == ((table & "id = 1").fetch1("raw"), True)
    first = source(table & "id = 0", "raw")
    assert first is not None
    assert first.program in PROGRAMS
    assert "rig upload, version 1.4" in repr(found)
    assert str(Path.home()) not in repr(found) + json.dumps(noted(table))
    rows = noted(table)
    assert [(bool(row[1].strip()), bool(row[3])) for row in rows] in (
        [(False, True), *[(True, False)] * 4, (False, True), (True, False)],
        [(False, True), (True, False), (False, True), *[(True, False)] * 4],
    )

    copy = recording_of(table().connection.schemas[table.database], name="Copy")
    copy.insert(table & "id = 1")
    (ref,) = (table & "id = 2").to_arrays("raw")
    with datajoint_file.program("copying"):
        copy.insert1({"id": 2, "raw": ref})
    for number in (1, 2):
        copied = source(copy & {"id": number}, "raw")
        assert copied is not None
        assert copied.program == "rig upload"
    table.update1({"id": 1, "raw": ("new", b"new")})
    updated = source(table & "id = 1", "raw")
    assert updated is not None
    assert updated.program in PROGRAMS

    before = len(noted(table))
    with table().connection.transaction:
        table.insert1({"id": 9, "raw": ("9.dat", b"9")})
        table().connection.cancel_transaction()
        table().connection.start_transaction()
    assert len(noted(table)) == before
    assert source(table & "id = 0", "extra") is None

    for query, attribute, match in (
        (table, "raw", "several rows"),
        (table & "id = 77", "raw", "no row"),
        (table & "id = 1", None, "no `file` attribute of it; it has raw, extra"),
        (table & "id = 1", "id", "no `file` attribute"),
        (table & "id = 1", "nothing", "no `file` attribute"),
        (7, "raw", "no query"),
    ):
        with pytest.raises(QueryError, match=match):
            source(query, attribute)
    for bad in ("", "a\nb", "x" * 201, 7):
        with pytest.raises(UnsupportedValueError, match="printable text"), datajoint_file.program(bad):  # type: ignore[arg-type]
            pass


SCRIPT = """
import sys, datajoint as dj, datajoint_file, json
host, port, user, password, backend, configuration, name = sys.argv[1:8]
instance = dj.Instance(host, user, password, port=int(port), use_tls=False, backend=backend)
datajoint_file.configure(json.loads(configuration), connection=instance)
dj.FreeTable(instance.connection, name).insert1({"id": 5, "raw": ("s.dat", b"s")})
"""


@over_mysql
def test_a_script_is_noted_by_its_path_and_commit_and_without_its_arguments(
    table: Any, store: Store, tmp_path: Path, database: Any
) -> None:
    home = tmp_path / "home"
    (home / "analysis").mkdir(parents=True)
    script = home / "analysis" / "ingest.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1"}
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(script.parent)]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True, env=environment)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    script.write_text(SCRIPT + "\n# changed\n")
    arguments = [database.host, str(database.port), database.user, database.password, "mysql"]
    arguments += [json.dumps(store.configuration()), table().full_table_name, "CANARY-secret"]
    subprocess.run([sys.executable, str(script), *arguments], check=True, env=environment, cwd=tmp_path)
    found = source(table & "id = 5", "raw")
    assert found is not None
    assert (found.program, found.commit, found.is_dirty) == ("~/analysis/ingest.py", commit, True)
    assert f"~/analysis/ingest.py, commit {commit[:10]}, changed" in str(found)
    assert "CANARY" not in json.dumps(noted(table))
    assert str(home) not in json.dumps(noted(table))


def test_nothing_is_noted_where_it_is_switched_off_or_not_allowed(
    instance: dj.Instance, store: Store, database: Any, request: pytest.FixtureRequest
) -> None:
    datajoint_file.configure(store.configuration(provenance={"enabled": False}), connection=instance)
    schema = instance.Schema(unique("schema"))
    request.addfinalizer(lambda: schema.drop(prompt=False))
    table = recording_of(schema)
    table.insert1({"id": 0, "raw": ("a", b"a")})
    listed = instance.connection.adapter.list_tables_sql(schema.database)
    assert "~file_source" not in [row[0] for row in instance.connection.query(listed).fetchall()]
    assert source(table & "id = 0", "raw") is None

    admin, name, is_postgresql = instance.connection, unique("user")[:30], hasattr(database, "database")
    full = admin.adapter.make_full_table_name
    if is_postgresql:
        admin.query(f"CREATE USER {name} PASSWORD 'pw'")
        admin.query(f'GRANT USAGE ON SCHEMA "{schema.database}" TO {name}')
    else:
        admin.query(f"CREATE USER {name} IDENTIFIED BY 'pw'")
    for hidden in ("recording", "~file_intent", "~file_history", "~file_registry"):
        admin.query(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {full(schema.database, hidden)} TO {name}")
    own = dj.Instance(database.host, name, "pw", port=database.port, use_tls=False, backend=admin.adapter.backend)
    datajoint_file.configure(store.configuration(), connection=own)
    writer = dj.FreeTable(own.connection, table().full_table_name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for number in (1, 2):
            writer.insert1({"id": number, "raw": ("a", b"a")})
        with pytest.raises(dj.errors.AccessError, match=r"denied.*(GRANT CREATE, REFERENCES|GRANT SELECT)"):
            datajoint_file.tag(writer, "good")
    told = [str(one.message) for one in caught if issubclass(one.category, JournalWarning)]
    assert len(told) == 1
    assert "`~file_source`" in told[0]
    assert "[provenance] enabled = false" in told[0]
    assert len(table()) == 3
    own.connection.close()
    second_connection_of(own.connection).close()
    if is_postgresql:
        admin.query(f"DROP OWNED BY {name}")
    admin.query(f"DROP USER {name}")


@pytest.fixture
def lab(schema: dj.Schema, pipeline: dj.Instance) -> Iterator[Any]:
    """What a computed table depends on, and what it does not."""
    pipeline.config.jobs.add_job_metadata = True

    @schema
    class Recording(dj.Manual):
        definition = "id : int32\n---\nraw : file"

        class Trace(dj.Part):
            definition = "-> master\n---\ntrace : file"

    @schema
    class Video(dj.Manual):
        definition = "video_id : int32\n---\nfilm : file"

    @schema
    class Spikes(dj.Computed):
        definition = "-> Recording\n---\nresult : file"
        reads: Any = None

        class Unit(dj.Part):
            definition = "-> master\n---\nunit : file"

        def make(self, key: dict[str, Any]) -> None:
            self.reads(key)
            self.insert1({**key, "result": ("r.dat", b"r")})
            self.Unit.insert1({**key, "unit": ("u.dat", b"u")})
            assert (self & key).fetch1("result").read() == b"r"

    Recording.insert({"id": n, "raw": ("a.dat", b"a")} for n in range(4))
    Recording.Trace.insert({"id": n, "trace": ("t.dat", b"t")} for n in range(4))
    Video.insert({"video_id": n, "film": ("v.dat", b"v")} for n in range(2))
    yield type("Lab", (), {"Recording": Recording, "Video": Video, "Spikes": Spikes})
    pipeline.config.jobs.add_job_metadata = False


def test_make_is_noted_with_its_table_and_key_and_undeclared_inputs_are_told_once(lab: Any) -> None:
    Recording, Video, Spikes = lab.Recording, lab.Video, lab.Spikes

    def declared(key: dict[str, Any]) -> None:
        assert (Recording & key).fetch1("raw").read() == b"a"
        assert (Recording.Trace & key).fetch1("trace").cache().read_bytes() == b"t"
        (Video & "video_id = 0").fetch1("film").url  # noqa: B018 - in another place, as if it were read

    def undeclared(key: dict[str, Any]) -> None:
        for number in (0, 1):
            assert (Video & {"video_id": number}).fetch1("film").read() == b"v"

    def in_another_thread(key: dict[str, Any]) -> None:
        ref = (Video & "video_id = 0").fetch1("film")
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(ref.read,))
        thread.start()
        thread.join()

    Spikes.reads = staticmethod(lambda key: (Recording & key).fetch1("raw").read())
    Spikes.populate({"id": 0})
    film = (Video & "video_id = 0").fetch1("film")
    film.read()
    Spikes.reads = staticmethod(in_another_thread)
    with pytest.warns(UndeclaredInputWarning, match=r"make\(\) of .*\.Spikes reads a file of .*\.Video, which is not"):
        Spikes.populate({"id": 1})
    Spikes.reads = staticmethod(undeclared)
    Spikes.populate()  # warnings are errors: it was told

    found = source(Spikes & "id = 2", "result")
    part = source(Spikes.Unit & "id = 2")
    assert found is not None
    assert part is not None
    assert (found.table, found.key) == (part.table, part.key) == (f"{Spikes.database}.Spikes", {"id": 2})
    assert f"{Spikes.database}.Spikes (id=2)" in repr(found)
    assert {"job_start_time", "job_duration"} <= set(found.datajoint)
    outside = source(Video & "video_id = 0")
    assert outside is not None
    assert outside.table is None


def test_what_was_noted_goes_with_the_objects_and_a_table_that_was_dropped_is_made_anew(table: Any) -> None:
    table.insert({"id": n, "raw": ("a", b"%d" % n)} for n in range(2))
    table.insert1({"id": 2, "raw": ("a", b"2")})
    (table & "id > 0").delete(prompt=False)
    connection = table().connection
    history = HistoryTable(second_connection_of(connection), table.database)
    history.forget_sources("state = 'purged'")
    assert len(noted(table)) == 5
    history.forget_sources("state = 'kept'")  # as what is purged, a month after
    assert len(noted(table)) == 2
    assert source(table & "id = 0", "raw") is not None

    quoted = connection.adapter.make_full_table_name(table.database, "~file_source")
    connection.query(f"DROP TABLE {quoted}")
    assert source(table & "id = 0", "raw") is None
    history.forget_sources("state = 'kept'")
    with pytest.raises(dj.errors.MissingTableError, match="Insert again: it is made anew"):
        table.insert1({"id": 3, "raw": ("a", b"3")})
    table.insert1({"id": 3, "raw": ("a", b"3")})
    assert source(table & "id = 3", "raw") is not None


def test_what_others_have_written_into_the_table_is_shown_and_not_believed(table: Any) -> None:
    table.insert1({"id": 0, "raw": ("a", b"a")})
    name = table().connection.adapter.make_full_table_name(table.database, "~file_source")
    for facts in ("nonsense", "[1]", '{"program": 7, "make": "x", "dirty": "y", "user": "a\\nb"}'):
        table().connection.query(f"UPDATE {name} SET facts = %s WHERE object = ''", (facts,))
        found = source(table & "id = 0", "raw")
        assert found is not None
        assert (found.program, found.table, found.is_dirty) == (None, None, None)
        assert "a\nb" not in repr(found)


@over_postgresql
def test_who_makes_the_table_at_the_same_time_gets_on_as_well(table: Any, database: Any) -> None:
    drop = f"DROP TABLE {table().connection.adapter.make_full_table_name(table.database, '~file_source')}"
    instances = [connect(database) for _ in range(6)]
    for _ in range(4):
        table().connection.query(drop)
        barrier = threading.Barrier(len(instances))

        def make(instance: dj.Instance, barrier: threading.Barrier = barrier) -> None:
            made = SourceTable(second_connection_of(instance.connection), table.database)
            made.is_plain()
            barrier.wait()
            made.create()

        with ThreadPoolExecutor(len(instances)) as threads:
            list(threads.map(make, instances))
    for instance in instances:
        second_connection_of(instance.connection).close()
        instance.connection.close()


def test_a_table_of_that_name_that_is_anothers_keeps_nobody_from_inserting(table: Any) -> None:
    connection = table().connection
    name = connection.adapter.make_full_table_name(table.database, "~file_source")
    connection.query(f"DROP TABLE {name}")
    connection.query(f"CREATE TABLE {name} (x INT)")
    sources._usable.of(connection).clear()
    with pytest.warns(JournalWarning, match="`~file_source`"):
        table.insert1({"id": 1, "raw": ("a", b"a")})
    assert (table & "id = 1").fetch1("raw").read() == b"a"
