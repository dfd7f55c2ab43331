"""The grants of the documentation, as printed: each kind of user can do what he is for, and no more."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import datajoint as dj
import psycopg2
import pymysql
import pytest

import datajoint_file
from datajoint_file import gc
from datajoint_file.doctor.collector_rights import check_notes, check_sight
from datajoint_file.doctor.database import _check_readable, check_rights
from datajoint_file.doctor.store import check_store
from datajoint_file.errors import JournalWarning
from datajoint_file.hooks.connections import pipeline_of
from tests.docs.pages import ROOT, blocks
from tests.projects import Store, unique

PASSWORD = "CANARY-password"

As = Callable[..., dj.Instance]


def statements(who: str, server: str) -> list[str]:
    (block,) = (b for b in blocks(ROOT / "docs/how-to/grants.md") if b.title == f"{who}, {server}")
    return [line for line in block.content.split(";\n") if line.strip()]


@pytest.fixture
def owned(instance: dj.Instance, store: Store) -> Iterator[Any]:
    """A table with three files in the schema ``lab_ephys``, under a name of its own; one file was removed from it."""
    datajoint_file.configure(store.configuration(), connection=instance)
    schema = instance.Schema(f"{unique('lab')}_ephys")

    @schema
    class Recording(dj.Manual):
        definition = "n : int32\n---\nraw : file"

    Recording.insert({"n": n, "raw": ("raw.dat", b"%d" % n)} for n in range(4))
    (Recording & "n = 3").delete(prompt=False)
    yield Recording
    schema.drop(prompt=False)


@pytest.fixture
def as_user(database: Any, owned: Any, store: Store) -> Iterator[As]:
    """Make a user with exactly the printed statements, or the first of them, and connect as him."""
    is_postgresql = hasattr(database, "database")
    address = {"host": database.host, "port": database.port, "user": database.user, "password": database.password}
    driver: Any = psycopg2.connect(**address, dbname=database.database) if is_postgresql else pymysql.connect(**address)
    made: list[tuple[str, dj.Instance]] = []
    pattern = owned.database.removesuffix("_ephys").replace("_", "\\_")

    def connected(who: str, first: int | None = None) -> dj.Instance:
        name = unique(who)
        for statement in statements(who, "PostgreSQL" if is_postgresql else "MySQL")[:first]:
            own = statement.replace("choose a password", PASSWORD).replace("lab_ephys", owned.database)
            cursor.execute(own.replace("`lab", f"`{pattern}").replace(who, name))
        options = {"database__name": database.database} if is_postgresql else {}
        backend = "postgresql" if is_postgresql else "mysql"
        found = dj.Instance(
            database.host, name, PASSWORD, port=database.port, use_tls=False, backend=backend, **options
        )
        found.config.safemode = False
        datajoint_file.configure(store.configuration(), connection=found)
        made.append((name, found))
        return found

    with closing(driver), driver.cursor() as cursor:
        if is_postgresql:
            driver.rollback()
            driver.autocommit = True
        yield connected
        for name, instance in made:
            instance.connection.close()
            for statement in (
                (f"DROP OWNED BY {name}", f"DROP ROLE {name}") if is_postgresql else (f"DROP USER {name}",)
            ):
                cursor.execute(statement)


def of(instance: dj.Instance, table: Any) -> Any:
    return dj.FreeTable(instance.connection, table.full_table_name)


def test_reader_reads_and_cannot_leave_a_byte_in_the_store(as_user: As, owned: Any, store: Store) -> None:
    reader = as_user("reader")
    recording, before = of(reader, owned), store.all_keys()
    assert [ref.read() for ref in recording.to_arrays("raw", order_by="n")] == [b"0", b"1", b"2"]
    for write in (
        lambda: recording.insert1({"n": 9, "raw": ("raw.dat", b"9")}),
        lambda: recording.update1({"n": 1, "raw": ("raw.dat", b"9")}),
        lambda: datajoint_file.stage(recording, {"n": 9}, "raw", ("raw.dat", b"9")),
        lambda: recording.insert(recording & "n = 1"),
    ):
        with pytest.raises(dj.errors.AccessError, match=r"this user may not (insert|update) rows .*nothing was stored"):
            write()
    with pytest.raises(dj.errors.AccessError, match="this user may not insert rows"):
        datajoint_file.undelete(recording, since=timedelta(hours=1))
    assert store.all_keys() == before
    datajoint_file.undelete(owned, since=timedelta(hours=1))
    back = datajoint_file.undelete(recording, since=timedelta(hours=1))
    assert (list(back.restored.values()), list(back.present.values()), bool(back)) == ([], [1], True)
    (owned & "n = 3").delete(prompt=False)
    with pytest.warns(JournalWarning, match="`~file_check` .* cannot be made or written"):
        assert datajoint_file.verify(recording).checked == 3
    with pytest.warns(JournalWarning, match="`~file_check`"):
        first = datajoint_file.verify(recording, budget=1)
    with pytest.warns(JournalWarning, match="`~file_check`"):
        rest = datajoint_file.verify(recording, budget="1h", after=first.position)
    assert (first.checked, rest.checked, rest.is_complete) == (1, 2, True)


def test_doctor_is_content_with_a_reader(as_user: As, owned: Any, store: Store, tmp_path: Path) -> None:
    reader = as_user("reader")
    rights = check_rights(reader.connection, read_only=True)
    assert (rights.status, rights.fix) == ("ok", "")
    writing = check_rights(reader.connection)
    assert writing.status == "warning"
    is_postgresql = reader.connection.adapter.backend == "postgresql"
    name = bare(reader.connection.conn_info["user"])
    for grant in statements("writer", "PostgreSQL" if is_postgresql else "MySQL")[1:]:
        place = bare(grant).replace("lab_ephys", "NAME").replace("lab\\_%", "PREFIX\\_%").replace("writer", name)
        assert place in bare(writing.fix)
    readable = _check_readable(reader.connection)
    assert owned.database in readable.detail
    before = store.all_keys()
    settings = pipeline_of(reader.connection).settings
    found = [check for check in check_store(settings, read_only=True) if check.name not in ("backend", "reachable")]
    assert [(check.name, check.status) for check in found] == [("place", "ok"), ("read", "ok")]
    checks = doctor_as(reader, store, tmp_path, "--read-only")
    assert [check for check in checks.values() if check["status"] == "failed"] == []
    assert owned.database in checks["readable"]["detail"]
    assert store.all_keys() == before


@pytest.mark.parametrize("who", ["writer", "collector"])
def test_doctor_finds_nothing_that_fails_for_who_writes_or_collects(
    as_user: As, owned: Any, store: Store, tmp_path: Path, who: str
) -> None:
    before = store.all_keys()
    checks = doctor_as(as_user(who), store, tmp_path, *(["--collector"] if who == "collector" else []))
    assert [check for check in checks.values() if check["status"] == "failed"] == []
    assert checks["schemas"]["status"] == "ok"
    assert store.all_keys() == before


@pytest.mark.parametrize("first", [1, 2], ids=["nothing", "sight"])
def test_doctor_tells_a_collector_the_printed_grants_that_he_lacks(as_user: As, owned: Any, first: int) -> None:
    user = as_user("collector", first).connection
    is_postgresql = user.adapter.backend == "postgresql"
    _, sight, *notes = (bare(line) for line in statements("collector", "PostgreSQL" if is_postgresql else "MySQL"))
    seen, noted = check_sight(user), check_notes(user, pipeline_of(owned().connection).project)
    name = bare(user.conn_info["user"])
    told = [note for note in gc.plan(user).notes if "cannot be carried out" in note] if first == 2 else []
    assert [noted.fix in note for note in told] == [True] * (first - 1)
    assert (seen.status == "failed") == (first == 1)
    assert not seen.fix or sight.replace("collector", name) in bare(seen.fix)
    assert is_postgresql or (noted.status == "failed") == (first == 2)  # MySQL names no table to who has no right
    for line in notes if noted.fix else ():
        tables = line.removeprefix("GRANT INSERT, UPDATE, DELETE ON ").partition(" TO ")[0].split(", ")
        for table in tables:
            grant = f"GRANT INSERT, UPDATE, DELETE ON {table} TO collector"
            assert grant.replace("lab_ephys", owned.database).replace("collector", name) in bare(noted.fix)


def bare(statement: str) -> str:
    """Return a statement without quotes, and hosts of MySQL's."""
    return re.sub(r"@'[^']*'|['\"`]", "", statement)


def doctor_as(user: dj.Instance, store: Store, tmp_path: Path, *options: str) -> dict[str, Any]:
    """Return the checks of the command as this user runs it, by name; it says with its exit code that none failed."""
    (tmp_path / "datajoint.toml").write_text(
        f'[project]\nname = "{store.project}"\n[storage]\nbackend = "file"\npath = {json.dumps(store.table["path"])}\n'
    )
    info = user.connection.conn_info
    variables = {"DJ_HOST": info["host"], "DJ_PORT": str(info["port"]), "DJ_USER": info["user"], "DJ_PASS": PASSWORD}
    variables |= {"DJ_BACKEND": user.connection.adapter.backend, "DJ_USE_TLS": "false"}
    command = [str(Path(sys.executable).with_name("datajoint-file")), "doctor", *options, "--json"]
    environment = {**os.environ, **variables}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.returncode == (1 if "failed" in {check["status"] for check in checks.values()} else 0)
    return checks


def test_writer_inserts_updates_deletes_and_declares(as_user: As, owned: Any, store: Store) -> None:
    writer = as_user("writer")
    schema = writer.Schema(owned.database)
    recording = schema(type("Recording", (dj.Manual,), {"definition": owned.definition}), context={})
    recording.insert1({"n": 9, "raw": ("raw.dat", b"9")})
    recording.update1({"n": 1, "raw": ("raw.dat", b"new")})
    (recording & "n = 0").delete(prompt=False)
    assert [ref.read() for ref in recording.to_arrays("raw", order_by="n")] == [b"new", b"2", b"9"]
    assert len(datajoint_file.history(recording)) == 3
    made = schema(type("Another", (dj.Manual,), {"definition": "n : int32\n---\nraw : file"}), context={})
    made.insert1({"n": 1, "raw": ("raw.dat", b"1")})
    made.drop(prompt=False)


def test_collector_deletes_what_is_over_and_changes_no_table_of_others(as_user: As, owned: Any, store: Store) -> None:
    collector = as_user("collector")
    plan = gc.plan(collector, scan=True)
    assert (plan.refusals, plan.notes, plan.wait.count, plan.missing_count) == ((), (), 1, 0)
    assert gc.execute(plan)
    assert [found.why for found in gc.kept(collector)] == ["delete"]
    with pytest.raises(dj.errors.AccessError):
        of(collector, owned).insert1({"n": 9, "raw": ("raw.dat", b"9")})
    with pytest.raises(dj.errors.AccessError):
        (of(collector, owned) & "n = 1").delete_quick()
    assert len(owned()) == 3


@pytest.mark.parametrize("who", ["reader", "writer", "collector"])
def test_bucket_policies_are_json_of_known_actions(who: str) -> None:
    (block,) = (b for b in blocks(ROOT / "docs/how-to/grants.md") if b.title == f"{who}, S3")
    policy = json.loads(block.content)
    actions = {a for s in policy["Statement"] for a in ([s["Action"]] if isinstance(s["Action"], str) else s["Action"])}
    assert ("s3:DeleteObject" in actions) == (who == "collector")
    assert ("s3:PutObject" in actions) == (who != "reader")
    assert {"s3:ListBucket", "s3:GetObject"} <= actions
