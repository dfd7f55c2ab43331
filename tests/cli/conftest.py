"""The command ``datajoint-file`` as tests call it: within this process, and as a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest
from click.testing import CliRunner, Result
from datajoint import settings as dj_settings

from datajoint_file.cli import main
from datajoint_file.config import bindings
from tests.programs import Programs
from tests.projects import Store

Run = Callable[..., Result]
PROGRAM = shutil.which("datajoint-file", path=sysconfig.get_path("scripts")) or ""
Process = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    made = tmp_path / "place cells"
    made.mkdir()
    monkeypatch.chdir(made)
    return made


@pytest.fixture
def run(directory: Path) -> Run:
    """Run the command within this process."""

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(main, arguments)

    return invoke


@pytest.fixture
def project_run(run: Run, directory: Path, database: Any, store: Store) -> Iterator[Run]:
    """Run the command within this process, in a working directory and with a database like those of ``schema``."""
    write_configuration(directory, store.table, store.project)
    is_postgresql = "postgres" in type(database).__name__.lower()
    settings: dict[str, Any] = {name: getattr(database, name) for name in ("host", "port", "user", "password")}
    settings |= {"use_tls": False, "backend": "postgresql" if is_postgresql else "mysql"}
    settings |= {"name": database.database} if is_postgresql else {}

    def start(*arguments: str) -> Result:
        with dj.config.override(**{f"database__{name}": value for name, value in settings.items()}):
            return run(*arguments)

    before = bindings._bindings.known(dj_settings.config)
    bindings._bindings.keep(dj_settings.config, bindings.Binding(directory))  # as in a process of its own
    yield start
    if before is None:
        bindings._bindings._values.pop(id(dj_settings.config))
    else:
        bindings._bindings.keep(dj_settings.config, before)


@pytest.fixture
def process(directory: Path, programs: Programs) -> Process:
    """Run the installed command as users do, with more environment variables if given."""
    assert PROGRAM, "the package is not installed: pip install -e ."

    def start(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        variables = {**os.environ, **environment}
        if any(name.startswith("PYTHON") for name in environment):  # the interpreter looks at them as it starts
            return subprocess.run([PROGRAM, *arguments], env=variables, capture_output=True, text=True, timeout=120)
        return programs.run(PROGRAM, *arguments, environment=variables)

    return start


def write_configuration(directory: Path, storage: Mapping[str, Any], project: str = "lab") -> None:
    """Write a ``datajoint.toml``; the values of tests are texts and tables of texts."""
    tables = {name: value for name, value in storage.items() if isinstance(value, Mapping)}
    lines = ["[project]", f'name = "{project}"', "[storage]"]
    lines += [f"{name} = {json.dumps(value)}" for name, value in storage.items() if name not in tables]
    for name, table in tables.items():
        lines += [f"[storage.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    (directory / "datajoint.toml").write_text("\n".join(lines), encoding="utf-8")


def mysql_variables(mysql: Any, **others: str) -> dict[str, str]:
    given = {"DJ_USER": mysql.user, "DJ_PASS": mysql.password}
    return {"DJ_HOST": mysql.host, "DJ_PORT": str(mysql.port), "DJ_USE_TLS": "false", **given, **others}


def postgresql_variables(postgresql: Any, **others: str) -> dict[str, str]:
    given = {"DJ_USER": postgresql.user, "DJ_PASS": postgresql.password, "DJ_DATABASE_NAME": postgresql.database}
    return {"DJ_BACKEND": "postgresql", "DJ_HOST": postgresql.host, "DJ_PORT": str(postgresql.port), **given, **others}
