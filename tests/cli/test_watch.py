"""``datajoint-file watch`` and ``free`` as a rig has them: processes of their own, killed while files grow."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

from tests.projects import Store
from tests.tables import recording_of

from .conftest import Process, Run, mysql_variables, postgresql_variables, write_configuration

on_mysql = pytest.mark.parametrize("database", ["mysql"], indirect=True)

RULE = "session{session_id}.dat"
SECONDS = float(os.environ.get("DJF_ACQUISITION_SECONDS", "3"))
"""How long files grow: 30 as on a rig, if somebody has the time."""

Started = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def table(schema: dj.Schema) -> Any:
    return recording_of(schema, "session_id : int32\n---\nraw : file")


@pytest.fixture
def rig(directory: Path) -> Path:
    made = directory / "rig 3"
    made.mkdir()
    return made


@pytest.fixture
def variables(directory: Path, database: Any, store: Store) -> dict[str, str]:
    """What the command needs to find database and project."""
    write_configuration(directory, store.table)
    path = directory / "datajoint.toml"
    path.write_text(path.read_text(encoding="utf-8").replace('"lab"', f'"{store.project}"'), encoding="utf-8")
    is_postgresql = "postgres" in type(database).__name__.lower()
    given = postgresql_variables(database) if is_postgresql else mysql_variables(database)
    return {**given, "DJ_LOG_LEVEL": "ERROR"}


@pytest.fixture
def command(process: Process, variables: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    return lambda *arguments: process(*arguments, **variables)


@pytest.fixture
def started(variables: dict[str, str], table: Any, rig: Path) -> Iterator[Started]:
    """Start a watch, and let nothing of it outlive the test."""
    program = shutil.which("datajoint-file", path=sysconfig.get_path("scripts"))
    assert program
    running = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        words = [program, "watch", str(rig), "--rule", RULE, "--table", f"{table.database}.Recording", *arguments]
        running.append(
            subprocess.Popen(
                words, env={**os.environ, **variables}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        )
        return running[-1]

    yield start
    for one in running:
        one.kill()
        one.communicate()


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


def lines_of(process: subprocess.Popen[str], text: str, count: int) -> list[str]:
    """Return the lines that a process prints, until so many have a text."""
    assert process.stdout is not None
    lines: list[str] = []
    while sum(text in line for line in lines) < count:
        lines.append(process.stdout.readline())
        assert lines[-1], f"it has ended: {lines}"
    return lines


def grow(path: Path, pieces: int, final: Path | None = None) -> None:
    """Write as an acquisition does: piece by piece, opened anew for each, and renamed in the middle."""
    for piece in range(pieces):
        with path.open("ab") as file:
            file.write(b"%07d\n" % piece * 100)
        if final is not None and piece == pieces // 2:
            path.rename(final)
            path = final
        time.sleep(SECONDS / pieces)


@contextmanager
def acquisition(rig: Path, pieces: int) -> Iterator[None]:
    """Let two files grow at once, and a third under another name at first."""
    paths: list[tuple[Path, Path | None]] = [
        (rig / "session1.dat", None),
        (rig / "session2.dat", None),
        (rig / "session3.dat.part", rig / "session3.dat"),
    ]
    writers = [threading.Thread(target=grow, args=(path, pieces, final)) for path, final in paths]
    for writer in writers:
        writer.start()
    yield
    for writer in writers:
        writer.join()


def test_an_acquisition_with_a_restart_ends_with_one_row_each(
    started: Started, table: Any, rig: Path, command: Any, store: Store
) -> None:
    options = ("--still", "2s", "--interval", "1s", "--json")
    pieces = round(4 * SECONDS)
    first = started(*options)
    wait_for(lambda: any(rig.glob(".datajoint-file-watch-*.lock")))
    with acquisition(rig, pieces):
        time.sleep(SECONDS / 2)
        first.send_signal(signal.SIGKILL)
        assert len(table()) == 0
        second = started(*options)
    news = [json.loads(line) for line in lines_of(second, '"inserted"', 3)]
    assert len(list(rig.glob("*.receipt.json"))) == 3
    second.send_signal(signal.SIGTERM)
    out, _ = second.communicate(timeout=60)
    assert (second.returncode, out) == (0, "")
    assert sorted(one["path"] for one in news if one["state"] == "inserted") == [f"session{n}.dat" for n in (1, 2, 3)]
    ids, refs = table.to_arrays("session_id", "raw")
    assert sorted(ids) == [1, 2, 3]
    expected = b"".join(b"%07d\n" % piece * 100 for piece in range(pieces))
    assert [ref.read() == expected for ref in refs] == [True] * 3
    assert len(store.object_keys()) == 3
    third = started("--still", "0.2s", "--once")
    out, _ = third.communicate(timeout=60)
    assert (third.returncode, out) == (0, "3 files with a receipt, 0 growing, 0 problems\n")


@on_mysql
def test_one_watches_and_another_is_told(started: Started, rig: Path, table: Any) -> None:
    first = started("--still", "0.1s")
    wait_for(lambda: any(rig.glob(".datajoint-file-watch-*.lock")))
    second = started("--once")
    out, _ = second.communicate(timeout=60)
    assert second.returncode == 3
    assert out.startswith("Another `datajoint-file watch` is at it (process ")
    (rig / "session1.dat").write_bytes(b"spikes")
    (rig / "notes.txt").write_bytes(b"12 spikes")
    lines = lines_of(first, f"inserted: session1.dat: {table.database}.Recording.raw (session_id=1): ", 1)
    assert (len(table()), len(list(rig.glob("*.receipt.json")))) == (1, 1)
    first.send_signal(signal.SIGINT)
    rest, _ = first.communicate(timeout=60)
    assert first.returncode == 0
    assert lines[0] == f"watching {rig} for {table.database}.Recording.raw\n"
    assert sum("notes.txt: it does not match the rule" in line for line in [*lines, *rest.splitlines()]) == 1


@on_mysql
def test_files_that_grow_or_differ_have_exit_codes(
    started: Started, rig: Path, command: Any, run: Run, table: Any
) -> None:
    writer = (rig / "session1.dat").open("wb")
    growing = started("--still", "0.2s", "--once", "--quiet")
    assert (growing.communicate(timeout=60)[0], growing.returncode) == ("", 3)
    writer.close()
    table.insert1({"session_id": 1, "raw": ("session1.dat", b"another")})
    differing = started("--still", "0.2s", "--once", "--quiet")
    out, _ = differing.communicate(timeout=60)
    assert differing.returncode == 1
    assert "session1.dat: " in out
    assert "Neither was changed" in out
    for words, said in (
        (["--rule", "s{sesion_id}", "--table", f"{table.database}.Recording"], "did you mean 'session_id'"),
        (["--rule", RULE, "--table", f"{table.database}.Nothing"], "there is no table 'Nothing'"),
        (["--rule", RULE, "--table", "Recording"], "Recording is no table: write SCHEMA.TABLE, such as"),
    ):
        done = command("watch", str(rig), *words)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    for words, said in (
        (["--still", "5"], "is not of the form 30 days, 36h, 90min, 10s or 2w"),
        (["--set", "rig"], "not of the form"),
        ([], "Missing option '--table'"),
    ):
        given = run("watch", str(rig), "--rule", RULE, *words)
        assert (given.exit_code, said in given.output) == (2, True), given.output


@on_mysql
def test_free_says_first_what_it_would_remove(started: Started, rig: Path, command: Any, table: Any) -> None:
    for number in (1, 2):
        (rig / f"session{number}.dat").write_bytes(b"spikes")
    assert started("--still", "0.2s", "--once").wait(60) == 0
    path = table.to_arrays("raw")[0].path
    dry = command("free", str(rig))
    assert (dry.returncode, dry.stderr) == (0, "")
    assert dry.stdout.splitlines()[0] == f"stored: session1.dat (6 B): {path}"
    assert dry.stdout.splitlines()[-1] == "2 files, 12 B could be freed: add --execute to do it."
    (rig / "session2.dat").write_bytes(b"longer than that")
    done = command("free", str(rig), "--execute")
    assert done.returncode == 1
    assert "session2.dat: it was changed since it was inserted: `datajoint-file watch` compares it" in done.stdout
    assert done.stdout.splitlines()[-1] == "1 file, 6 B freed, 1 kept."
    assert sorted(one.name for one in rig.glob("*.dat")) == ["session2.dat"]
    (rig / "session2.dat").unlink()
    again = command("free", str(rig), "--execute", "--json")
    assert (again.returncode, [json.loads(line)["state"] for line in again.stdout.splitlines()]) == (
        0,
        ["gone", "gone"],
    )
    assert table.to_arrays("raw")[0].read() == b"spikes"
