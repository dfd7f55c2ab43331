"""Names that a terminal would obey, in everything that the commands print: tables, attributes, schemas of others."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

from datajoint_file.cli.output import console
from datajoint_file.errors import DataJointFileError, JournalWarning
from tests.projects import Store, unique
from tests.tables import recording_of

from .conftest import mysql_variables, postgresql_variables, write_configuration

EVIL = "t\x1b]0;PWNED\x07\x1b[2J\x9b31m\u202e\n6 checks: all fine"
_OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


@pytest.fixture
def evil(schema: dj.Schema) -> Iterator[str]:
    """Rows of files in a schema, and a table of hostile names with a row that names nothing, there and elsewhere."""
    recording_of(schema, "k : int32\n---\nraw : file").insert1({"k": 1, "raw": ("a.bin", b"a")})
    adapter, query = schema.connection.adapter, schema.connection.query
    other = f"{unique('schema')}\x1b[31m"
    query(f"CREATE {'SCHEMA' if adapter.backend == 'postgresql' else 'DATABASE'} {adapter.quote_identifier(other)}")
    for database in (schema.database, other):
        quoted = [adapter.quote_identifier(name) for name in (database, EVIL, f"c{EVIL}")]
        name = ".".join(quoted[:2])
        if adapter.backend == "postgresql":
            query(f"CREATE TABLE {name} (id INT PRIMARY KEY, {quoted[2]} JSONB)")
            query(f"COMMENT ON COLUMN {name}.{quoted[2]} IS ':<file>:'")
        else:
            query(f"CREATE TABLE {name} (id INT PRIMARY KEY, {quoted[2]} JSON COMMENT ':<file>:')")
        query(f"INSERT INTO {name} VALUES (1, '{{\"path\": 5}}')")
    yield other
    cascade = "SCHEMA {} CASCADE" if adapter.backend == "postgresql" else "DATABASE {}"
    query(f"DROP {cascade.format(adapter.quote_identifier(other))}")


COMMANDS = ["gc", "gc --scan --list", "gc --scan --json", "gc --scan --execute", "verify {}", "verify {} --json"]
COMMANDS += ["verify {}.Recording", "verify {other}", "--debug verify {other}", "verify {other}.x"]
COMMANDS += ["doctor", "doctor --json", "ls", "ls {}", "ls {other}", "ls {}.Recording --long", "tag {other}.x"]


_ALL = """
import json, sys
commands = json.loads(sys.argv[1])
sys.argv = ["datajoint-file"]
from datajoint_file.cli import main
for arguments in commands:
    try:
        main(arguments)
    except SystemExit:
        pass
    except Exception:
        sys.excepthook(*sys.exc_info())
"""


def test_nothing_that_a_terminal_obeys_is_printed(
    directory: Path, database: Any, schema: dj.Schema, store: Store, evil: str
) -> None:
    write_configuration(directory, store.table)
    path = directory / "datajoint.toml"
    path.write_text(path.read_text(encoding="utf-8").replace('"lab"', f'"{store.project}"'), encoding="utf-8")
    is_postgresql = schema.connection.adapter.backend == "postgresql"
    variables = postgresql_variables(database) if is_postgresql else mysql_variables(database)
    commands = [[word.format(schema.database, other=evil) for word in command.split(" ")] for command in COMMANDS]
    done = subprocess.run(  # one process: each takes a second to start
        [sys.executable, "-c", _ALL, json.dumps(commands)],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    told = done.stdout + done.stderr
    assert not _OBEYED.search(told), told
    assert not re.search("^6 checks", told, re.MULTILINE), told
    assert "t\\x1b]0;PWNED\\x07\\x1b[2J\\x9b31m\\u202e\\n6 checks" in done.stdout


def test_console_escapes_whatever_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(EVIL)
    table.add_row(EVIL)
    for renderable in (EVIL, Text(EVIL), table):
        console().print(renderable, style="bold")
    assert not _OBEYED.search(capsys.readouterr().out)


def test_error_and_warning_are_harmless_and_keep_other_letters() -> None:
    for told in (DataJointFileError(f"Größe: {EVIL}"), JournalWarning(f"Größe: {EVIL}")):
        assert not _OBEYED.search(str(told))
        assert str(told).startswith("Größe: t\\x1b]0;")


def test_warning_of_a_command_names_no_line_of_code() -> None:
    script = (
        "import sys, warnings; sys.argv = ['datajoint-file']; import datajoint_file.startup\n"
        "from datajoint_file.errors import MirrorWarning\n"
        "warnings.warn('it is told\x1b[2J', MirrorWarning)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == "MirrorWarning: it is told\\x1b[2J\n"
