"""Crontab lines and systemd units of the documentation: parsed as their programs do, and their commands run."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import reduce
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from tests.docs.pages import ROOT, Block, blocks
from tests.docs.test_blocks import CONFIGURATION, _check_command
from tests.projects import connect, unique
from tests.tables import drop_schema

PAGES = ("check-files.md", "reclaim-storage.md")
ALL = [block for page in PAGES for block in blocks(ROOT / "docs" / "how-to" / page)]
CRONTABS = [block for block in ALL if block.title == "crontab"]
UNITS = [block for block in ALL if block.language == "ini"]
WATCH = blocks(ROOT / "docs" / "how-to" / "watch.md")
DRILL = blocks(ROOT / "docs" / "how-to" / "restore-drill.md")
ENTRY = re.compile(r"(?:\S+\s+){5}(.+)")


PROGRAM = "/usr/local/bin/datajoint-file"
DIRECTORY = "/data/my_project"
(VARIABLES,) = (block.content for block in ALL if block.title == "datajoint.env")


def commands() -> list[str]:
    """Return each command as the shell of cron gets it, and as systemd would have to be imitated in one."""
    return [*map(of_crontab, CRONTABS), *(of_unit(block) for block in UNITS if "Service" in unit(block))]


def of_crontab(block: Block) -> str:
    (line,) = [line for line in block.content.splitlines() if re.match(r"[\d*]", line)]
    return ENTRY.fullmatch(line)[1]  # type: ignore[index]


def of_unit(block: Block) -> str:
    service = unit(block)["Service"]
    enter = f"cd {service['WorkingDirectory']} && set -a && . {service['EnvironmentFile']}"
    return f"{enter} && exec {service['ExecStart']}"


def unit(block: Block) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(block.content)
    return parser


def test_crontabs_mail() -> None:
    assert len(CRONTABS) == 2
    for block in CRONTABS:
        variables = dict(line.split("=", 1) for line in block.content.splitlines() if not re.match(r"[\d*]", line))
        assert set(variables) == {"MAILTO"}
        assert "%" not in block.content  # which cron takes for the end of a line


def test_commands_exist_and_are_quiet() -> None:
    assert len(commands()) == 4
    for command in commands():
        words = command.rpartition(" && ")[2].removeprefix("exec ").split()
        assert words[0] == PROGRAM  # systemd looks for no program in the PATH that a unit sets
        assert "--quiet" in words
        _check_command(words[1:])


def test_a_drill_is_scheduled_by_a_command_that_exists_and_is_quiet() -> None:
    (crontab,) = (of_crontab(block) for block in DRILL if block.title == "crontab")
    (service,) = (of_unit(block) for block in DRILL if block.title == "datajoint-drill.service")
    for command in (crontab, service):
        words = command.rpartition(" && ")[2].removeprefix("exec ").split()
        assert (words[0], words[1], words[-1]) == (PROGRAM, "drill", "--quiet")
        _check_command(words[1:])


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed: only parsed")
def test_units_are_accepted_by_systemd(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("datajoint-file")
    units = [*UNITS, *(block for block in (*WATCH, *DRILL) if block.language == "ini")]
    for block in units:
        text = block.content.replace(PROGRAM, str(program)).replace("User=lab\n", "")
        (tmp_path / block.title).write_text(text)
    paths = [str(tmp_path / block.title) for block in units]
    done = subprocess.run(["systemd-analyze", "verify", *paths], capture_output=True, text=True, check=False)
    told = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "datajoint-" in line]
    assert told == []


def test_each_timer_has_a_service() -> None:
    names = {block.title for block in UNITS}
    assert {name.replace(".timer", ".service") for name in names} == {n for n in names if n.endswith(".service")}
    assert len(names) == 4


Shell = Callable[[str], list[str]]


@pytest.fixture
def table(mysql: Any, tmp_path: Path) -> Iterator[Any]:
    """A table of a project in a directory of its own, where the printed file of variables is."""
    instance = connect(mysql)
    (tmp_path / "store").mkdir()
    (tmp_path / "datajoint.toml").write_text(CONFIGURATION.replace("my_project", unique("project")))
    datajoint_file.configure(tmp_path / "datajoint.toml", connection=instance)
    schema = instance.Schema(unique("schema"))
    definition = "subject_id : int32\nsession_id : int32\n---\nraw : file"
    yield schema(type("Recording", (dj.Manual,), {"definition": definition}), context={})
    drop_schema(instance.connection, schema.database)
    instance.connection.close()


@pytest.fixture
def shell(table: Any, mysql: Any, tmp_path: Path) -> Shell:
    """Make words that run a printed command as cron and systemd do: with no variable but those of the printed file."""
    own = {"db.example.org": mysql.host, "collector": mysql.user, "choose a password": mysql.password}
    variables = reduce(lambda text, pair: text.replace(*pair), own.items(), VARIABLES)
    (tmp_path / "datajoint.env").write_text(f"{variables}\nDJ_PORT={mysql.port}\nDJ_USE_TLS=false\n")
    places = {DIRECTORY: tmp_path, "/data/rig3": tmp_path / "rig3"}
    names = {"lab_checks": table.database, "lab_watch": table.database}
    programs = {PROGRAM: Path(sys.executable).with_name("datajoint-file")}
    bare = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": os.environ.get("PYTHONPATH", "")}

    def words(command: str) -> list[str]:
        for printed, real in {**places, **names, **programs}.items():
            command = command.replace(printed, str(real))
        return ["env", "-i", *(f"{name}={value}" for name, value in bare.items()), "sh", "-c", command]

    return words


def test_commands_run_as_printed_and_say_nothing_where_all_is_fine(table: Any, shell: Shell, tmp_path: Path) -> None:
    table.insert1({"subject_id": 1, "session_id": 1, "raw": ("raw.dat", b"1")})

    def run(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(shell(command), cwd="/", capture_output=True, text=True, check=False)

    for command in commands():
        done = run(command)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), command
    assert (tmp_path / "verify.json").exists()
    store_of = table().fetch1("raw")
    next((tmp_path / "store").rglob("raw.dat")).unlink()
    for command in (c for c in commands() if " verify" in c):
        done = run(command)
        assert done.returncode == 1, command
        assert store_of.path in done.stdout
    (tmp_path / "store").rename(tmp_path / "unmounted")
    done = run(next(command for command in commands() if " gc " in command))
    assert (done.returncode, done.stdout) == (4, "")
    assert "is its disk mounted?" in done.stderr


def test_watches_run_as_printed(table: Any, shell: Shell, tmp_path: Path) -> None:
    (service,) = [block for block in WATCH if block.language == "ini"]
    (crontab,) = [block for block in WATCH if block.title == "crontab"]
    for command in (of_unit(service), of_crontab(crontab)):
        _check_command(shlex.split(command.rpartition(" && ")[2].removeprefix("exec "))[1:])
    assert unit(service)["Service"]["Restart"] == "on-failure"
    (tmp_path / "rig3" / "subject7").mkdir(parents=True)
    for number in (1, 2):
        (tmp_path / "rig3" / "subject7" / f"session{number}.dat").write_bytes(b"spikes")
    if_still = " --still 0.1s"
    done = subprocess.run(shell(of_crontab(crontab) + if_still), cwd="/", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(table()) == 2
    (tmp_path / "rig3" / "subject7" / "session3.dat").write_bytes(b"spikes")
    running = subprocess.Popen(shell(of_unit(service) + if_still), cwd="/", stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    try:
        assert running.stdout.readline().startswith("watching ")
        assert running.stdout.readline().startswith("inserted: subject7/session3.dat: ")
        running.terminate()  # as systemd stops it
        assert (running.communicate(timeout=60)[0], running.returncode) == ("", 0)
    finally:
        running.kill()
    assert len(table()) == 3
