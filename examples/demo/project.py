"""The project directory that the demo leaves: configuration of DataJoint and of the storage, the files, the database.

::

    demo-project/
        datajoint.toml               where files go
        datajoint.json, .secrets/    how DataJoint reaches the database
        store/                       the files that rows refer to
        downloads/                   copies of some of them
        .database/                   the database itself
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .servers import HOST, USER, Address

FOREIGN_VARIABLES = ("DJ_", "DATAJOINT_", "PG")

INIT = ("init", "--project", "demo", "--partition", "subject{subject_id}/scan{scan_id}")


class ProjectError(Exception):
    """The project directory cannot be used."""


@dataclass(frozen=True, slots=True)
class Project:
    """A project directory.

    Parameters
    ----------
    directory : Path
        Where it is, or will be; absolute.
    """

    directory: Path

    @property
    def configuration(self) -> Path:
        """The file that says where the store is."""
        return self.directory / "datajoint.toml"

    @property
    def store(self) -> Path:
        """The directory of stored files."""
        return self.directory / "store"

    @property
    def database(self) -> Path:
        """The directory of the database."""
        return self.directory / ".database"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other demos out of the directory, which is made if need be.

        Raises
        ------
        ProjectError
            If it cannot be written, or another demo is running in it.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            lock = (self.directory / ".lock").open("w")
        except PermissionError as error:
            raise ProjectError(f"{error}: it is another user's, who can remove it with `make clean-demo`") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ProjectError(f"another demo is running in {self.directory}: let it end, or end it") from error
            yield

    def configure_storage(self) -> None:
        """Have `datajoint-file init` write `datajoint.toml`, which must not be there, in the working directory."""
        from datajoint_file.cli import main  # imports DataJoint, which reads `datajoint.json`

        main(INIT, prog_name="datajoint-file", standalone_mode=False)

    def recorded_address(self) -> Address | None:
        """Return where the database was the last time."""
        if not self._password_file.exists() or not self._json_file.exists():
            return None
        port = json.loads(self._json_file.read_text())["database"]["port"]
        return Address(port, self._password_file.read_text())

    def record_address(self, backend: str, address: Address) -> None:
        """Write `datajoint.json` and the secret beside it: any DataJoint in this directory will find the database."""
        self._password_file.parent.mkdir(mode=0o700, exist_ok=True)
        self._password_file.touch(mode=0o600)
        self._password_file.write_text(address.password)
        database: dict[str, Any] = {"backend": backend, "host": HOST, "port": address.port, "user": USER}
        if backend == "postgresql":
            database["use_tls"] = False  # the server has no certificate, and does not leave this machine
        self._json_file.write_text(json.dumps({"database": database}, indent=4) + "\n")

    def enter(self) -> None:
        """Make it the working directory, where DataJoint and its storage find their configuration, and that alone."""
        for variable in [name for name in os.environ if name.startswith(FOREIGN_VARIABLES)]:
            del os.environ[variable]
        os.environ["DJ_LOG_LEVEL"] = "WARNING"
        os.chdir(self.directory)

    @property
    def _json_file(self) -> Path:
        return self.directory / "datajoint.json"

    @property
    def _password_file(self) -> Path:
        return self.directory / ".secrets" / "database.password"
