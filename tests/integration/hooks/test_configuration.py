"""Which pipeline a connection gets, and what happens when there is none, or its store does not answer."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file.errors import (
    BucketNotFoundError,
    ConfigurationError,
    ConfigurationNotFoundError,
    StorageAccessError,
    StorageUnavailableError,
)
from datajoint_file.hooks import connections
from datajoint_file.hooks.connections import connection_of, pipeline_of
from tests.projects import Store, connect, unique
from tests.tables import drop_schema, recording_of

TOML = """
[project]
name = "{project}"
[storage]
backend = "file"
path = "store"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    directory = tmp_path / "project"
    (directory / "store").mkdir(parents=True)
    (directory / "deep" / "down").mkdir(parents=True)
    (directory / "datajoint.toml").write_text(TOML.format(project="found"))
    return directory


@pytest.fixture
def made(instance: dj.Instance) -> Iterator[Any]:
    """Make tables with a ``file`` attribute in schemas that are dropped at the end."""
    schemas = []

    def make() -> Any:
        schemas.append(instance.Schema(unique("schema")))

        @schemas[-1]
        class Recording(dj.Manual):
            definition = """
            k : int32
            ---
            raw : file
            """

        return Recording

    yield make
    for schema in schemas:
        drop_schema(instance.connection, schema.database)


def test_whatever_has_a_connection_leads_to_one_pipeline(
    made: Any, instance: dj.Instance, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    table = made()
    module = dj.VirtualModule("module", table.database, connection=instance.connection)
    schema = dj.Schema(table.database, connection=instance.connection)
    subjects = (instance, instance.connection, schema, module, table, table(), table & "k = 1", table.proj("raw"))
    for subject in subjects:
        assert connection_of(subject) is instance.connection
    assert len({id(pipeline_of(subject)) for subject in subjects}) == 1


def test_root_is_compared_once_for_each_connection_that_shares_a_configuration(
    database: Any, instance: dj.Instance, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    compared: list[object] = []
    monkeypatch.setattr(connections, "check_disjoint", lambda settings, stores: compared.append(settings))
    second = connect(database)
    pipelines = {id(pipeline_of(each)) for _ in range(3) for each in (instance, second)}
    second.connection.close()
    assert (len(pipelines), len(compared)) == (1, 2)


@pytest.mark.parametrize("subject", ["lab_ephys", 3, dj.Manual, dj.Schema], ids=str)
def test_what_has_no_connection_is_refused_by_every_function_alike(subject: Any) -> None:
    for function in (datajoint_file.gc.plan, datajoint_file.gc.kept, connection_of):
        with pytest.raises(TypeError, match="has no connection to a database: give a connection"):
            function(subject)
    with pytest.raises(TypeError, match="has no connection to a database"):
        datajoint_file.configure({}, connection=subject)


def test_the_nearest_file_upwards_is_used_and_a_later_chdir_changes_nothing(
    made: Any, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project / "deep" / "down")
    table = made()
    monkeypatch.chdir(tmp_path)
    table.insert1({"k": 1, "raw": ("a.txt", b"a")})
    ref = table.fetch1("raw")
    assert ref.path.startswith("found/")
    assert (project / "store" / ref.path.removeprefix("found/")).read_bytes() == b"a"
    assert ref.read() == b"a"


def test_the_variable_names_the_file(made: Any, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATAJOINT_TOML", str(project / "datajoint.toml"))
    table = made()
    table.insert1({"k": 1, "raw": ("a.txt", b"a")})
    assert table.fetch1("raw").read() == b"a"


def test_variables_override_single_values(
    made: Any, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(project)
    monkeypatch.setenv("DATAJOINT_FILE__STORAGE__PATH", str(tmp_path / "elsewhere"))
    made().insert1({"k": 1, "raw": ("a.txt", b"a")})
    assert any((tmp_path / "elsewhere").iterdir())


def test_a_missing_file_is_reported_when_a_file_attribute_needs_it(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table = made()
    with pytest.raises(ConfigurationNotFoundError, match="datajoint-file init"):
        table.insert1({"k": 1, "raw": ("a.txt", b"a")})
    (tmp_path / "store").mkdir()
    (tmp_path / "datajoint.toml").write_text(TOML.format(project="late"))
    table.insert1({"k": 1, "raw": ("a.txt", b"a")})
    assert table.fetch1("raw").path.startswith("late/")


def test_a_broken_file_harms_no_table_without_files(
    instance: dj.Instance, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "datajoint.toml").write_text("[project\n")
    monkeypatch.chdir(project)
    schema = instance.Schema(unique("schema"))
    try:

        @schema
        class Plain(dj.Manual):
            definition = """
            k : int32
            """

        Plain.insert1({"k": 1})
        assert len(Plain()) == 1
        with pytest.raises(ConfigurationError, match=r"datajoint.toml is not valid TOML"):

            @schema
            class WithFile(dj.Manual):
                definition = """
                k : int32
                ---
                raw : file
                """

    finally:
        schema.drop(prompt=False)


def test_a_second_pipeline_on_one_connection_is_refused_with_the_way_out(
    made: Any, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    first = made()
    other = tmp_path / "other"
    (other / "store").mkdir(parents=True)
    (other / "datajoint.toml").write_text(TOML.format(project="other"))
    monkeypatch.chdir(other)
    second = made()

    first.insert1({"k": 1, "raw": ("a.txt", b"a")})
    with pytest.raises(ConfigurationError, match=r"(?s)other/datajoint.toml.*project/datajoint.toml.*dj.Instance"):
        second.insert1({"k": 1, "raw": ("a.txt", b"a")})
    with pytest.raises(ConfigurationError, match="already uses the pipeline 'found'"):
        datajoint_file.configure(other / "datajoint.toml", connection=first().connection)


def test_reading_files_leaves_the_pipeline_open_and_downloading_a_query_does_not(
    made: Any, database: Any, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    table = made()
    table.insert1({"k": 1, "raw": ("a.txt", b"a")})
    (tmp_path / "other").mkdir()
    document = {"project": {"name": "other"}, "storage": {"backend": "file", "path": str(tmp_path / "other")}}
    for read, refused in (
        (lambda query: query.fetch1("raw").read(), False),
        (lambda query: datajoint_file.download(query, tmp_path / "new"), True),
    ):
        other = connect(database)
        read(other.FreeTable(table.full_table_name))
        if refused:
            with pytest.raises(ConfigurationError, match="already uses the pipeline 'found'"):
                datajoint_file.configure(document, connection=other)
        else:
            datajoint_file.configure(document, connection=other)
        other.connection.close()


def test_two_connections_have_two_pipelines(database: Any, tmp_path: Path) -> None:
    name, tables = unique("schema"), []
    for project in ("one", "two"):
        (tmp_path / project).mkdir()
        instance = connect(database)
        document = {"project": {"name": project}, "storage": {"backend": "file", "path": str(tmp_path / project)}}
        datajoint_file.configure(document, connection=instance)
        schema = instance.Schema(f"{name}_{project}")

        @schema
        class Recording(dj.Manual):
            definition = """
            k : int32
            ---
            raw : file
            """

        Recording.insert1({"k": 1, "raw": ("a.txt", project.encode())})
        tables.append((instance, schema, Recording))
    for (instance, schema, table), project in zip(tables, ("one", "two"), strict=True):
        assert table.fetch1("raw").path.startswith(f"{project}/")
        assert table.fetch1("raw").read() == project.encode()
        schema.drop(prompt=False)
        instance.connection.close()


@pytest.mark.parametrize("is_found", [True, False], ids=["found", "by hand"])
def test_file_that_changes_between_two_connections_gives_each_its_own_store(
    database: Any, project: Path, monkeypatch: pytest.MonkeyPatch, is_found: bool
) -> None:
    monkeypatch.chdir(project)
    path, schema = project / "datajoint.toml", unique("schema")

    def opened() -> Any:
        instance = connect(database)
        if not is_found:
            datajoint_file.configure(path, connection=instance)
        return instance, recording_of(instance.Schema(schema))

    (a, before), changed = opened(), path.read_text().replace('"store"', '"elsewhere"')
    before.insert1({"id": 1, "raw": ("a", b"one")})
    shutil.copytree(project / "store", project / "elsewhere")
    path.write_text(changed)
    b, after = opened()
    after.insert1({"id": 2, "raw": ("a", b"two")})
    before.insert1({"id": 3, "raw": ("a", b"three")})
    stored = [(before, 1, b"one", "store"), (before, 3, b"three", "store"), (after, 2, b"two", "elsewhere")]
    for table, number, content, place in stored:
        ref = (table & {"id": number}).fetch1("raw")
        assert ref.read() == content
        assert ref.url == f"file://{project}/{place}/{ref.path.partition('/')[2]}"
        assert bool(datajoint_file.verify(table & {"id": number}, progress=False))
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).read())"
    command = [sys.executable, "-W", "ignore", "-c", code]
    assert subprocess.run(command, input=pickle.dumps(ref), capture_output=True, check=True).stdout == b"b'two'\n"
    path.write_text(changed.replace('"file"', '"file"\ndurability = "none"'))
    with pytest.raises(ConfigurationError, match="already uses the pipeline 'found'"):
        datajoint_file.configure(path, connection=b)
    a.connection.close()
    b.Schema(schema).drop(prompt=False)
    b.connection.close()


def test_path_that_none_can_be_is_an_error_of_the_configuration() -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: embedded null byte"):
        datajoint_file.configure("x\0y")


def test_a_root_inside_a_store_of_datajoint_is_refused(instance: dj.Instance, made: Any, tmp_path: Path) -> None:
    (tmp_path / "store" / "inside").mkdir(parents=True)
    instance.config.stores = {"main": {"protocol": "file", "location": str(tmp_path / "store")}}
    document = {"project": {"name": "p"}, "storage": {"backend": "file", "path": str(tmp_path / "store" / "inside")}}
    with pytest.raises(ConfigurationError, match="store 'main'"):
        datajoint_file.configure(document, connection=instance)


def test_a_store_of_datajoint_that_is_added_later_is_seen(instance: dj.Instance, made: Any, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    recording = bad_store(instance, made, {"backend": "file", "path": str(tmp_path / "store")})
    recording.insert1({"k": 1, "raw": ("a.txt", b"a")})
    instance.config.stores["late"] = {"protocol": "file", "location": str(tmp_path)}
    with pytest.raises(ConfigurationError, match="store 'late'"):
        recording.insert1({"k": 2, "raw": ("a.txt", b"a")})
    assert len(recording()) == 1


def bad_store(instance: dj.Instance, made: Any, table: dict[str, Any]) -> Any:
    datajoint_file.configure({"project": {"name": "p"}, "storage": table}, connection=instance)
    return made()


def test_a_missing_directory_is_an_error_before_any_row(instance: dj.Instance, made: Any, tmp_path: Path) -> None:
    recording = bad_store(instance, made, {"backend": "file", "path": str(tmp_path / "unmounted")})
    with pytest.raises(
        StorageUnavailableError, match=r"Recording.raw \(k=1\).*mounted\? For a new .*mkdir -p"
    ) as caught:
        recording.insert1({"k": 1, "raw": ("a.txt", b"a")})
    assert isinstance(caught.value, ConnectionError)
    assert len(recording()) == 0


@pytest.mark.parametrize("kind", ["s3", "gcs", "azure"])
@pytest.mark.parametrize("database", ["mysql"], indirect=True)
def test_a_missing_bucket_is_an_error_before_any_row(
    instance: dj.Instance, made: Any, kind: str, request: pytest.FixtureRequest
) -> None:
    table = dict(request.getfixturevalue(f"{kind}_storage"))
    table["container" if kind == "azure" else "bucket"] = "no-such-bucket"
    recording = bad_store(instance, made, table)
    with pytest.raises(BucketNotFoundError, match="no-such-bucket"):
        recording.insert1({"k": 1, "raw": ("a.txt", b"a")})
    assert len(recording()) == 0


@pytest.mark.parametrize("database", ["mysql"], indirect=True)
def test_wrong_credentials_are_an_error_that_does_not_show_them(
    instance: dj.Instance, made: Any, s3_storage: dict[str, Any]
) -> None:
    canary = "CANARYwrongsecret0123456789"
    table = {**s3_storage, "credentials": {"key": "nobody", "secret": canary}}
    recording = bad_store(instance, made, table)
    with pytest.raises(StorageAccessError, match=r"\[storage.credentials\]") as caught:
        recording.insert1({"k": 1, "raw": ("a.txt", b"a")})
    assert canary not in str(caught.value)
    assert canary not in repr(caught.value)


@pytest.mark.parametrize("database", ["mysql"], indirect=True)
def test_an_unreachable_store_is_an_error_before_any_row(instance: dj.Instance, made: Any) -> None:
    table = {
        "backend": "s3",
        "bucket": "b",
        "endpoint_url": "http://127.0.0.1:9",
        "credentials": {"key": "k", "secret": "s"},
        "options": {"config_kwargs": {"retries": {"max_attempts": 0}, "connect_timeout": 1}},
    }
    recording = bad_store(instance, made, table)
    with pytest.raises(StorageUnavailableError, match="cannot be reached"):
        recording.insert1({"k": 1, "raw": ("a.txt", b"a")})
    assert len(recording()) == 0


def test_thread_safe_mode_is_respected(database: Any, store: Store, tmp_path: Path) -> None:
    backend = connect(database).connection.adapter.backend
    code = f"""
import warnings; warnings.simplefilter("ignore")
import datajoint as dj, datajoint_file
document = {store.configuration()!r}
try:
    datajoint_file.configure(document)
except dj.errors.ThreadSafetyError:
    print("refused")
instance = dj.Instance({database.host!r}, {database.user!r}, {database.password!r}, port={database.port},
                       use_tls=False, backend={backend!r})
datajoint_file.configure(document, connection=instance)
schema = instance.Schema({unique("schema")!r})
@schema
class Recording(dj.Manual):
    definition = '''
    k : int32
    ---
    raw : file
    '''
Recording.insert1({{"k": 1, "raw": ("a.txt", b"a")}})
print(Recording.fetch1("raw").read())
schema.drop(prompt=False)
"""
    environment = {**os.environ, "DJ_THREAD_SAFE": "true"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "refused" in done.stdout
    assert "b'a'" in done.stdout
