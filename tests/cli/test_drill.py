"""``datajoint-file drill`` as cron and people call it, and what is left when it is killed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from datajoint_file.drills import scratch
from tests.integration.drills.conftest import dump_schema
from tests.projects import Store, over_mysql, over_postgresql

from .conftest import PROGRAM, Process, Run, mysql_variables, postgresql_variables, write_configuration


@pytest.fixture
def temporary(database: Any, tmp_path: Path) -> Path:
    made = tmp_path / "t"
    made.mkdir()
    for directory in (made, *made.parents):
        if str(directory).startswith("/tmp/"):
            directory.chmod(directory.stat().st_mode | 0o011)
    return made


@pytest.fixture
def variables(database: Any, directory: Path, store: Store, temporary: Path) -> dict[str, str]:
    write_configuration(directory, store.table, store.project)
    is_postgresql = "PostgreSQL" in type(database).__name__
    found = postgresql_variables(database) if is_postgresql else mysql_variables(database)
    return {**found, "TMPDIR": str(temporary)}


@pytest.fixture
def backup(table: Any, database: Any, store: Store, tmp_path: Path) -> list[str]:
    table.insert({"id": number, "raw": ("raw.dat", b"spikes %d" % number)} for number in range(3))
    dump = dump_schema(database, tmp_path / "lab.sql", table.database)
    copy = shutil.copytree(store.table["path"], tmp_path / "copy")
    return ["drill", "--dump", str(dump), "--store", str(copy)]


@over_mysql
def test_cron_hears_nothing_of_a_fine_backup(
    process: Process, backup: list[str], variables: dict[str, str], temporary: Path
) -> None:
    done = process(*backup, "--quiet", "--max-age", "36h", **variables)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(temporary.iterdir()) == []


@over_postgresql
def test_what_a_person_and_a_program_read(
    project_run: Run, backup: list[str], temporary: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    done = project_run(*backup, "--max-age", "0.001s", "--all")
    assert done.exit_code == 1, done.output
    assert "allowed are 0.001 seconds" in done.output
    assert "fix: look why no newer one was made" in done.output
    assert project_run(*backup, "--max-age", "soon").exit_code == 2
    refused = project_run(*backup[:-1], store.table["path"])
    assert (refused.exit_code, "is the real store" in refused.output) == (1, True)
    missing = project_run("drill", "--dump", str(tmp_path / "none.sql"), *backup[3:])
    assert (missing.exit_code, "cannot be read" in missing.output) == (4, True)
    next((tmp_path / "copy").rglob("raw.dat")).unlink()
    done = project_run(*backup, "--json")
    assert done.exit_code == 1, done.output
    told = json.loads(done.stdout)
    assert ([one["name"] for one in told["problems"]], told["files"], told["ok"]) == (["missing"], 3, False)
    assert list(temporary.iterdir()) == []


@pytest.fixture
def stuck(backup: list[str], variables: dict[str, str], temporary: Path, database: Any) -> Iterator[Any]:
    """A drill that is under way and does not come to its end: a statement of the dump takes ten minutes."""
    sleep = "pg_sleep" if "PostgreSQL" in type(database).__name__ else "SLEEP"
    dump = Path(backup[2]).with_name("slow.sql")
    first, _, rest = Path(backup[2]).read_text("utf-8").partition("\n")
    dump.write_text(f"{first}\nSELECT {sleep}(600);\n{rest}", "utf-8")
    command = [PROGRAM, "drill", "--dump", str(dump), *backup[3:]]
    started = subprocess.Popen(command, env={**os.environ, **variables}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        wait_until(lambda: passwords_in(temporary))
        lines = programs_of(temporary)
        assert lines
        [password] = passwords_in(temporary)
        assert not any(password in line for line in lines.values()), "every user of a machine sees arguments"
        yield started
    finally:
        started.kill()
        started.communicate()


@pytest.mark.parametrize(
    ("database", "number", "code"),
    [("mysql", signal.SIGTERM, 143), ("postgresql", signal.SIGTERM, 143), ("postgresql", signal.SIGINT, 1)],
    indirect=["database"],
)
def test_a_drill_that_is_ended_leaves_no_process_and_no_directory(
    stuck: Any, temporary: Path, number: signal.Signals, code: int
) -> None:
    stuck.send_signal(number)
    assert stuck.wait(60) == code
    assert programs_of(temporary) == {}
    assert list(temporary.iterdir()) == []


@over_postgresql
def test_a_scratch_server_that_is_killed_is_no_fault_of_the_dump(stuck: Any, temporary: Path) -> None:
    [server] = [pid for pid, line in programs_of(temporary).items() if "/postgres -D" in line and "/bin/sh" not in line]
    os.kill(server, signal.SIGKILL)
    _, said = stuck.communicate(timeout=60)
    assert (stuck.returncode, b"the scratch server has ended" in said) == (4, True), said
    assert list(temporary.iterdir()) == []


@over_postgresql
def test_what_a_drill_that_was_killed_leaves_the_next_one_removes_and_nothing_else(
    stuck: Any, process: Process, backup: list[str], variables: dict[str, str], temporary: Path
) -> None:
    somebodys = temporary / f"{scratch.PREFIX}notes"
    somebodys.mkdir()
    (somebodys / "notes.txt").write_text("not a drill's")
    [left] = [one for one in temporary.iterdir() if one != somebodys]
    with scratch_of(temporary) as other:
        assert process(*backup, **variables).returncode == 0
        assert left.exists(), "that drill is under way"
        stuck.kill()
        stuck.wait()
        wait_until(lambda: not programs_of(temporary))
        assert left.exists()
        assert process(*backup, **variables).returncode == 0
        assert sorted(temporary.iterdir()) == sorted([somebodys, other])
    assert list(temporary.iterdir()) == [somebodys]


@contextmanager
def scratch_of(temporary: Path) -> Iterator[Path]:
    """A scratch directory of another drill, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(temporary))
        with scratch.scratch_directory() as directory:
            yield directory


def passwords_in(directory: Path) -> list[str]:
    """Return the passwords in the files that database clients are given; a file is there before its text."""
    texts = [one.read_text() for one in (*directory.glob("*/client.cnf"), *directory.glob("*/pgpass"))]
    found = [re.search(r'(?:password="|:)([0-9a-f]{48})"?$', text, re.MULTILINE) for text in texts]
    return [one[1] for one in found if one]


def programs_of(directory: Path) -> dict[int, str]:
    """Return the processes that have to do with a directory, with their command lines."""
    lines = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if f"{directory}/{scratch.PREFIX}" in line:
            lines[int(process.name)] = line
    return lines


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
