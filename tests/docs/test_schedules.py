"""Crontab lines and systemd units of the documentation: parsed as their programs do, and their commands run."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
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
ENTRY = re.compile(r"(?:\S+\s+){5}(.+)")


PROGRAM = "/usr/local/bin/datajoint-file"
DIRECTORY = "/data/my_project"
(VARIABLES,) = (block.content for block in ALL if block.title == "datajoint.env")


def commands() -> list[str]:
    """Return each command as the shell of cron gets it, and as systemd would have to be imitated in one."""
    found = []
    for block in CRONTABS:
        (line,) = [line for line in block.content.splitlines() if re.match(r"\d", line)]
        found.append(ENTRY.fullmatch(line)[1])  # type: ignore[index]
    for block in UNITS:
        if "Service" in unit(block):
            service = unit(block)["Service"]
            enter = f"cd {service['WorkingDirectory']} && set -a && . {service['EnvironmentFile']}"
            found.append(f"{enter} && {service['ExecStart']}")
    return found


def unit(block: Block) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(block.content)
    return parser


def test_crontabs_mail() -> None:
    assert len(CRONTABS) == 2
    for block in CRONTABS:
        variables = dict(line.split("=", 1) for line in block.content.splitlines() if not re.match(r"\d", line))
        assert set(variables) == {"MAILTO"}
        assert "%" not in block.content  # which cron takes for the end of a line


def test_commands_exist_and_are_quiet() -> None:
    assert len(commands()) == 4
    for command in commands():
        words = command.rpartition(" && ")[2].split()
        assert words[0] == PROGRAM  # systemd looks for no program in the PATH that a unit sets
        assert "--quiet" in words
        _check_command(words[1:])


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed: only parsed")
def test_units_are_accepted_by_systemd(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("datajoint-file")
    for block in UNITS:
        text = block.content.replace(PROGRAM, str(program)).replace("User=lab\n", "")
        (tmp_path / block.title).write_text(text)
    paths = [str(tmp_path / block.title) for block in UNITS]
    done = subprocess.run(["systemd-analyze", "verify", *paths], capture_output=True, text=True, check=False)
    told = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "datajoint-" in line]
    assert told == []


def test_each_timer_has_a_service() -> None:
    names = {block.title for block in UNITS}
    assert {name.replace(".timer", ".service") for name in names} == {n for n in names if n.endswith(".service")}
    assert len(names) == 4


def test_commands_run_as_printed_and_say_nothing_where_all_is_fine(mysql: Any, tmp_path: Path) -> None:
    """As cron and systemd run them: by a bare shell, with no variable but those of the printed file."""
    instance = connect(mysql)
    (tmp_path / "store").mkdir()
    (tmp_path / "datajoint.toml").write_text(CONFIGURATION.replace("my_project", unique("project")))
    datajoint_file.configure(tmp_path / "datajoint.toml", connection=instance)
    schema = instance.Schema(unique("schema"))
    table = schema(type("Recording", (dj.Manual,), {"definition": "n : int32\n---\nraw : file"}), context={})
    table.insert1({"n": 1, "raw": ("raw.dat", b"1")})
    own = {"db.example.org": mysql.host, "collector": mysql.user, "choose a password": mysql.password}
    variables = reduce(lambda text, pair: text.replace(*pair), own.items(), VARIABLES)
    (tmp_path / "datajoint.env").write_text(f"{variables}\nDJ_PORT={mysql.port}\nDJ_USE_TLS=false\n")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    program = str(Path(sys.executable).with_name("datajoint-file"))

    def run(command: str) -> subprocess.CompletedProcess[str]:
        line = command.replace("lab_checks", schema.database).replace(DIRECTORY, str(tmp_path))
        line = line.replace(PROGRAM, program)
        return subprocess.run(["sh", "-c", line], cwd="/", env=environment, capture_output=True, text=True, check=False)

    try:
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
    finally:
        drop_schema(instance.connection, schema.database)
        instance.connection.close()
