"""Real servers for one test run: MySQL or MariaDB, PostgreSQL, S3, Google Cloud Storage and Azure.

How a server is made ready for tests (schemas, buckets' contents, DataJoint's settings) is not decided here.

Each is started when a test first asks for it, on a free port of the loopback interface, shared by all processes of the
run (pytest-xdist's workers), and gone when the run is over, also when pytest was killed. Nothing is kept from one run
to the next.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

from . import azurite, fake_gcs, mysql, postgresql, seaweedfs
from .azurite import AzureAddress
from .environment import isolated_environment
from .errors import MissingServerError, ServerError, StartError, StopError
from .fake_gcs import GCSAddress
from .mysql import MySQLAddress
from .postgresql import PostgreSQLAddress
from .process import Run
from .seaweedfs import S3Address

__all__ = [
    "AzureAddress",
    "GCSAddress",
    "MissingServerError",
    "MySQLAddress",
    "PostgreSQLAddress",
    "S3Address",
    "ServerError",
    "Servers",
    "StartError",
    "StopError",
    "isolated_environment",
]

Address = TypeVar("Address", MySQLAddress, PostgreSQLAddress, S3Address, GCSAddress, AzureAddress)


class Servers:
    """The servers of one test run.

    Every process of the run makes its own, with the same arguments; the first that asks for a server starts it, the
    others wait for it and read its address. Safe to use from threads.

    Parameters
    ----------
    directory : Path
        For the servers alone, the same in all processes of the run; made if need be, removed at the end.
    owner_pid : int
        The process whose end is the end of the run: pytest's own, not one of its workers.

    Raises
    ------
    MissingServerError
        From each method that returns an address: the server is not installed.
    StartError
        The server does not come up, now or when another process of the run tried.
    StopError
        The server came up for an earlier test and has died since.

    """

    def __init__(self, directory: Path, owner_pid: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._run = Run(directory.absolute(), owner_pid)

    def mysql(self, only_for: str = "") -> MySQLAddress:
        """Return the MySQL or MariaDB server that ``DJF_TEST_MYSQL`` names, else one started for this run.

        Started *only_for* somebody, it has no schemas of others, which a user who sees everything would see.
        """
        name = f"mysql-{only_for}" if only_for else "mysql"
        return self._shared(name, lambda run: mysql.start(run, name), MySQLAddress)

    def postgresql(self) -> PostgreSQLAddress:
        """Return the PostgreSQL server of this run."""
        return self._shared("postgresql", postgresql.start, PostgreSQLAddress)

    def s3(self) -> S3Address:
        """Return the S3 server (SeaweedFS) of this run."""
        return self._shared("seaweedfs", seaweedfs.start, S3Address)

    def gcs(self) -> GCSAddress:
        """Return the Google Cloud Storage server (fake-gcs-server) of this run."""
        return self._shared("fake-gcs", fake_gcs.start, GCSAddress)

    def azure(self) -> AzureAddress:
        """Return the Azure Blob Storage server (Azurite) of this run."""
        return self._shared("azurite", azurite.start, AzureAddress)

    def stop_all(self) -> None:
        """Stop all servers of the run and remove its directory; called once, by the owner, when the tests are done."""
        self._run.stop_all()

    def _shared(self, name: str, start: Callable[[Run], Address], kind: type[Address]) -> Address:
        record, failure = (self._run.directory / f"{name}.{ending}" for ending in ("json", "failed"))
        if not record.exists():
            with FileLock(self._run.directory / f"{name}.lock"):
                if not record.exists():
                    self._start_once(start, record, failure)
        self._run.check_is_running(name)
        return kind(**json.loads(record.read_text()))

    def _start_once(self, start: Callable[[Run], Address], record: Path, failure: Path) -> None:
        """Start a server, and leave its address for the other processes, or why it failed: they need not try again."""
        if failure.exists():
            raise StartError(failure.read_text())
        try:
            address = start(self._run)
        except StartError as error:
            failure.write_text(str(error))
            raise
        unfinished = record.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(asdict(address)))
        unfinished.replace(record)
