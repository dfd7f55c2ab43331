"""A small lab with files, its backup as people make it, and the drill of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file import Directory, DrillReport
from datajoint_file.drills import scratch
from datajoint_file.drills.programs import postgresql
from tests.projects import COLLECTED, Store
from tests.tables import recording_of

Dump = Callable[..., Path]
Drill = Callable[..., DrillReport]


@pytest.fixture(params=COLLECTED)
def database(request: pytest.FixtureRequest) -> Any:
    """A server without the schemas of others, which a drill compares with the dump; that of MySQL is this test's."""
    return request.getfixturevalue("own_mysql" if request.param == "mysql" else request.param)


@pytest.fixture(autouse=True)
def temporary(database: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where drills make their scratch directories, which must be gone when the test is."""
    made = tmp_path / "t"
    made.mkdir()
    for directory in (made, *made.parents):  # PostgreSQL of root runs as another user
        if str(directory).startswith("/tmp/") and directory.owner() == Path.home().owner():
            directory.chmod(directory.stat().st_mode | 0o011)
    monkeypatch.setattr("tempfile.tempdir", str(made))
    yield made
    assert list(made.iterdir()) == []


def dump_schema(database: Any, target: Path, *schemas: str, options: tuple[str, ...] = ()) -> Path:
    """Dump schemas of a test's server with the program that people use."""
    if "PostgreSQL" in type(database).__name__:
        program = postgresql(18)["pg_dump"]
        given = ["--host", database.host, "--port", str(database.port), "--username", database.user]
        named = [part for schema in schemas for part in ("--schema", f'"{schema}"')]
        command = [program, *given, *named, *options, "--file", str(target), database.database]
        subprocess.run(command, check=True, env={**os.environ, "PGPASSWORD": database.password})
        return target
    program = shutil.which("mariadb-dump") or shutil.which("mysqldump") or ""
    assert program, "the dump program is missing: python -m tests.servers.install"
    defaults = target.with_name("dump.cnf")
    defaults.write_text(
        f'[client]\nhost={database.host}\nport={database.port}\nuser={database.user}\npassword="{database.password}"\n'
    )
    command = [program, f"--defaults-file={defaults}", "--single-transaction", "--routines", *options]
    with target.open("wb") as file:
        subprocess.run([*command, "--databases", *schemas], check=True, stdout=file)
    return target


@pytest.fixture
def lab(table: Any, tmp_path: Path) -> Any:
    """A table with files and a directory, and one file that was replaced."""
    tree = tmp_path / "tree"
    (tree / "inner").mkdir(parents=True)
    (tree / "a.txt").write_bytes(b"a" * 10)
    (tree / "inner" / "b.txt").write_bytes(b"b" * 20)
    table.insert({"id": number, "raw": ("raw.dat", b"spikes %d" % number)} for number in range(5))
    table.insert1({"id": 5, "raw": ("raw.dat", b"with a tree"), "extra": Directory(tree)})
    table.update1({"id": 4, "raw": ("raw.dat", b"replaced")})
    return table


@pytest.fixture
def dump(database: Any, schema: dj.Schema, tmp_path: Path) -> Dump:
    def make(*schemas: str, name: str = "lab.sql", options: tuple[str, ...] = ()) -> Path:
        return dump_schema(database, tmp_path / name, *(schemas or (schema.database,)), options=options)

    return make


@pytest.fixture
def copied(store: Store, tmp_path: Path) -> Callable[[], Path]:
    """Copy the store as people do."""

    def make() -> Path:
        return Path(shutil.copytree(store.table["path"], tmp_path / "copy"))

    return make


@pytest.fixture
def drill(instance: dj.Instance) -> Drill:
    def run(dump: Path, store: Any, **options: Any) -> DrillReport:
        return datajoint_file.drill(dump, store, connection=instance, **options)

    return run


def names(report: DrillReport) -> list[str]:
    return [problem.name for problem in report.problems]


__all__ = ["Drill", "Dump", "dump_schema", "names", "recording_of", "scratch"]
