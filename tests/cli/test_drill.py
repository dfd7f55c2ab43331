"""``datajoint-file drill`` as cron and people call it, and what is left when it is killed."""

from __future__ import annotations

import json
import os
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
from tests.projects import Store

from .conftest import PROGRAM, Process, mysql_variables, postgresql_variables, write_configuration


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


def test_a_fine_backup_ends_with_0_and_cron_hears_nothing(
    process: Process, backup: list[str], variables: dict[str, str], temporary: Path, tmp_path: Path
) -> None:
    done = process(*backup, "--quiet", "--max-age", "36h", **variables)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    next((tmp_path / "copy").rglob("raw.dat")).unlink()
    done = process(*backup, "--json", **variables)
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert ([one["name"] for one in told["problems"]], told["files"], told["ok"]) == (["missing"], 3, False)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_what_a_person_reads(process: Process, backup: list[str], variables: dict[str, str], store: Store) -> None:
    done = process(*backup, "--max-age", "1s", "--all", **variables)
    assert done.returncode == 1, done.stderr
    assert "allowed are 1 second" in done.stdout
    assert "fix: look why no newer one was made" in done.stdout
    assert process(*backup, "--max-age", "soon", **variables).returncode == 2
    real = [*backup[:-1], store.table["path"]]
    done = process(*real, **variables)
    assert (done.returncode, "is the real store" in done.stderr) == (1, True)
    gone = process(*backup, **{**variables, "DJ_PORT": "9"})
    assert gone.returncode == 0, "a live database that is not reached makes no backup worse"
    assert "the live database was not asked" in gone.stdout


@pytest.fixture
def stuck(backup: list[str], variables: dict[str, str], temporary: Path, database: Any) -> Iterator[Any]:
    """A drill that is under way and does not come to its end: a statement of the dump takes ten minutes."""
    sleep = "pg_sleep" if "PostgreSQL" in type(database).__name__ else "SLEEP"
    dump = Path(backup[2]).with_name("slow.sql")
    first, _, rest = Path(backup[2]).read_text("utf-8").partition("\n")
    dump.write_text(f"{first}\nSELECT {sleep}(600);\n{rest}", "utf-8")
    command = [PROGRAM, "drill", "--dump", str(dump), *backup[3:]]
    started = subprocess.Popen(command, env={**os.environ, **variables}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until(lambda: [*temporary.glob("*/client.cnf"), *temporary.glob("*/pgpass")])
    assert programs_of(temporary)
    yield started
    started.kill()
    started.communicate()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 1)])
def test_a_drill_that_is_ended_leaves_no_process_and_no_directory(
    stuck: Any, temporary: Path, number: signal.Signals, code: int
) -> None:
    stuck.send_signal(number)
    assert stuck.wait(60) == code
    assert programs_of(temporary) == []
    assert list(temporary.iterdir()) == []


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


def programs_of(directory: Path) -> list[str]:
    """Return the command lines of processes that have to do with a directory."""
    lines = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if f"{directory}/{scratch.PREFIX}" in line:
            lines.append(line)
    return lines


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
