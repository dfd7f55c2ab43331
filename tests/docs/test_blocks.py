"""Every block of the documentation is true: Python runs, TOML is accepted, commands exist, and what is shown comes out.

How blocks are marked is told in `pages`.
"""

from __future__ import annotations

import ast
import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import pytest

from datajoint_file.cli import main as datajoint_file_command
from datajoint_file.config import parse_settings
from tests.conftest import CACHE_VARIABLE
from tests.docs.pages import ROOT, Block, arguments, blocks, blocks_of, documentation
from tests.programs import Programs
from tests.projects import connect, in_turn, unique
from tests.tables import drop_schema

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CONFIGURATION = """
[project]
name = "my_project"

[storage]
backend = "file"
path = "store"
"""
IN_FOUR_PROCESSES = """
import io
import multiprocessing
import datajoint as dj
import numpy as np

multiprocessing.set_start_method("fork", force=True)  # as DataJoint does where it can


def hashes(table):
    files = [name for name in table.heading.secondary_attributes if table.heading[name].codec]
    return {tuple(row[k] for k in table.primary_key): [row[f].hash for f in files] for row in table.to_dicts()}


def of_kind(kind):
    return [t for t in list(globals().values()) if isinstance(t, type) and issubclass(t, kind) and t is not kind]


for table in of_kind(dj.Manual):
    for number in range(1000, 1008):
        np.save(content := io.BytesIO(), np.random.default_rng(number).normal(size=(4, number)))
        key = dict.fromkeys(table.primary_key, number)
        table.insert1({**key, table.heading.secondary_attributes[0]: ("given.npy", content.getvalue())})
for table in of_kind(dj.Computed):
    filled = [table, *(part for part in vars(table).values() if isinstance(part, type) and issubclass(part, dj.Part))]
    table.populate(processes=4)
    by_four = [hashes(t()) for t in filled]
    table.delete(prompt=False)
    table.populate()
    assert len(by_four[0]) >= 8 and by_four == [hashes(t()) for t in filled], f"{table.__name__}: {by_four}"
"""
STARTS_PROCESSES = re.compile(r"get_context|ProcessPoolExecutor|LocalCluster|num_workers|processes=")
RUNNING = [page for page in documentation() if any(b.is_run and b.language == "python" for b in blocks(page))]

COMPUTING = [page for page in RUNNING if any("(dj.Computed)" in block.content for block in blocks(page))]


def shown(part: Path | str) -> str:
    """Return how a page, or a database, is called in a test's name."""
    return part.relative_to(ROOT).as_posix() if isinstance(part, Path) else part


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory as the pages suppose it, with the files that they insert."""
    directory = tmp_path / "my_project"
    (directory / "store").mkdir(parents=True)
    (directory / "recording.dat").write_bytes(bytes(range(256)) * 400)
    (directory / "notes.txt").write_text("12 spikes\n")
    return directory


class Reader:
    """Somebody who does what a page says, on a real database.

    Parameters
    ----------
    database
        The server's address.
    directory : Path
        Where he works.
    programs : Programs
        What starts a page.
    """

    def __init__(self, database: Any, directory: Path, programs: Programs) -> None:
        self._database = database
        self._programs = programs
        self._directory = directory
        self._cache = str(directory / ".cache")
        self._suffix = unique("")

    def follows(self, chosen: list[Block]) -> None:
        """Carry out blocks of a page; the schemas get names of their own and are dropped afterwards."""
        if not any(block.is_configuration for block in chosen):
            (self._directory / "datajoint.toml").write_text(CONFIGURATION)
        names = sorted({name for block in chosen for name in _schemas(block)})
        renamed = [replace(b, content=self._renamed(b.content, names)) for b in chosen]
        try:
            for part in _parts(renamed):
                self._run(part)
        finally:
            self._drop(names)

    def _renamed(self, content: str, names: list[str]) -> str:
        for name in names:
            content = re.sub(rf"\b{name}\b", name + self._suffix, content)
        return content

    def _run(self, part: list[Block]) -> None:
        done = self._programs.run(
            str(Path(__file__).with_name("run_page.py")),
            given=json.dumps([asdict(block) | {"file": block.file} for block in part]),
            cwd=self._directory,
            environment=self._environment(),
            timeout=170,
        )
        assert done.returncode == 0, done.stderr
        self._directory = Path(done.stdout.splitlines()[-1])

    def _environment(self) -> dict[str, str]:
        commands = str(Path(sys.executable).parent)
        return {
            **{name: value for name, value in os.environ.items() if name != CACHE_VARIABLE},  # which doctor would tell
            "XDG_CACHE_HOME": self._cache,
            "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
            "COLUMNS": "100",
            "DJ_HOST": self._database.host,
            "DJ_PORT": str(self._database.port),
            "DJ_USER": self._database.user,
            "DJ_PASS": self._database.password,
            "DJ_BACKEND": "postgresql" if "postgres" in type(self._database).__name__.lower() else "mysql",
            "DJ_USE_TLS": "false",
            "DJ_SAFEMODE": "false",
            "DJ_LOG_LEVEL": "WARNING",
        }

    def _drop(self, names: list[str]) -> None:
        connection = connect(self._database).connection
        for name in names:
            drop_schema(connection, name + self._suffix)
        connection.close()


def _parts(chosen: list[Block]) -> Iterator[list[Block]]:
    """Split a page's blocks where a new process begins."""
    part: list[Block] = []
    for block in chosen:
        if block.directive == "restart":
            yield part
            part = []
        part.append(block)
    yield part


@pytest.mark.parametrize(
    ("database", "page"), in_turn(RUNNING, [["mysql"], ["postgresql"]]), indirect=["database"], ids=shown
)
def test_the_blocks_of_a_page_run_in_order_and_print_what_is_shown(
    page: Path, database: Any, directory: Path, programs: Programs
) -> None:
    Reader(database, directory, programs).follows([block for block in blocks(page) if block.is_run])


@pytest.mark.parametrize("page", COMPUTING, ids=shown)
def test_what_four_processes_compute_is_what_one_does(
    page: Path, mysql: Any, directory: Path, programs: Programs
) -> None:
    chosen = [block for block in blocks(page) if block.is_run]
    last = max(number for number, block in enumerate(chosen) if "(dj.Computed)" in block.content)
    modules = [Path(block.file).stem for block in chosen if block.file.endswith(".py")]
    imports = "".join(f"from {module} import *\n" for module in modules)
    check = replace(chosen[last], title="", language="python", content=imports + IN_FOUR_PROCESSES)
    Reader(mysql, directory, programs).follows([*chosen[: last + 1], check])


def test_there_are_pages_to_run() -> None:
    assert {ROOT / "README.md", ROOT / "docs" / "tutorial.md"} <= set(RUNNING)
    assert len(RUNNING) >= 10


@pytest.mark.parametrize("block", blocks_of("python"), ids=str)
def test_a_python_block_compiles_and_is_left_out_for_a_cloud_account_only(block: Block) -> None:
    compile(block.content, str(block), "exec")
    assert block.directive != "skip" or re.search(r"account|bucket|container", block.argument), str(block)


@pytest.mark.parametrize("block", blocks_of("toml"), ids=str)
def test_a_toml_block_is_accepted(block: Block, tmp_path: Path) -> None:
    document = tomllib.loads(block.content)
    if block.title == "pyproject.toml":
        return
    for table, values in tomllib.loads(CONFIGURATION).items():
        document.setdefault(table, values)
    parse_settings(document, str(block), tmp_path)


@pytest.mark.parametrize("block", blocks_of("console"), ids=str)
def test_commands_and_their_options_exist(block: Block) -> None:
    assert block.commands, "a console block shows commands, each after a dollar sign"
    for command in map(arguments, block.commands):
        if command[0] == "datajoint-file":
            _check_command(command[1:])
        elif command[0] == "make":
            assert {word for word in command[1:] if "=" not in word} <= _make_targets(), command


@pytest.mark.parametrize("block", [b for b in blocks_of("python") if STARTS_PROCESSES.search(b.content)], ids=str)
def test_what_starts_processes_is_a_script_that_they_can_import(block: Block) -> None:
    assert block.file, "a program of its own, so that it is run as one"
    for statement in ast.parse(block.content).body:
        is_guarded = isinstance(statement, ast.If) and "__main__" in ast.unparse(statement.test)
        assert is_guarded or isinstance(statement, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef)


def test_each_page_has_schemas_of_its_own() -> None:
    found = [(name, page) for page in documentation() for block in blocks(page) for name in _schemas(block)]
    pages = {name: {page for each, page in found if each == name} for name, _ in found}
    assert {name for name, where in pages.items() if len(where) > 1} == {"lab_ephys"}
    assert {page.name for page in pages["lab_ephys"]} == {"README.md", "index.md"}  # one table, declared alike


def _schemas(block: Block) -> list[str]:
    return re.findall(r'(?:Schema|Module)\([^)]*?"(\w+)"\)', block.content)


def test_commands_in_running_text_exist() -> None:
    for page in documentation():
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for command in re.findall(r"`datajoint-file ((?:\w|[^`…])+)`", text):
            _check_command(arguments(command))
        for targets in re.findall(r"`make ([a-z][\w -]*)", text):
            assert set(targets.split()) <= _make_targets(), (page, targets)


def _check_command(words: list[str]) -> None:
    """Look for the command and parse its options as it would itself, without carrying anything out."""
    command: click.Command = datajoint_file_command
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, f"there is no command {words[0]}"
        command, words = found, words[1:]
    command.make_parser(click.Context(command)).parse_args(list(words))


def _make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
