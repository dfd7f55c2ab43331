"""Declaring ``file`` attributes: spellings, refusals before DDL, describe, alter, and every kind of table."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file.errors import DeclarationError, PartitionWarning
from tests.integration.executors import write_toml
from tests.projects import Store, over_mysql, unique
from tests.tables import recording_of


def columns(table: Any) -> list[tuple[Any, ...]]:
    """Type, nullability and comment of the table's columns, as the server's catalogue has them."""
    if table().adapter.backend == "mysql":
        query = (
            "SELECT column_name, data_type, column_type, is_nullable, column_comment FROM information_schema.columns "
            f"WHERE table_schema = '{table.database}' AND table_name = '{table.table_name}' ORDER BY ordinal_position"
        )
    else:
        query = (
            "SELECT column_name, data_type, udt_name, is_nullable, "
            "col_description(format('%%I.%%I', table_schema, table_name)::regclass, ordinal_position) "
            "FROM information_schema.columns "
            f"WHERE table_schema = '{table.database}' AND table_name = '{table.table_name}' ORDER BY ordinal_position"
        )
    return [tuple(row) for row in table().connection.query(query).fetchall()]


def test_both_spellings_declare_the_same_column(schema: dj.Schema) -> None:
    @schema
    class Bare(dj.Manual):
        definition = """
        # a comment on the table
        k : int32
        ---
        raw : file    # the recording
        more=null:file
        """

    @schema
    class Angled(dj.Manual):
        definition = """
        # a comment on the table
        k : int32
        ---
        raw : <file>    # the recording
        more=null:<file>
        """

    assert columns(Bare) == columns(Angled)
    kind = "jsonb" if schema.connection.adapter.backend == "postgresql" else "json"
    raw = columns(Bare)[1]
    assert kind in raw or raw[1] == "longtext"  # MariaDB's json is a longtext with a check
    assert raw[-1] == ":<file>:the recording"
    assert columns(Bare)[2][3] == "YES"


def test_describe_round_trips_and_alter_sees_no_difference(schema: dj.Schema) -> None:
    @schema
    class Recording(dj.Manual):
        definition = """
        k : int32
        ---
        raw : file    # the recording
        more = null : file
        """

    described = Recording.describe()
    assert re.search(r"raw +: <file> +# the recording", described)
    assert re.search(r"more=null +: <file>", described)
    before = columns(Recording)
    Recording.definition = described
    Recording().alter(prompt=False)
    assert columns(Recording) == before


def test_a_file_attribute_is_added_to_a_filled_table(schema: dj.Schema, store: Store) -> None:
    @schema
    class Recording(dj.Manual):
        definition = """
        k : int32
        ---
        raw : file
        """

    Recording.insert1({"k": 1, "raw": ("a.bin", b"a")})
    Recording.definition = """
    k : int32
    ---
    raw : file
    extra = null : file
    """
    Recording().alter(prompt=False)

    assert Recording.fetch1("extra") is None
    Recording.update1({"k": 1, "extra": ("b.bin", b"b")})
    assert Recording.fetch1("extra").read() == b"b"
    assert Recording.fetch1("raw").read() == b"a"
    assert re.search(r"extra=null +: <file>", Recording.describe())


on_mysql = pytest.mark.parametrize("database", ["mysql"], indirect=True)  # DataJoint modifies no column of PostgreSQL


@pytest.mark.parametrize(
    "type_", ["<attach@main>", "<filepath@main>", "<object@main>", "<blob>", "<attach>", "json", "varchar(40)"]
)
def test_filled_attribute_of_another_type_does_not_become_a_file(schema: dj.Schema, type_: str, tmp_path: Path) -> None:
    schema.connection._config.stores = {"main": {"protocol": "file", "location": str(tmp_path / "main")}}
    (tmp_path / "a.bin").write_bytes(b"the only copy")
    Old = recording_of(schema, f"k : int32\n---\nold = null : {type_}")
    Old.insert([{"k": 1, "old": None}, {"k": 2, "old": None}])
    schema.connection.query(f"UPDATE {Old().full_table_name} SET old = %s WHERE k = 2", ('{"path": "a.bin"}',))
    before = columns(Old)
    for line in ("old = null : file", "old = null : <file>  # a comment", "new = null : file  # {old} renamed"):
        Old.definition = f"k : int32\n---\n{line}"
        with pytest.raises(DeclarationError, match=r"Recording.old has values of the type .*Add a new attribute"):
            Old().alter(prompt=False)
    assert columns(Old) == before

    Old.definition = f"k : int32\n---\nold = null : {type_}\nnew_old = null : file"  # as the message says
    Old().alter(prompt=False)
    Old.update1({"k": 2, "new_old": tmp_path / "a.bin"})
    Old.definition = "k : int32\n---\nnew_old = null : file"
    Old().alter(prompt=False)
    assert (Old & {"k": 2}).fetch1("new_old").read() == b"the only copy"


@on_mysql
@pytest.mark.parametrize("rows", [[], [{"k": 1, "old": None}]], ids=["no rows", "null"])
def test_attribute_without_values_may_become_a_file(schema: dj.Schema, rows: list[dict[str, Any]]) -> None:
    Old = recording_of(schema, "k : int32\n---\nold = null : json")
    Old.insert(rows)
    Old.definition = "k : int32\n---\nold = null : file"
    Old().alter(prompt=False)
    Old.insert1({"k": 2, "old": ("a.bin", b"a")})
    assert (Old & {"k": 2}).fetch1("old").read() == b"a"


@on_mysql
def test_filled_file_attribute_is_renamed_and_made_nullable(schema: dj.Schema) -> None:
    Old = recording_of(schema, "k : int32\n---\nold : file")
    Old.insert1({"k": 1, "old": ("a.bin", b"a")})
    Old.definition = "k : int32\n---\nnew = null : file  # {old} is what it was"
    Old().alter(prompt=False)
    assert Old.fetch1("new").read() == b"a"


REFUSED = {
    "primary key": ("raw : file\n---\nnote : varchar(10)", "primary key"),
    "angled primary key": ("k : int32\nraw : <file>", "primary key"),
    "default": ("k : int32\n---\nraw = 'x.dat' : file", "no default but null"),
    "named store": ("k : int32\n---\nraw : file@main", "storage belongs to the pipeline"),
    "angled named store": ("k : int32\n---\nraw : <file@main>", "storage belongs to the pipeline"),
    "default store": ("k : int32\n---\nraw : <file@>", "storage belongs to the pipeline"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_before_any_ddl(schema: dj.Schema, case: str) -> None:
    text, message = REFUSED[case]
    with pytest.raises(DeclarationError, match=message):
        schema(type("Refused", (dj.Manual,), {"definition": text}))
    assert schema.list_tables() == []


def test_a_partition_by_a_secondary_attribute_is_refused_before_any_ddl(pipeline_with_partition: Any) -> None:
    schema, _ = pipeline_with_partition("day{day}")
    with pytest.raises(DeclarationError, match=r"partition_pattern = \"day\{day\}\" names day"):

        @schema
        class Recording(dj.Manual):
            definition = """
            k : int32
            ---
            day : date
            raw : file
            """

    assert schema.list_tables() == []

    @schema
    class WithoutFiles(dj.Manual):
        definition = """
        k : int32
        ---
        day : date
        """


def test_a_placeholder_that_no_table_knows_is_warned_of_with_the_nearest(pipeline_with_partition: Any) -> None:
    schema, _ = pipeline_with_partition("subject{subjct_id}/session{session_id}")
    with pytest.warns(PartitionWarning, match=r"no table has session_id, subjct_id .*\(did you mean subject_id\?\)"):

        @schema
        class Subject(dj.Manual):
            definition = """
            subject_id : int32
            ---
            photo : file
            """


def test_a_placeholder_that_another_table_knows_is_left_out_silently(pipeline_with_partition: Any) -> None:
    schema, store = pipeline_with_partition("subject{subject_id}/session{session_id}")

    @schema
    class Session(dj.Manual):
        definition = """
        subject_id : int32
        session_id : int32
        """

    @schema
    class Subject(dj.Manual):
        definition = """
        subject_id : int32
        ---
        photo : file
        """

    Subject.insert1({"subject_id": 7, "photo": ("a.jpg", b"x")})
    assert f"{store.project}/subject7/{schema.database}/" in store.object_keys()[0]


def test_a_partition_by_an_attribute_altered_in_is_refused(pipeline_with_partition: Any) -> None:
    schema, _ = pipeline_with_partition("day{day}")

    class Recording(dj.Manual):
        definition = """
        k : int32
        ---
        raw : file
        """

    with pytest.warns(PartitionWarning, match="no table has day in its primary key"):
        Recording = schema(Recording)  # type: ignore[misc]
    Recording.definition = """
    k : int32
    ---
    raw : file
    day = null : date
    """
    with pytest.raises(DeclarationError, match="names day"):
        Recording().alter(prompt=False)
    assert "day" not in [column[0] for column in columns(Recording)]


def test_every_kind_of_table_holds_files(schema: dj.Schema, store: Store) -> None:
    @schema
    class Method(dj.Lookup):
        definition = """
        method : varchar(12)
        ---
        template : file
        """
        contents = [{"method": name, "template": (f"{name}.txt", name.encode())} for name in ("fast", "slow")]

    @schema
    class Recording(dj.Manual):
        definition = """
        subject_id : int32
        ---
        -> Method
        raw : file
        """

        class Trace(dj.Part):
            definition = """
            -> master
            trace : int32
            ---
            data : file
            """

    @schema
    class Filtered(dj.Computed):
        definition = """
        -> Recording
        ---
        result : file
        """

        def make(self, key: dict[str, Any]) -> None:
            content = (Recording & key).fetch1("raw").read()
            self.insert1({**key, "result": ("upper.txt", content.upper())})

    @schema
    class Imported(dj.Imported):
        definition = """
        -> Recording.Trace
        ---
        copy : file
        """

        def make(self, key: dict[str, Any]) -> None:
            self.insert1({**key, "copy": (Recording.Trace & key).fetch1("data")})

    Recording.insert1({"subject_id": 1, "method": "fast", "raw": ("r.txt", b"raw")})
    Recording.Trace.insert([{"subject_id": 1, "trace": i, "data": ("t.txt", b"%d" % i)} for i in range(2)])
    Filtered.populate()
    Imported.populate()

    assert Filtered.fetch1("result").read() == b"RAW"
    assert {ref.read() for ref in Imported.to_arrays("copy")} == {b"0", b"1"}
    joined = (Recording * Method * Filtered).fetch1()
    assert (joined["template"].read(), joined["result"].read()) == (b"fast", b"RAW")
    names = {key.split("/objects/")[1].split("/")[0] for key in store.object_keys()}
    assert names == {
        "Method-template",
        "Recording-raw",
        "Recording.Trace-data",
        "Filtered-result",
    }  # what was imported shares the object of its recording
    if schema.connection.adapter.backend == "mysql":
        schema(Method)  # contents are there already: nothing is stored again
        assert len(store.object_keys()) == 6


@over_mysql
def test_an_auto_increment_key_is_refused_before_anything_is_stored(schema: dj.Schema, store: Store) -> None:
    """DataJoint declares no such attributes on PostgreSQL."""

    @schema
    class Counted(dj.Manual):
        definition = """
        k : int auto_increment
        ---
        raw : file
        """

    with pytest.raises(datajoint_file.errors.InvalidKeyError, match="k has no value"):
        Counted.insert1({"raw": ("x", b"")})
    assert store.object_keys() == []
    Counted.insert1({"k": 5, "raw": ("x", b"5")})
    assert Counted.fetch1("raw").read() == b"5"


def test_free_tables_and_virtual_modules_insert_and_fetch(
    schema: dj.Schema, pipeline: dj.Instance, store: Store
) -> None:
    @schema
    class Recording(dj.Manual):
        definition = """
        k : int32
        ---
        raw : file
        """

        class Trace(dj.Part):
            definition = """
            -> master
            trace : int32
            ---
            data : file
            """

    free = pipeline.FreeTable(Recording.full_table_name)
    free.insert1({"k": 1, "raw": ("a.txt", b"free")})
    module = dj.VirtualModule("lab", schema.database, connection=pipeline.connection)
    module.Recording.insert1({"k": 2, "raw": ("a.txt", b"virtual")})
    module.Recording.Trace.insert1({"k": 2, "trace": 1, "data": ("t.txt", b"trace")})

    assert [ref.read() for ref in free.to_arrays("raw", order_by="k")] == [b"free", b"virtual"]
    assert module.Recording.Trace.fetch1("data").read() == b"trace"
    assert {key.split("/objects/")[1].split("/")[0] for key in store.object_keys()} == {
        "Recording-raw",
        "Recording.Trace-data",
    }


def test_renamed_attributes_stay_files(schema: dj.Schema) -> None:
    @schema
    class Recording(dj.Manual):
        definition = """
        k : int32
        ---
        raw : file
        """

    Recording.insert1({"k": 1, "raw": ("a.txt", b"a")})
    assert (Recording.proj(other="raw")).fetch1("other").read() == b"a"
    assert "a.txt, 1 B" in repr(Recording())


def test_a_process_that_never_imported_the_package_reads_and_writes(
    schema: dj.Schema, database: Any, store: Store, tmp_path: Path
) -> None:
    @schema
    class Recording(dj.Manual):
        definition = """
        k : int32
        ---
        raw : file
        """

    Recording.insert1({"k": 1, "raw": ("a.txt", b"first")})
    (tmp_path / "datajoint.toml").write_text(
        f'[project]\nname = "{store.project}"\n[storage]\nbackend = "file"\npath = "{store.table["path"]}"\n'
    )
    code = f"""
import sys, warnings
warnings.simplefilter("ignore")
import datajoint as dj
assert "datajoint_file" not in sys.modules
instance = dj.Instance({database.host!r}, {database.user!r}, {database.password!r}, port={database.port},
                       use_tls=False, backend={schema.connection.adapter.backend!r})
module = dj.VirtualModule("lab", {schema.database!r}, connection=instance.connection)
print(module.Recording.fetch1("raw").read())
module.Recording.insert1({{"k": 2, "raw": ("b.txt", b"second")}})
schema = instance.Schema({schema.database!r})
@schema
class Angled(dj.Manual):
    definition = '''
    k : int32
    ---
    raw : <file>
    '''
Angled.insert1({{"k": 1, "raw": ("c.txt", b"third")}})
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "b'first'" in done.stdout
    assert (Recording & "k=2").fetch1("raw").read() == b"second"
    assert len(store.object_keys()) == 3


@over_mysql
def test_statement_that_loads_the_package_in_its_middle_stores_files_and_directories(
    schema: dj.Schema, store: Store, database: Any, tmp_path: Path
) -> None:
    table = recording_of(schema)
    write_toml(store, tmp_path)
    (tmp_path / "run" / "c" / "empty").mkdir(parents=True)
    (tmp_path / "run" / "a.txt").write_bytes(b"first")
    (tmp_path / "run" / "c" / "ö.txt").write_bytes(b"second")
    code = f"""
import sys, warnings
warnings.simplefilter("ignore")
import datajoint as dj
instance = dj.Instance({database.host!r}, {database.user!r}, {database.password!r}, port={database.port}, use_tls=False)
table = dj.FreeTable(instance.connection, {table.full_table_name!r})
assert "datajoint_file" not in sys.modules
table.insert([{{"id": 1, "raw": "run/a.txt"}}, {{"id": 2, "raw": "run"}}])
assert "datajoint_file.hooks.unhooked" in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    file, directory = table.to_arrays("raw", order_by="id")
    assert (file.read(), [one.read() for one in directory.files()]) == (b"first", [b"first", b"second"])
    assert sorted(directory.listdir("c")) == ["empty", "ö.txt"]
    assert datajoint_file.verify(table, level="content").checked == 2


def test_a_foreign_schema_name_is_safe_in_keys(pipeline: dj.Instance, store: Store) -> None:
    schema = pipeline.Schema(f"{unique('s')}-x#y")
    try:

        @schema
        class Recording(dj.Manual):
            definition = """
            k : int32
            ---
            raw : file
            """

        Recording.insert1({"k": 1, "raw": ("a.txt", b"a")})
        assert Recording.fetch1("raw").read() == b"a"
        assert all("#" not in key for key in store.object_keys())
    finally:
        schema.drop(prompt=False)
