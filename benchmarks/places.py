"""The servers of a run, and for each case an empty schema, an empty store and a directory, removed afterwards.

What happens in them is the contenders' business.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pymysql
from botocore.session import Session

from benchmarks import proxy
from benchmarks.values import Workload
from tests.servers import S3Address, Servers
from tests.servers.mysql import MySQLAddress
from tests.servers.process import HOST, Run, Server, free_ports
from tests.servers.seaweedfs import Volumes
from tests.servers.seaweedfs import start as start_seaweedfs

# Room for files of gigabytes; and uploads in parallel do not queue for one volume.
_VOLUMES = Volumes(megabytes=1024, number=60, for_a_bucket=4)


@dataclass(frozen=True, slots=True)
class Ground:
    """Where one case, or all of a comparison that is prepared, takes place.

    Parameters
    ----------
    storage : dict
        The table ``[storage]`` of a store.
    schema : str
        A database schema that nobody else uses.
    database : dict
        ``host``, ``port``, ``user`` and ``password``.
    """

    storage: dict[str, Any]
    schema: str
    database: dict[str, Any]


_KEPT_BYTES = 2**20


class Places:
    """Make and remove grounds.

    Parameters
    ----------
    directory : Path
        On the disk that is measured.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._servers_directory = Path(tempfile.mkdtemp(prefix="servers-", dir=directory))
        self._servers = Servers(self._servers_directory, os.getpid())
        self._s3: S3Address | None = None
        self._proxies: dict[int, str] = {}

    def close(self) -> None:
        """Stop the servers."""
        self._servers.stop_all()

    @property
    def database(self) -> MySQLAddress:
        """The database server; started when it is first asked for."""
        return self._servers.mysql()

    @contextmanager
    def ground(self, workload: Workload) -> Iterator[Ground]:
        """Yield an empty ground; at the end its schema, its bucket and its directory are removed."""
        schema = f"bench_{uuid.uuid4().hex[:12]}"
        is_s3 = workload.place == "s3"
        try:
            with self._bucket(workload.round_trip_ms) if is_s3 else self._directory_store() as storage:
                yield Ground(storage, schema, self._database())
        finally:
            self._drop(schema)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Yield an empty directory."""
        directory = Path(tempfile.mkdtemp(prefix="scratch-", dir=self._directory))
        try:
            yield directory
        finally:
            _remove_large(directory)

    @contextmanager
    def _directory_store(self) -> Iterator[dict[str, Any]]:
        with self.scratch() as directory:
            yield {"backend": "file", "path": str(directory)}

    @contextmanager
    def _bucket(self, round_trip_ms: int) -> Iterator[dict[str, Any]]:
        """Yield a bucket of its own: SeaweedFS frees the disk at once when a bucket goes, not when its objects do."""
        address, bucket = self._s3_address(), f"bench-{uuid.uuid4().hex[:12]}"
        client = self._client(address)
        client.create_bucket(Bucket=bucket)
        try:
            yield {
                "backend": "s3",
                "bucket": bucket,
                "endpoint_url": self._from_afar(address, round_trip_ms),
                "region": address.region,
                "credentials": {"key": address.key, "secret": address.secret},
            }
        finally:
            client.delete_bucket(Bucket=bucket)

    def _from_afar(self, address: S3Address, round_trip_ms: int) -> str:
        """Return the URL at which the store is that far away. There is one proxy for each distance."""
        if not round_trip_ms:
            return address.endpoint_url
        if round_trip_ms not in self._proxies:
            run = Run(self._servers_directory.absolute(), os.getpid())
            self._proxies[round_trip_ms] = run.start("proxy", lambda _: _plan_proxy(address, round_trip_ms))
        return self._proxies[round_trip_ms]

    def _s3_address(self) -> S3Address:
        if self._s3 is None:
            self._s3 = start_seaweedfs(Run(self._servers_directory.absolute(), os.getpid()), _VOLUMES)
        return self._s3

    def _client(self, address: S3Address) -> Any:
        return Session().create_client(
            "s3",
            region_name=address.region,
            endpoint_url=address.endpoint_url,
            aws_access_key_id=address.key,
            aws_secret_access_key=address.secret,
        )

    def _database(self) -> dict[str, Any]:
        address = self.database
        return {"host": address.host, "port": address.port, "user": address.user, "password": address.password}

    def _drop(self, schema: str) -> None:
        with pymysql.connect(**self._database()) as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS `{schema}`")


def _plan_proxy(address: S3Address, round_trip_ms: int) -> tuple[Server, str]:
    """Return the proxy in front of the store, a process of its own, and its URL."""
    [port], server = free_ports(1), urlsplit(address.endpoint_url)
    numbers = [str(server.port), str(round_trip_ms / 1000)]
    command = [sys.executable, "-I", "-S", proxy.__file__, str(port), str(server.hostname), *numbers]
    return Server([command], lambda: _accepts(port)), f"http://{HOST}:{port}"


def _accepts(port: int) -> bool:
    with socket.create_connection((HOST, port)):
        return True


def _remove_large(directory: Path) -> None:
    """Make room. Small files stay until the end of the run.

    For half a minute ext4 passes over the inodes of what was removed, one by one, whenever it makes a file: who comes
    next would pay for that.
    """
    for path in directory.rglob("*"):
        if path.is_file() and path.stat().st_size > _KEPT_BYTES:
            path.unlink()
