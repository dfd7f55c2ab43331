"""A secret that is in the configuration is nowhere else, whatever succeeds, fails, is shown, logged or stored."""

from __future__ import annotations

import base64
import io
import json
import os
import pickle
import secrets
import shutil
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file import gc
from datajoint_file.cli import main
from datajoint_file.config import load_settings, parse_settings
from datajoint_file.config.secrets import reveal
from datajoint_file.errors import ConfigurationError, DataJointFileError, SourceError, StorageError
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.storage import open_backend
from datajoint_file.transfer.sources import as_source
from tests.programs import Programs
from tests.projects import Store, bare_filesystem, connect, unique
from tests.security.attacks import attacks
from tests.security.canary import Evidence, dumped, listening

OPTION = f"canary-option-{secrets.token_hex(8)}"
SIGNATURE = f"canary-signature-{secrets.token_hex(8)}"
PASSWORD = f"canary-password-{secrets.token_hex(8)}"
WRONG = f"canary-wrong-{secrets.token_hex(8)}"
SIGNED = f"https://user:{PASSWORD}@lab.example/b/x.dat?X-Amz-Date=1&X-Amz-Signature={SIGNATURE}"

over_databases_and_stores = pytest.mark.parametrize(
    "scene",
    [
        "mysql-local",
        "postgresql-s3",
        pytest.param("mysql-s3", marks=pytest.mark.release),
        pytest.param("postgresql-local", marks=pytest.mark.release),
    ],
    indirect=True,
)


class Scene:
    """A project whose every secret is known, in use by a user of the database whose password is one.

    Parameters
    ----------
    database
        The server's address, with that user's name and password.
    table : dict
        The ``[storage]`` table.
    """

    def __init__(self, database: Any, table: dict[str, Any]) -> None:
        self.database = database
        self.store = Store(table, unique("project"))
        credentials = table.get("credentials", {})
        self.evidence = Evidence(
            [OPTION, SIGNATURE, PASSWORD, WRONG, *credentials.values()], [credentials.get("key", "")]
        )
        self.instance = connect(database)
        datajoint_file.configure(self.store.configuration(), connection=self.instance)
        self.schema = self.instance.Schema(unique("schema"))
        definition = "k : int32\n---\nraw = null : file"
        self.table = self.schema(type("Recording", (dj.Manual,), {"definition": definition}))

    def attempt(self, what: str, action: Callable[[], Any]) -> BaseException:
        """Do what must fail, and look at the error."""
        with pytest.raises(BaseException) as caught:
            action()
        self.evidence.add_error(what, caught.value)
        return caught.value

    def other(self, **changes: Any) -> Any:
        """Return the table as a connection sees it whose store differs by *changes*."""
        instance = connect(self.database)
        storage = {**self.store.table, **changes}
        datajoint_file.configure(Store(storage, unique("project")).configuration(), connection=instance)
        return instance.FreeTable(self.table().full_table_name)

    def insert_elsewhere(self, row: dict[str, Any], **changes: Any) -> None:
        """Insert a row with a store that differs by *changes*."""
        self.other(**changes).insert1(row)

    def look_at_the_database(self) -> None:
        """Look at every row of every table of the schema, hidden ones too."""
        connection = self.instance.connection
        if connection.in_transaction:
            connection.cancel_transaction()
        sql = "SELECT table_name FROM information_schema.tables WHERE table_schema = %s"
        names = [name for (name,) in connection.query(sql, (self.schema.database,)).fetchall()]
        assert names
        quote = connection.adapter.quote_identifier
        for name in names:
            for row in connection.query(f"SELECT * FROM {quote(self.schema.database)}.{quote(name)}").fetchall():
                self.evidence.add(f"row of {name}", repr([bytes(v) if isinstance(v, memoryview) else v for v in row]))

    def look_at_the_store(self) -> None:
        """Look at the name and the bytes of everything in the store, whoever wrote it."""
        table = self.store.table
        if self.store.is_local:
            for path in Path(table["path"]).rglob("*"):
                self.evidence.add("object", path.name.encode() + (path.read_bytes() if path.is_file() else b""))
            return
        filesystem = bare_filesystem(table)
        for name in filesystem.find(f"{table['bucket']}/{self.store.project}"):
            self.evidence.add("object", name.encode() + filesystem.cat_file(name))


@pytest.fixture
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    database, store = request.param.split("-")
    address = request.getfixturevalue(database)
    if store == "local":
        (tmp_path / "store").mkdir()
        table: dict[str, Any] = {"backend": "file", "path": str(tmp_path / "store")}
    else:
        table = {**request.getfixturevalue("s3_storage"), "options": {"client_kwargs": {"aws_account_id": OPTION}}}
    if database == "mysql":
        user, administrator = unique("user"), connect(address).connection
        administrator.query(f"CREATE USER {user} IDENTIFIED BY '{PASSWORD}'")
        administrator.query(f"GRANT ALL ON *.* TO {user}")
        address = replace(address, user=user)
    made = Scene(replace(address, password=PASSWORD), table)
    yield made
    with suppress(Exception):  # its connection has been lost on purpose
        made.schema.drop(prompt=False)
        made.instance.connection.close()
    if database == "mysql":
        administrator.query(f"DROP USER {user}")
        administrator.close()


class _Failing(io.RawIOBase):
    """A stream that fails as one over a network does, and is called as those are."""

    name = SIGNED

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        raise self.error


class _Remote(io.BytesIO):
    name = SIGNED


def successes(scene: Scene, directory: Path) -> None:
    """Do everything that works, and look at what it gives."""
    scene.table.insert1({"k": 1, "raw": ("one.bin", b"one")})
    scene.table.insert1({"k": 2, "raw": _Remote(b"two")})
    with scene.instance.connection.transaction:
        scene.table.insert1({"k": 3, "raw": datajoint_file.File(b"three", name="three.bin")})
    scene.table.update1({"k": 1, "raw": ("one again.bin", b"one again")})
    staged = datajoint_file.stage(scene.table, {"k": 4}, "raw", ("four.bin", b"four"))
    scene.evidence.add_reachable("staged", staged)
    scene.table.insert1({"k": 4, "raw": staged})
    for ref in scene.table.to_arrays("raw"):
        scene.evidence.add_reachable("reference", ref)
        scene.evidence.add("content", ref.read())
        scene.evidence.add("url", ref.url)
        scene.evidence.add("downloaded", str(ref.download(f"{directory}/down/")))
        ref.verify()
        with ref.open() as file:
            scene.evidence.add_value("open file", file)
    scene.evidence.add("preview", repr(scene.table()) + scene.table()._repr_html_() + scene.table().describe())
    scene.evidence.add("plan", str(gc.plan(scene.instance.connection, scan=True)))
    validated = scene.table.validate([{"k": 9, "raw": SIGNED}])
    scene.evidence.add("validation", repr(validated.errors))


def failures(scene: Scene) -> None:
    """Do what fails in the user's hands, and look at the errors."""
    row = {"k": 20, "raw": ("x", b"x")}
    denied = OSError(f"403 Client Error: Forbidden for url: https://lab.example/b/x?X-Amz-Signature={SIGNATURE}")
    for value in (SIGNED, Path(SIGNED), (SIGNED, b"x"), datajoint_file.File(SIGNED, name="x"), _Failing(denied)):
        error = scene.attempt("source", partial(scene.table.insert1, {"k": 20, "raw": value}))
        assert isinstance(error, DataJointFileError)
    scene.attempt("interrupt", lambda: scene.table.insert1({"k": 20, "raw": _Failing(KeyboardInterrupt())}))
    scene.attempt("duplicate", lambda: scene.table.insert1({"k": 1, "raw": ("x", b"x")}))
    scene.attempt("configure again", lambda: datajoint_file.configure(bad(), connection=scene.instance))
    scene.attempt("missing key", lambda: scene.table.insert1({"raw": ("x", b"x")}))
    scene.store.remove(scene.table.to_arrays("raw")[0].path)
    scene.attempt("object gone", scene.table.to_arrays("raw")[0].read)
    if scene.store.is_local:
        scene.attempt("no disk", lambda: scene.other(path="/nowhere/at/all").insert1(row))
        return
    credentials = {"key": "nobody", "secret": WRONG}
    quick = {
        "client_kwargs": {"aws_account_id": OPTION},
        "config_kwargs": {"retries": {"max_attempts": 0}, "connect_timeout": 1},
    }
    wrong: dict[str, dict[str, Any]] = {
        "denied": {"credentials": credentials},
        "wrong secret": {"credentials": {**scene.store.table["credentials"], "secret": WRONG}},
        "unreachable": {"endpoint_url": "http://127.0.0.1:9", "options": quick},
        "no bucket": {"bucket": "no-such-bucket"},
        "refused option": {"options": {"config_kwargs": {"no_such_option": OPTION}}},
    }
    for what, changes in wrong.items():
        error = scene.attempt(what, partial(scene.insert_elsewhere, row, **changes))
        assert isinstance(error, StorageError), what


def bad() -> dict[str, Any]:
    return {"project": {"name": "other"}, "storage": {"backend": "s3", "bucket": "b", "credentials": {"secret": WRONG}}}


def bad_rows(scene: Scene) -> None:
    """Read rows that somebody has tampered with, and look at the errors."""
    connection = scene.instance.connection
    quote = connection.adapter.quote_identifier
    documents: list[Any] = [{"path": "s3://b/x"}, {"path": "a/../b"}, []]
    for document in documents:
        sql = f"UPDATE {scene.table().full_table_name} SET {quote('raw')} = %s WHERE {quote('k')} = 3"
        connection.query(sql, (json.dumps(document),))
        scene.attempt("bad row", lambda: [row["raw"].path for row in (scene.table & "k=3").to_dicts()])
    connection.query(f"DELETE FROM {scene.table().full_table_name} WHERE {quote('k')} = 3")


def failing_jobs(scene: Scene) -> None:
    """Populate a table whose every make fails, so that the database keeps the errors."""
    denied = OSError(SIGNED.replace(f"user:{PASSWORD}@", ""))
    values = {1: SIGNED, 2: _Failing(denied), 4: (SIGNED, b"x")}

    def make(self: Any, key: dict[str, Any]) -> None:
        self.insert1({**key, "result": values[key["k"]]})

    definition = "-> Recording\n---\nresult : file"
    base = type("Failing", (dj.Computed,), {"definition": definition, "make": make})
    failing = scene.schema(base, context={"Recording": scene.table})
    done = failing.populate(reserve_jobs=True, suppress_errors=True, return_exception_objects=True)
    assert len(done["error_list"]) == 3
    for _, error in done["error_list"]:
        scene.evidence.add_error("job", error)
    kept = failing.jobs.errors.to_dicts()
    assert len(kept) == 3
    scene.evidence.add("jobs", repr(kept))


def lost_connection(scene: Scene) -> None:
    """Lose the connection in the middle of a transaction, and look at the errors."""
    connection, killer = scene.instance.connection, connect(scene.database).connection
    connection.start_transaction()
    if connection.adapter.backend == "postgresql":
        ((process,),) = connection.query("SELECT pg_backend_pid()").fetchall()
        killer.query(f"SELECT pg_terminate_backend({process})")
    else:
        ((process,),) = connection.query("SELECT CONNECTION_ID()").fetchall()
        killer.query(f"KILL {process}")
    scene.attempt("connection lost", lambda: scene.table.insert1({"k": 30, "raw": ("x", b"x")}))
    with suppress(Exception):
        connection.cancel_transaction()
    killer.close()


@over_databases_and_stores
@attacks(37, 38, 39)
def test_secrets_are_nowhere(scene: Scene, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with listening(scene.evidence):
        successes(scene, tmp_path)
        failures(scene)
        bad_rows(scene)
        failing_jobs(scene)
        scene.look_at_the_database()
        lost_connection(scene)
    scene.look_at_the_store()
    scene.evidence.add("output", "".join(capfd.readouterr()))
    assert scene.evidence.count > 300
    scene.evidence.check()


@attacks(37)
def test_search_for_secrets_finds_them() -> None:
    class Leaking:
        def __init__(self) -> None:
            self.secret = OPTION

    planted: dict[str, Callable[[Evidence], None]] = {
        "text": lambda e: e.add("text", f"a {OPTION} b"),
        "vars": lambda e: e.add_value("value", Leaking()),
        "closure": lambda e: e.add("pickle", dumped((lambda text: lambda: text)(OPTION))),
        "cause": lambda e: e.add_error("error", chained(OPTION)),
        "base64": lambda e: e.add("header", f"Basic {base64.b64encode(OPTION.encode()).decode()}"),
    }
    for name, plant in planted.items():
        evidence = Evidence([OPTION])
        plant(evidence)
        with pytest.raises(AssertionError):
            evidence.check()
        assert evidence.found, name


def chained(secret: str) -> Exception:
    try:
        raise ValueError("above") from OSError(secret)
    except ValueError as error:
        return error


_S3 = 'project.name = "lab"\n[storage]\nbackend = "s3"\nbucket = "b"\n'
_OTHERS = 'project.name = "lab"\n[storage]\n'

CONFIGURATIONS = {
    "broken": f'[storage.credentials]\nsecret = "{WRONG}" x\n',
    "twice": f'[storage]\nsecret = "{WRONG}"\nsecret = "{WRONG}"\n',
    "no text": f'[storage.credentials]\nsecret = "{WRONG}\xff"\n',
    "wrong table": f'{_S3}secret = "{WRONG}"\n',
    "unknown credential": f'{_OTHERS}backend = "file"\npath = "x"\ncredentials.key = "{WRONG}"\n',
    "user in url": f'{_S3}endpoint_url = "https://u:{WRONG}@h"\n',
    "slash in password": f'{_S3}endpoint_url = "https://u:/{WRONG}@h"\n',
    "signed url": f'{_S3}endpoint_url = "https://h/?sig={WRONG}"\n',
    "password in path": f'{_OTHERS}backend = "sftp"\npath = "sftp://u:/{WRONG}@h/x"\n',
    "options of no table": f'{_S3}options = "{WRONG}"\n',
}


@attacks(37, 42)
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_wrong_configuration_is_refused_without_its_secrets(name: str, tmp_path: Path) -> None:
    path = tmp_path / "datajoint.toml"
    path.write_bytes(CONFIGURATIONS[name].encode("latin-1"))
    evidence = Evidence([WRONG])
    with pytest.raises(ConfigurationError) as caught:
        load_settings(path)
    evidence.add_error(name, caught.value)
    evidence.check()
    assert caught.value.__context__ is None, "Dask and others pickle it, and with it all that the file says"


@attacks(37, 42)
def test_secret_that_cannot_be_decoded_goes_nowhere_with_an_error(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(f"{WRONG}\xff".encode("latin-1"))
    with pytest.raises(ConfigurationError) as caught:
        reveal({"secret": "${file:secret}"}, tmp_path)
    assert WRONG not in str(caught.value)
    assert caught.value.__context__ is None


@attacks(37, 42)
def test_secret_in_a_variable_is_not_shown_when_it_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    document = {"project": {"name": "lab"}, "storage": {"backend": "s3", "bucket": "b"}}
    for variable in (
        "STORAGE__SECRET",
        "STORAGE__CREDENTIALS__SECRETT",
        "STORAGE__ENDPOINT_URL",
        "SECRET",
        "STORAGE__OPTIONS",
    ):
        with monkeypatch.context() as context:
            context.setenv(f"DATAJOINT_FILE__{variable}", f"https://u:{WRONG}@h/?sig={WRONG}")
            evidence = Evidence([WRONG])
            with pytest.raises(ConfigurationError) as caught:
                parse_settings(document, "test")
            evidence.add_error(variable, caught.value)
            evidence.check()
            assert caught.value.__context__ is None


@attacks(37, 38)
@pytest.mark.parametrize("backend", ["s3", "gcs", "azure", "memory"])
def test_settings_pipelines_and_backends_show_no_secret(backend: str) -> None:
    names = {"s3": "secret", "gcs": "token", "azure": "account_key", "memory": "password"}
    where = {"azure": {"container": "c"}, "memory": {"path": "/x"}}.get(backend, {"bucket": "b"})
    options = {"nested": {"deep": [OPTION, {"x": OPTION}]}}
    storage = {"backend": backend, **where, "credentials": {names[backend]: WRONG}, "options": options}
    projects = {"other": storage}
    settings = parse_settings({"project": {"name": "lab"}, "storage": storage, "projects": projects}, "test")
    evidence = Evidence([WRONG, OPTION])
    pipeline = Pipeline(settings)
    for value in (settings, pipeline, open_backend(settings.storage, "lab"), pipeline.backend):
        evidence.add_reachable(backend, value)
    evidence.add("dumped", repr(settings.model_dump(warnings=False)) + repr(dict(settings)) + settings.digest)
    with suppress(ValueError):  # tables that do not go into JSON do not get out either
        evidence.add("JSON", settings.model_dump_json(warnings=False))
    evidence.check()
    for secretive in (settings, settings.storage):
        with pytest.raises(TypeError, match="credentials"):
            pickle.dumps(secretive)


@attacks(40)
def test_address_of_a_file_lets_nobody_in(s3_storage: dict[str, Any]) -> None:
    pipeline = Pipeline(parse_settings({"project": {"name": "lab"}, "storage": s3_storage}, "test"))
    url = pipeline.backend.url("lab/x/y")
    assert url == f"s3://{s3_storage['bucket']}/lab/x/y"


@attacks(37, 39)
def test_signed_address_of_a_stream_is_neither_its_name_nor_in_an_error() -> None:
    assert as_source(_Remote(b"x")).name == "x.dat"
    source = as_source(_Failing(OSError(f"403 for https://h/x?sig={SIGNATURE}")))
    evidence = Evidence([SIGNATURE])
    with pytest.raises(SourceError) as caught, source.open() as reader:
        reader.read(1)
    evidence.add_error("read", caught.value)
    evidence.check()


@pytest.mark.timeout(600)
@attacks(37)
@pytest.mark.parametrize(("database", "fails"), [("mysql", False), ("postgresql", True)], indirect=["database"])
def test_commands_show_no_secret(
    database: Any, s3_storage: dict[str, Any], fails: bool, tmp_path: Path, programs: Programs
) -> None:
    credentials = {**s3_storage["credentials"], **({"secret": WRONG} if fails else {})}
    lines = ["[project]", 'name = "lab"', "[storage]", 'backend = "s3"']
    lines += [f"{name} = {json.dumps(s3_storage[name])}" for name in ("bucket", "endpoint_url", "region")]
    lines += ["[storage.credentials]", *(f"{name} = {json.dumps(text)}" for name, text in credentials.items())]
    (tmp_path / "datajoint.toml").write_text("\n".join(lines))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "datajoint.toml").write_text("\n".join(lines) + "\nsecrett = ")
    backend = "postgresql" if "postgres" in type(database).__name__.lower() else "mysql"
    variables = {
        **os.environ,
        "DJ_HOST": database.host,
        "DJ_PORT": str(database.port),
        "DJ_USER": database.user,
        "DJ_PASS": PASSWORD,
        "DJ_BACKEND": backend,
        "DJ_USE_TLS": "false",
    }
    evidence = Evidence([PASSWORD, WRONG, *credentials.values()])
    program = shutil.which("datajoint-file", path=sysconfig.get_path("scripts"))
    assert program
    for command in sorted(set(main.commands) - {"init"}):
        for directory in (tmp_path, tmp_path / "broken") if fails else (tmp_path,):
            arguments = [program, "--debug", command, *(["--json"] if fails else [])]
            done = programs.run(*arguments, cwd=directory, environment=variables)
            evidence.add(command, done.stdout + done.stderr)
            assert done.stdout + done.stderr or command == "ls"  # of which nothing is there, a line each
    evidence.check()
