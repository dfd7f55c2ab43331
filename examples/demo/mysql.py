"""MySQL or MariaDB from the programs of this machine: which of them, and how they make and serve a data directory.

When they are run, and when they are stopped, is the business of `servers`.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pymysql

from .servers import HOST, USER, Address, ServerError, being_made, run

DIRECTORIES = ("/usr/sbin", "/usr/local/sbin", "/usr/libexec", "/usr/local/bin", "/opt/homebrew/bin")
MISSING = (
    "There is no MySQL or MariaDB server on this machine: neither `mysqld` nor `mariadbd` in PATH or in "
    f"{', '.join(DIRECTORIES)}. Install one, for instance with\n"
    "    sudo apt-get install mariadb-server-core      (Debian, Ubuntu)\n"
    "    brew install mariadb                          (macOS)\n"
    "or use the PostgreSQL that comes with the demo: make demo"
)
APPARMOR = Path("/etc/apparmor.d/usr.sbin.mysqld")


def find_program() -> str:
    """Return the path of the server's program.

    Raises
    ------
    ServerError
        If there is none; the message says how to install one.
    """
    path = os.pathsep.join((os.environ.get("PATH", ""), *DIRECTORIES))
    for name in ("mysqld", "mariadbd"):
        if found := shutil.which(name, path=path):
            return found
    raise ServerError(MISSING)


@dataclass(frozen=True)
class MySQL:
    """A MySQL or MariaDB server.

    Parameters
    ----------
    directory : Path
        Its own.
    program : str
        The server's program.
    """

    directory: Path
    program: str

    backend = "mysql"
    stop_signal = signal.SIGTERM

    @cached_property
    def name(self) -> str:
        """Which of the two it is."""
        return "MariaDB" if "mariadb" in self._ask("--version").lower() else "MySQL"

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.directory / "data"

    @property
    def pid_file(self) -> Path:
        """Where the server writes its process number."""
        return self.directory / "pid"

    def initialise(self, password: str) -> None:
        """Make the data directory, unless it is there, and the SQL that makes the user when the server starts."""
        users = self.directory / "users.sql"
        users.touch(mode=0o600)
        users.write_text(
            f"CREATE USER IF NOT EXISTS {USER}@localhost IDENTIFIED BY '{password}';\n"
            f"GRANT ALL ON *.* TO {USER}@localhost;\n"
        )
        if not self.data.exists():
            with being_made(self.data) as new:
                self._make_data(new / "data")

    def command(self, address: Address) -> list[str]:
        """Return the command that serves it, on the loopback interface only."""
        options = [
            f"--port={address.port}",
            f"--bind-address={HOST}",
            "--socket=socket",  # below the data directory; with all of that, its path might be too long
            f"--pid-file={self.pid_file}",
            f"--init-file={self.directory / 'users.sql'}",
            "--character-set-server=utf8mb4",
        ]
        only_mysql = ["--mysqlx=OFF", "--secure-file-priv=NULL"] if self.name == "MySQL" else []
        return [*self._base(self.data), *options, *only_mysql]

    def data_directory_at(self, address: Address) -> str:
        """Ask whoever listens at *address* for its data directory; empty if nobody does, or the password is wrong."""
        try:
            connection = pymysql.connect(
                host=HOST, port=address.port, user=USER, password=address.password, connect_timeout=5
            )
        except pymysql.OperationalError:
            return ""
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT @@datadir")
            (found,) = cursor.fetchone() or ("",)
        return str(found)

    def _base(self, data: Path) -> list[str]:
        # In a directory for temporary files that they share, a server that starts removes the tables of others.
        options = [f"--datadir={data}", f"--tmpdir={data.parent}", *(["--user=root"] if os.geteuid() == 0 else [])]
        return [self.program, "--no-defaults", *options]

    def _make_data(self, data: Path) -> None:
        """Make a data directory in which nobody can log in without a password."""
        purpose = f"{self.name} makes its data directory{_apparmor_hint()}"
        if self.name == "MySQL":
            run(purpose, [*self._base(data), "--initialize"])
        else:
            (data / "mysql").mkdir(parents=True)
            run(purpose, [*self._base(data), "--bootstrap", "--log-warnings=0"], self._system_tables())

    def _system_tables(self) -> str:
        """Return what `mariadb-install-db` would run; that script needs programs of other packages."""
        charsets = re.search(r"^character-sets-dir\s+(\S.*)$", self._ask("--verbose", "--help"), re.MULTILINE)
        share = Path(charsets[1]).parent if charsets else Path("/usr/share/mysql")
        brand = "mariadb" if (share / "mariadb_system_tables.sql").exists() else "mysql"
        scripts = [(share / f"{brand}_system_tables{ending}.sql").read_text() for ending in ("", "_data")]
        return "\n".join(["USE mysql;", "SET @auth_root_socket = 'root';", *scripts])

    def _ask(self, *options: str) -> str:
        return subprocess.run([self.program, "--no-defaults", *options], capture_output=True, text=True).stdout


def _apparmor_hint() -> str:
    if not APPARMOR.exists():
        return ""
    return f" (which AppArmor may confine to /var/lib/mysql, see {APPARMOR}; MariaDB and PostgreSQL are not confined)"
