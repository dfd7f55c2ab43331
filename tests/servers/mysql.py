"""MySQL or MariaDB for a test run: a given server, or a private one from the binaries of this machine.

It makes no schema and no user; DataJoint's settings are the business of the fixtures.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

import pymysql

from .errors import MissingServerError, StartError
from .process import HOST, Run, Server, free_ports

GIVEN = "DJF_TEST_MYSQL"
INSTALL = "apt-get install mariadb-server-core"
INSTALL_CLIENTS = "apt-get install mariadb-client"
DIRECTORIES = ("/usr/sbin", "/usr/local/sbin", "/usr/libexec", "/opt/homebrew/bin", "/usr/local/bin")
DATA = "data"
# Nothing survives the run, so nothing need survive a crash.
COMMON = (
    "--innodb-flush-method=nosync",
    "--innodb-use-native-aio=0",
    "--innodb-buffer-pool-size=64M",
    "--skip-log-bin",
    "--performance-schema=0",
)
SERVING = (
    *COMMON,
    f"--bind-address={HOST}",
    "--socket=socket",  # relative to the data directory: the paths of sockets are short
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-doublewrite=0",
    "--max-connections=400",
    "--max-allowed-packet=64M",
    "--character-set-server=utf8mb4",
    "--secure-file-priv=",
)

Product = Literal["mysql", "mariadb"]


@dataclass(frozen=True, slots=True)
class MySQLAddress:
    """Where the server is, and which of the two it is."""

    host: str
    port: int
    user: str
    password: str
    product: Product
    version: str


def start(run: Run, name: str = "mysql") -> MySQLAddress:
    """Return the server that ``DJF_TEST_MYSQL`` names, else start one whose root needs no password."""
    if given := os.environ.get(GIVEN):
        return _connect_to_given(given)
    program, product = find_program()
    port = run.start(name, lambda directory: _plan(directory, program, product))
    return _describe(HOST, port, "root", "")


def _plan(directory: Path, program: str, product: Product) -> tuple[Server, int]:
    [port] = free_ports(1)
    # A server that starts removes the temporary tables of others from a directory that they share, which then crash.
    options = ["--no-defaults", f"--datadir={directory / DATA}", f"--tmpdir={directory}"]
    if os.geteuid() == 0:
        options.append("--user=root")
    bootstrap = _mariadb_bootstrap if product == "mariadb" else _mysql_bootstrap
    extra = ["--mysqlx=OFF"] if product == "mysql" else []
    serve = [program, *options, *SERVING, *extra, f"--port={port}", f"--pid-file={directory / 'pid'}"]
    return Server([bootstrap(directory, program, options), serve], lambda: _answers(port)), port


def _mysql_bootstrap(directory: Path, program: str, options: list[str]) -> list[str]:
    return [program, *options, *COMMON, "--initialize-insecure"]


def _mariadb_bootstrap(directory: Path, program: str, options: list[str]) -> list[str]:
    """Do what ``mariadb-install-db`` does: that script needs programs of other packages, and is slower."""
    (directory / DATA / "mysql").mkdir(parents=True)
    tables, rows = _mariadb_system_tables(program)
    sql = directory / "bootstrap.sql"
    preamble = "CREATE DATABASE IF NOT EXISTS mysql;\nUSE mysql;\nSET @auth_root_socket = NULL;\n"
    sql.write_bytes(preamble.encode() + tables.read_bytes() + rows.read_bytes())
    command = [program, *options, *COMMON, "--bootstrap", "--log-warnings=0", "--enforce-storage-engine="]
    return ["/bin/sh", "-c", f"exec {shlex.join(command)} < {shlex.quote(str(sql))}"]


def _mariadb_system_tables(program: str) -> tuple[Path, Path]:
    settings = _output([program, "--no-defaults", "--verbose", "--help"])
    match = re.search(r"^character-sets-dir\s+(\S.*)$", settings, re.MULTILINE)
    share = Path(match[1]).parent if match else Path("/usr/share/mysql")
    for brand in ("mariadb", "mysql"):
        tables, rows = share / f"{brand}_system_tables.sql", share / f"{brand}_system_tables_data.sql"
        if tables.exists():
            return tables, rows
    raise StartError(f"{program} lacks its system tables: there is no m*_system_tables.sql in {share}")


def find_program() -> tuple[str, Product]:
    """Return the path of a server's program, and which it is.

    MySQL is preferred to MariaDB, which may go by the other's name.

    Raises
    ------
    MissingServerError
        This machine has neither.
    """
    path = os.pathsep.join([os.environ.get("PATH", ""), *DIRECTORIES])
    found = [program for name in ("mysqld", "mariadbd") if (program := shutil.which(name, path=path))]
    products = [(program, _product(_output([program, "--no-defaults", "--version"]))) for program in found]
    for program, product in sorted(products, key=lambda pair: pair[1] == "mariadb"):
        return program, product
    raise MissingServerError("MySQL or MariaDB", INSTALL)


def _output(command: list[str]) -> str:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stdout


def _product(version: str) -> Product:
    return "mariadb" if "mariadb" in version.lower() else "mysql"


def _answers(port: int) -> bool:
    try:
        pymysql.connect(host=HOST, port=port, user="root", password="", connect_timeout=5).close()
    except pymysql.OperationalError:
        return False
    return True


def _describe(host: str, port: int, user: str, password: str) -> MySQLAddress:
    with pymysql.connect(host=host, port=port, user=user, password=password, connect_timeout=10) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SELECT VERSION()")
            [version] = cursor.fetchone() or [""]
    return MySQLAddress(host, port, user, password, _product(version), version)


def parse_given(given: str) -> tuple[str, int, str, str]:
    """Read ``host``, ``host:port`` or ``user:password@host:port`` (percent-encoded) into host, port, user and password.

    >>> parse_given("127.0.0.1:3307")
    ('127.0.0.1', 3307, 'root', '')
    """
    parts = urlsplit(f"//{given}")
    if not parts.hostname:
        raise StartError(f"{GIVEN} names no host; expected host:port or user:password@host:port")
    return parts.hostname, parts.port or 3306, unquote(parts.username or "root"), unquote(parts.password or "")


def _connect_to_given(given: str) -> MySQLAddress:
    host, port, user, password = parse_given(given)
    try:
        return _describe(host, port, user, password)
    except pymysql.OperationalError as error:
        raise StartError(f"{GIVEN} names {host}:{port}, user {user}, which cannot be used: {error}") from error
