"""Start every server, make one round trip to each with the client that users have, stop them.

``python -m tests.servers`` prints where each server was and how long it took. It checks a machine, not the package.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import AzureAddress, GCSAddress, MySQLAddress, PostgreSQLAddress, S3Address, Servers
from .environment import ambient_variables, isolated_environment

CONTENT = b"round trip" * 100


def main() -> int:
    """Start, check and stop all servers; an exception tells what is wrong."""
    for name in ambient_variables():
        del os.environ[name]
    os.environ.update(isolated_environment())
    servers = Servers(Path(tempfile.mkdtemp(prefix="servers-")), os.getpid())
    try:
        for start, check in _pairs(servers):
            _report(start, check)
    finally:
        began = time.monotonic()
        servers.stop_all()
        print(f"all stopped         {time.monotonic() - began:6.2f} s")
    return 0


def _pairs(servers: Servers) -> list[tuple[Callable[[], Any], Callable[[Any], None]]]:
    return [
        (servers.mysql, check_mysql),
        (servers.postgresql, check_postgresql),
        (servers.s3, check_s3),
        (servers.gcs, check_gcs),
        (servers.azure, check_azure),
    ]


def _report(start: Callable[[], Any], check: Callable[[Any], None]) -> None:
    began = time.monotonic()
    address = start()
    started = time.monotonic()
    check(address)
    seconds = f"start {started - began:6.2f} s   first round trip {time.monotonic() - started:5.2f} s"
    print(f"{type(address).__name__:18}  {seconds}   {_where(address)}", flush=True)


def _where(address: Any) -> str:
    url = getattr(address, "endpoint_url", None) or getattr(address, "endpoint", None)
    return url or f"{address.host}:{address.port}"


def check_mysql(address: MySQLAddress) -> None:
    """Create a database, write and read."""
    import pymysql

    user, password = address.user, address.password
    connection = pymysql.connect(host=address.host, port=address.port, user=user, password=password, autocommit=True)
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE round_trip")
        cursor.execute("CREATE TABLE round_trip.t (content JSON)")
        cursor.execute("INSERT INTO round_trip.t VALUES ('[1]')")
        cursor.execute("SELECT content FROM round_trip.t")
        _expect(cursor.fetchone(), ("[1]",))
        cursor.execute("DROP DATABASE round_trip")


def check_postgresql(address: PostgreSQLAddress) -> None:
    """Create a schema, write and read."""
    import psycopg2

    user, password, database = address.user, address.password, address.database
    connection = psycopg2.connect(host=address.host, port=address.port, user=user, password=password, dbname=database)
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA round_trip CREATE TABLE t (content jsonb)")
        cursor.execute("INSERT INTO round_trip.t VALUES ('[1]') RETURNING content")
        _expect(cursor.fetchone(), ([1],))
        cursor.execute("DROP SCHEMA round_trip CASCADE")
    connection.close()


def check_s3(address: S3Address) -> None:
    """Write, list, read and remove an object through s3fs."""
    import s3fs

    client = {"region_name": address.region, "endpoint_url": address.endpoint_url}
    filesystem = s3fs.S3FileSystem(key=address.key, secret=address.secret, client_kwargs=client)
    _check_filesystem(filesystem, address.bucket)


def check_gcs(address: GCSAddress) -> None:
    """Write, list, read and remove an object through gcsfs."""
    import gcsfs

    filesystem = gcsfs.GCSFileSystem(project=address.project, token="anon", endpoint_url=address.endpoint_url)
    _check_filesystem(filesystem, address.bucket)


def check_azure(address: AzureAddress) -> None:
    """Write, list, read and remove an object through adlfs."""
    import adlfs

    filesystem = adlfs.AzureBlobFileSystem(address.account_name, connection_string=address.connection_string)
    _check_filesystem(filesystem, address.container)


def _check_filesystem(filesystem: Any, bucket: str) -> None:
    key = f"{bucket}/round/trip"
    filesystem.pipe_file(key, CONTENT)
    filesystem.invalidate_cache()
    _expect(filesystem.find(bucket), [key])
    _expect(filesystem.cat_file(key), CONTENT)
    filesystem.rm_file(key)
    filesystem.invalidate_cache()
    _expect(filesystem.find(bucket), [])


def _expect(found: object, expected: object) -> None:
    if found != expected:
        raise SystemExit(f"expected {expected!r}, found {found!r}")


if __name__ == "__main__":
    sys.exit(main())
