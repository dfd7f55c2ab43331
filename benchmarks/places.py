"""The servers of a run, and for each case an empty schema, an empty store and a directory, removed afterwards.

What happens in them is the contenders' business.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
from botocore.session import Session

from benchmarks.values import Place
from tests.servers import S3Address, Servers
from tests.servers.mysql import MySQLAddress
from tests.servers.process import Run
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

    def close(self) -> None:
        """Stop the servers."""
        self._servers.stop_all()

    @property
    def database(self) -> MySQLAddress:
        """The database server; started when it is first asked for."""
        return self._servers.mysql()

    @contextmanager
    def ground(self, place: Place) -> Iterator[Ground]:
        """Yield an empty ground; at the end its schema, its bucket and its directory are removed."""
        schema = f"bench_{uuid.uuid4().hex[:12]}"
        try:
            with self._bucket() if place == "s3" else self._directory_store() as storage:
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
    def _bucket(self) -> Iterator[dict[str, Any]]:
        """Yield a bucket of its own: SeaweedFS frees the disk at once when a bucket goes, not when its objects do."""
        address, bucket = self._s3_address(), f"bench-{uuid.uuid4().hex[:12]}"
        client = self._client(address)
        client.create_bucket(Bucket=bucket)
        try:
            yield {
                "backend": "s3",
                "bucket": bucket,
                "endpoint_url": address.endpoint_url,
                "region": address.region,
                "credentials": {"key": address.key, "secret": address.secret},
            }
        finally:
            client.delete_bucket(Bucket=bucket)

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


def _remove_large(directory: Path) -> None:
    """Make room. Small files stay until the end of the run.

    For half a minute ext4 passes over the inodes of what was removed, one by one, whenever it makes a file: who comes
    next would pay for that.
    """
    for path in directory.rglob("*"):
        if path.is_file() and path.stat().st_size > _KEPT_BYTES:
            path.unlink()
