"""Private database server for one drill, on the loopback interface.

One that is there already is the business of `given_server`. How a dump is loaded is told in `loading`; what is then
read there, in `rows`.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from subprocess import Popen, TimeoutExpired
from typing import Any

import datajoint as dj
from datajoint.adapters import get_adapter

from datajoint_file.drills.dumps import Product
from datajoint_file.drills.processes import run, serving, tail
from datajoint_file.drills.programs import MySQLPrograms, PostgreSQLPrograms, mysql_server, postgresql
from datajoint_file.errors import DrillError, driver_message

_HOST = "127.0.0.1"
_ATTEMPTS = 3
_START_SECONDS = 120.0
_POLL_SECONDS = 0.05
_FAULT_SECONDS = 1.0
"""Clients notice sooner than we that their server has ended."""


# Nothing survives the drill, so nothing need survive a crash. A server that starts removes the temporary tables of
# others from a directory that they share, which then crash: so each has its own.
_MYSQL_OPTIONS = (
    "--innodb-flush-method=nosync",
    "--innodb-use-native-aio=0",
    "--innodb-buffer-pool-size=128M",
    "--skip-log-bin",
    "--performance-schema=0",
)
_MYSQL_SERVING = (
    *_MYSQL_OPTIONS,
    f"--bind-address={_HOST}",
    "--socket=socket",  # relative to the data directory: the paths of sockets are short
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-doublewrite=0",
    "--max-allowed-packet=1G",
    "--character-set-server=utf8mb4",
    "--skip-slave-start",
    "--event-scheduler=OFF",
    "--local-infile=0",
)
_RIGHTS = (
    "SELECT ON mysql.*",  # the more specific counts: of its tables, accounts and routines, a dump writes none
    (
        "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, REFERENCES, INDEX, ALTER, CREATE TEMPORARY TABLES, "
        "LOCK TABLES, EXECUTE, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, EVENT, TRIGGER ON `%`.*"
    ),
    "SET USER ON *.*",
    "SET_USER_ID ON *.*",
    "SET_ANY_DEFINER ON *.*",
    "ALLOW_NONEXISTENT_DEFINER ON *.*",
    "SESSION_VARIABLES_ADMIN ON *.*",
)
"""What a dump may do, by the names of either product: fill schemas, and nothing with files, accounts and servers."""

_MIGHTY = "'', 'root', 'mysql.session'"
"""Accounts that are dropped: a routine of the dump could name one as its definer, and have its rights."""

_POSTGRESQL_SETTINGS = {
    "listen_addresses": _HOST,
    "unix_socket_directories": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "4GB",
    "shared_buffers": "128MB",
    "timezone": "UTC",
}
_NAME = "datajoint_file_drill"
_SUPERUSER = f"{_NAME}_superuser"
"""Not the role postgres: what a dump gives to that role must find none, and stay the loader's."""


@dataclass(frozen=True, slots=True)
class Account:
    """How to get into the server of a drill."""

    product: Product
    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str = ""  # of PostgreSQL
    use_tls: Any = False
    programs: PostgreSQLPrograms | None = None  # of its version; None if it is not ours
    fault: Callable[[], str] = field(default=lambda: "", repr=False)  # why it has ended, if it has
    schemas: set[str] = field(default_factory=set, compare=False)  # of MySQL, that dumps have filled: see `Course`

    @property
    def backend(self) -> str:
        """What DataJoint calls its kind."""
        return "postgresql" if self.product == "postgresql" else "mysql"

    def connect(self) -> Any:
        """Return a connection of DataJoint's, with settings of its own."""
        options: dict[str, Any] = {"database__name": self.database} if self.database else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of MariaDB
            return dj.Instance(
                self.host, self.user, self.password, self.port, self.use_tls, self.backend, **options
            ).connection

    def driver(self) -> Any:
        """Return a bare connection of the driver's, which commits each statement."""
        named = {"dbname": self.database or "postgres"} if self.backend == "postgresql" else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return get_adapter(self.backend).connect(
                host=self.host,
                port=self.port,
                user=self.user,
                password=self.password,
                charset="",
                use_tls=self.use_tls,
                **named,
            )


@contextmanager
def private_server(product: Product, directory: Path, at_least: int = 0) -> Iterator[Account]:
    """Run a server of a product in a directory, reachable from this machine alone, and give its loader's account.

    The loader may do with schemas what it likes, and nothing with files, programs and other servers.

    Raises
    ------
    DrillError
        If this machine has no such programs, or the server does not come up.
    """
    with ExitStack() as stack:
        for attempt in range(1, _ATTEMPTS + 1):
            place = directory / f"server{attempt}"
            try:
                if product == "postgresql":
                    account = stack.enter_context(_postgresql(place, postgresql(at_least)))
                else:
                    account = stack.enter_context(_mysql(place, mysql_server(product)))
                break
            except _PortTakenError as error:
                if attempt == _ATTEMPTS:
                    raise DrillError(str(error)) from None
        yield account


class _PortTakenError(Exception):
    """The server has ended before it answered: perhaps another has taken the port that was free before."""


@contextmanager
def _mysql(place: Path, programs: MySQLPrograms) -> Iterator[Account]:
    for name in ("tmp", "files", "plugins"):
        (place / name).mkdir(mode=0o700, parents=True)
    log, password = place / "log", secrets.token_hex(24)
    options = ["--no-defaults", f"--datadir={place / 'data'}", f"--tmpdir={place / 'tmp'}"]
    options += ["--user=root"] if os.geteuid() == 0 else []
    if programs.product == "mariadb":
        _bootstrap_mariadb(place, programs.server, options, log)
    else:
        run([programs.server, *options, *_MYSQL_OPTIONS, "--initialize-insecure"], place, log=log)
    init = place / "init.sql"
    with os.fdopen(os.open(init, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"ALTER USER root@localhost IDENTIFIED BY '{password}';\n")
    root = Account(programs.product, _HOST, _free_port(), "root", password)
    fenced = [f"--secure-file-priv={place / 'files'}", f"--plugin-dir={place / 'plugins'}", f"--init-file={init}"]
    fenced += ["--mysqlx=OFF"] if programs.product == "mysql" else []
    command = [programs.server, *options, *_MYSQL_SERVING, *fenced, f"--port={root.port}"]
    with serving(command, place, log=log, ending=signal.SIGKILL) as process:
        driver = _answering(root, process, log)
        loader = replace(root, user=_NAME, password=secrets.token_hex(24), fault=lambda: _fault(process, log))
        with driver.cursor() as cursor:
            cursor.execute(f"CREATE USER {_NAME}@'%' IDENTIFIED BY '{loader.password}'")
            for right in _RIGHTS:
                with suppress(Exception):  # the other product's, or of another version
                    cursor.execute(f"GRANT {right} TO {_NAME}@'%'")
            cursor.execute(f"SELECT user, host FROM mysql.user WHERE user IN ({_MIGHTY})")
            for user, host in cursor.fetchall():
                cursor.execute("DROP USER %s@%s", (user, host))
        driver.close()
        yield loader


def _bootstrap_mariadb(place: Path, program: str, options: list[str], log: Path) -> None:
    """Do what ``mariadb-install-db`` does: that script needs programs of other packages, and is slower."""
    (place / "data" / "mysql").mkdir(parents=True)
    settings = place / "settings"
    run([program, "--no-defaults", "--verbose", "--help"], place, log=settings)
    told = re.search(r"^character-sets-dir\s+(\S.*)$", settings.read_text(errors="replace"), re.MULTILINE)
    share = Path(told[1]).parent if told else Path("/usr/share/mysql")
    for brand in ("mariadb", "mysql"):
        tables, rows = share / f"{brand}_system_tables.sql", share / f"{brand}_system_tables_data.sql"
        if tables.exists() and rows.exists():
            break
    else:
        raise DrillError(f"{program} lacks its system tables: there is no m*_system_tables.sql in {share}")
    sql = place / "bootstrap.sql"
    preamble = "CREATE DATABASE IF NOT EXISTS mysql;\nUSE mysql;\nSET @auth_root_socket = NULL;\n"
    sql.write_bytes(preamble.encode() + tables.read_bytes() + rows.read_bytes())
    command = [program, *options, *_MYSQL_OPTIONS, "--bootstrap", "--log-warnings=0", "--enforce-storage-engine="]
    with sql.open("rb") as text:
        run(command, place, log=log, stdin=text)


@contextmanager
def _postgresql(place: Path, programs: PostgreSQLPrograms) -> Iterator[Account]:
    place.mkdir()
    password_file, log, user = place / "password", place / "log", _unprivileged()
    root = Account("postgresql", _HOST, _free_port(), _SUPERUSER, secrets.token_hex(24))
    with os.fdopen(os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(root.password)
    if user:
        for path in (place, password_file):
            shutil.chown(path, user["user"], user["group"])
    data = str(place / "data")
    asked = ["--auth=scram-sha-256", f"--pwfile={password_file}", "--encoding=UTF8", "--locale=C", "--no-sync"]
    run([programs["initdb"], f"--pgdata={data}", f"--username={root.user}", *asked], place, log=log, **user)
    settings = [f"--{name}={value}" for name, value in _POSTGRESQL_SETTINGS.items()]
    command = [programs["postgres"], "-D", data, f"--port={root.port}", *settings]
    with serving(command, place, log=log, ending=signal.SIGQUIT, **user) as process:
        driver = _answering(root, process, log)
        loader = replace(root, user=_NAME, password=secrets.token_hex(24), database=_NAME)
        loader = replace(loader, programs=programs, fault=lambda: _fault(process, log))
        with driver.cursor() as cursor:
            cursor.execute(f"CREATE ROLE {_NAME} LOGIN PASSWORD '{loader.password}'")
            cursor.execute(f"CREATE DATABASE {_NAME} OWNER {_NAME}")
        driver.close()
        yield loader


def _unprivileged() -> dict[str, Any]:
    """Return as whom PostgreSQL runs: it refuses to be root."""
    if os.geteuid() != 0:
        return {}
    import pwd  # not on Windows

    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return {"user": name, "group": pwd.getpwnam(name).pw_gid, "extra_groups": []}
    raise DrillError("PostgreSQL does not run as root, and this machine has neither a user postgres nor nobody")


def _fault(process: Popen[bytes], log: Path) -> str:
    with suppress(TimeoutExpired):
        process.wait(_FAULT_SECONDS)
        return f"the scratch server has ended: {tail(log)}"
    return ""


def _free_port() -> int:
    with socket.create_server((_HOST, 0), backlog=1) as listening:
        return int(listening.getsockname()[1])


def _answering(account: Account, process: Popen[bytes], log: Path) -> Any:
    """Return a bare connection to a server as soon as it answers."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        if process.poll() is not None:
            raise _PortTakenError(f"the scratch server has ended while it started: {tail(log)}")
        try:
            return account.driver()
        except Exception as error:  # of the driver
            if time.monotonic() > deadline or isinstance(error, RuntimeError):  # a library that it needs is missing
                raise DrillError(
                    f"the scratch server does not answer after {_START_SECONDS:g} seconds "
                    f"({driver_message(error)}): {tail(log)}"
                ) from error
        time.sleep(_POLL_SECONDS)
