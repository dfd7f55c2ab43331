"""The command as a whole: help, version, errors, and what it keeps to itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import datajoint_file
from datajoint_file.cli import main

from .conftest import Process, Run, write_configuration


def test_help_names_every_command(run: Run) -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert "doctor" in result.output
    assert "init" in result.output


def test_version_names_datajoint_as_well(run: Run) -> None:
    result = run("--version")
    assert f"datajoint-file {datajoint_file.__version__} (DataJoint 2." in result.output


def test_unknown_command_is_wrong_usage(run: Run) -> None:
    assert run("heal").exit_code == 2


def test_error_of_the_package_is_one_message_and_exit_code_4(process: Process, directory: Path) -> None:
    (directory / "occupied").write_text("not a directory")
    result = process("init", "--directory", "occupied/project")
    assert result.returncode == 4
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert "occupied" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_debug_shows_where_an_error_comes_from(process: Process, directory: Path) -> None:
    (directory / "occupied").write_text("not a directory")
    result = process("--debug", "init", "--directory", "occupied/project")
    assert result.returncode == 4
    assert "Traceback" in result.stderr
    assert "DestinationError" in result.stderr


def test_missing_datajoint_json_is_not_mentioned(process: Process) -> None:
    result = process("init")
    assert result.returncode == 0
    assert result.stderr == ""


def test_datajoint_log_does_not_get_between_the_lines_of_json(process: Process, directory: Path) -> None:
    (directory / "datajoint.json").write_text('{"database.host": "127.0.0.1"}')
    result = process("init", "--json")
    assert json.loads(result.stdout)["written"] == str(directory / "datajoint.toml")
    assert result.stderr == ""


def test_help_says_of_every_command_what_the_command_says(run: Run) -> None:
    shown = run("--help").output.split("Commands:")[1]
    for name, command in main.commands.items():
        assert f"  {name} " in shown
        assert command.short_help
        assert command.short_help in shown
    assert len(shown.strip().splitlines()) == len(main.commands)


def test_name_that_the_terminal_cannot_show_is_shown_escaped(process: Process, directory: Path) -> None:
    write_configuration(directory, {"backend": "file", "path": "k\xf6ln"})
    result = process("doctor", PYTHONIOENCODING="ascii:strict")
    assert "k\\xf6ln" in result.stdout
    assert "Traceback" not in result.stderr


NARROW = [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}]


@pytest.mark.parametrize("environment", NARROW, ids=["ascii", "C"])
def test_output_survives_a_terminal_that_is_not_utf_8(
    process: Process, directory: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    odd = directory / "m\xe4use \u2026 \udcff"
    odd.mkdir()
    monkeypatch.chdir(odd)
    for arguments in (("init",), ("doctor", "--skip", "database")):
        done = process(*arguments, **environment)
        assert (done.returncode, done.stderr) == (0, "")
        assert "use " in done.stdout


def test_a_reader_is_no_collector(run: Run) -> None:
    assert run("doctor", "--read-only", "--collector").exit_code == 2


def test_a_directory_that_is_no_row_is_told_where_it_belongs(run: Run) -> None:
    told = run("get", "lab.Recording", "my files", "--to", "elsewhere")
    assert told.exit_code == 2
    assert "'my files' is not of the form subject_id=1; if files are to go there, write --to 'my files'" in told.stderr
    assert "--to" not in run("ls", "lab.Recording", "out").stderr
    assert "--to out" in run("get", "lab.Recording", "out").stderr
