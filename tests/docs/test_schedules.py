"""Crontab lines and systemd units of the documentation: parsed as their programs do, and their commands run."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from tests.docs.pages import ROOT, Block, blocks
from tests.docs.test_blocks import CONFIGURATION, Reader, _check_command
from tests.projects import connect, unique
from tests.tables import drop_schema

PAGES = ("check-files.md", "reclaim-storage.md")
ALL = [block for page in PAGES for block in blocks(ROOT / "docs" / "how-to" / page)]
CRONTABS = [block for block in ALL if block.title == "crontab"]
UNITS = [block for block in ALL if block.language == "ini"]
ENTRY = re.compile(r"(?:\S+\s+){5}(.+)")


def commands() -> list[tuple[str, str]]:
    """Return each command of a crontab and of a unit, with the directory in which it runs."""
    found = []
    for block in CRONTABS:
        (line,) = [line for line in block.content.splitlines() if re.match(r"\d", line)]
        directory, _, command = ENTRY.fullmatch(line)[1].partition(" && ")  # type: ignore[index]
        found.append((directory.removeprefix("cd "), command))
    for block in UNITS:
        section = unit(block)
        if "Service" in section:
            found.append((section["Service"]["WorkingDirectory"], section["Service"]["ExecStart"]))
    return found


def unit(block: Block) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(block.content)
    return parser


def test_crontabs_mail_and_find_the_command() -> None:
    assert len(CRONTABS) == 2
    for block in CRONTABS:
        variables = dict(line.split("=", 1) for line in block.content.splitlines() if not re.match(r"\d", line))
        assert set(variables) == {"MAILTO", "PATH"}
        assert "%" not in block.content  # which cron takes for the end of a line


def test_commands_exist_and_are_quiet() -> None:
    assert len(commands()) == 4
    for _, command in commands():
        words = command.split()
        assert words[0] == "datajoint-file"
        assert "--quiet" in words
        _check_command(words[1:])


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed: only parsed")
def test_units_are_accepted_by_systemd(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("datajoint-file")
    for block in UNITS:
        text = block.content.replace("ExecStart=datajoint-file", f"ExecStart={program}").replace("User=lab\n", "")
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
    """As cron and systemd run them: by a bare shell, in the directory, with the variables of the database."""
    instance = connect(mysql)
    (tmp_path / "store").mkdir()
    (tmp_path / "datajoint.toml").write_text(CONFIGURATION.replace("my_project", unique("project")))
    datajoint_file.configure(tmp_path / "datajoint.toml", connection=instance)
    schema = instance.Schema(unique("schema"))
    table = schema(type("Recording", (dj.Manual,), {"definition": "n : int32\n---\nraw : file"}), context={})
    table.insert1({"n": 1, "raw": ("raw.dat", b"1")})
    environment = Reader(mysql, tmp_path)._environment() | {"DJ_LOG_LEVEL": "ERROR", "HOME": str(tmp_path)}
    try:
        for _, command in commands():
            own = command.replace("lab_checks", schema.database)
            done = subprocess.run(["sh", "-c", own], cwd=tmp_path, env=environment, capture_output=True, text=True)
            assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), own
        assert (tmp_path / "verify.json").exists()
        store_of = table().fetch1("raw")
        next((tmp_path / "store").rglob("raw.dat")).unlink()
        for own in {c.replace("lab_checks", schema.database) for _, c in commands() if " verify" in c}:
            done = subprocess.run(["sh", "-c", own], cwd=tmp_path, env=environment, capture_output=True, text=True)
            assert done.returncode == 1, own
            assert store_of.path in done.stdout
        (tmp_path / "store").rename(tmp_path / "unmounted")
        (own,) = {command for _, command in commands() if " gc " in command}
        done = subprocess.run(["sh", "-c", own], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (4, ""), own
        assert "is its disk mounted?" in done.stderr
    finally:
        drop_schema(instance.connection, schema.database)
        instance.connection.close()
