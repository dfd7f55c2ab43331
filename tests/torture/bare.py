"""The other door: rows by SQL of one's own, bytes from the disk or with a bare S3 client. No code of the package.

Nothing here is watched, and no fault can reach it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from contextlib import closing
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

import botocore.config
import botocore.session
import psycopg2
import pymysql
from pymysql.constants import CLIENT

REGISTRY = "/~registry/"
"""Marks of the schemas that use a project: no objects, and never cleared away."""


class Objects(Protocol):
    """What is in a store, by object key."""

    def keys(self) -> list[str]: ...
    def get(self, key: str) -> bytes | None: ...
    def put(self, key: str, content: bytes) -> None: ...
    def delete(self, keys: Iterable[str]) -> None: ...
    def clear(self) -> None: ...
    def unfinished(self) -> list[str]: ...


class DiskObjects:
    """Files below a directory; *project* is the first part of their keys, and stands for the directory."""

    def __init__(self, root: Path, project: str) -> None:
        self._root = root
        self._project = project

    def keys(self) -> list[str]:
        found = []
        for directory, _, names in os.walk(self._root):
            relative = os.path.relpath(directory, self._root)
            found += [f"{self._project}/{name}" if relative == "." else self._joined(relative, name) for name in names]
        return sorted(key for key in found if REGISTRY not in key)

    def _joined(self, relative: str, name: str) -> str:
        return f"{self._project}/{relative}/{name}"

    def path(self, key: str) -> Path:
        return self._root / key.removeprefix(f"{self._project}/")

    def get(self, key: str) -> bytes | None:
        try:
            return self.path(key).read_bytes()
        except OSError:
            return None

    def put(self, key: str, content: bytes) -> None:
        path = self.path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(content)

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.path(key).unlink(missing_ok=True)

    def clear(self) -> None:
        for entry in self._root.iterdir():
            if entry.name != REGISTRY.strip("/"):
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def unfinished(self) -> list[str]:
        return [key for key in self.keys() if "/~partial-" in key]


class BucketObjects:
    """Objects of a bucket below a project, seen with botocore alone; *filer_url* is SeaweedFS' own file system."""

    def __init__(self, table: dict[str, Any], project: str, filer_url: str) -> None:
        self._bucket, self._project = table["bucket"], project
        self._filer_url = f"{filer_url}/buckets/{self._bucket}/{project}/"
        self._client = botocore.session.get_session().create_client(
            "s3",
            region_name=table["region"],
            endpoint_url=table["endpoint_url"],
            aws_access_key_id=table["credentials"]["key"],
            aws_secret_access_key=table["credentials"]["secret"],
            config=botocore.config.Config(s3={"addressing_style": "path"}, retries={"max_attempts": 2}),
        )

    def keys(self) -> list[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=f"{self._project}/")
        keys = (found["Key"] for page in pages for found in page.get("Contents", ()))
        return [key for key in keys if REGISTRY not in key]

    def get(self, key: str) -> bytes | None:
        try:
            with closing(self._client.get_object(Bucket=self._bucket, Key=key)["Body"]) as body:
                return bytes(body.read())
        except self._client.exceptions.NoSuchKey:
            return None

    def put(self, key: str, content: bytes) -> None:
        self._client.put_object(Bucket=self._bucket, Key=key, Body=content)

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._client.delete_object(Bucket=self._bucket, Key=key)

    def clear(self) -> None:
        """Remove the folders as well: SeaweedFS keeps empty ones for a minute, and looks into each when it lists."""
        try:
            with urlopen(Request(self._filer_url, headers={"Accept": "application/json"})) as listing:
                entries = json.load(listing)["Entries"] or ()
        except HTTPError as error:
            if error.code != HTTPStatus.NOT_FOUND:
                raise
            return
        for name in {Path(entry["FullPath"]).name for entry in entries} - {REGISTRY.strip("/")}:
            urlopen(Request(f"{self._filer_url}{quote(name)}?recursive=true", method="DELETE")).close()

    def unfinished(self) -> list[str]:
        return [upload["Key"] for upload in self._uploads()]

    def _uploads(self) -> list[dict[str, Any]]:
        listed = self._client.list_multipart_uploads(Bucket=self._bucket, Prefix=f"{self._project}/")
        return list(listed.get("Uploads", ()))


class Database:
    """A connection of the test's own, autocommitting, that no fault reaches.

    Parameters
    ----------
    address
        A server of ``tests.servers``.
    """

    def __init__(self, address: Any) -> None:
        self.is_postgresql = "postgres" in type(address).__name__.lower()
        self._address = address
        self._connect()

    def _connect(self) -> None:
        connect = _connect_postgresql if self.is_postgresql else _connect_mysql
        self._connection = connect(self._address)

    def run(self, statements: str, args: Any = None) -> list[tuple[Any, ...]]:
        """Run one statement, or several, and return the rows of the last.

        On a new connection if this one is lost: a file descriptor that a fault has hit can be another's by now.
        """
        try:
            return self._run(statements, args)
        except (pymysql.err.InterfaceError, psycopg2.InterfaceError):
            self._connect()
            return self._run(statements, args)

    def _run(self, statements: str, args: Any) -> list[tuple[Any, ...]]:
        with closing(self._connection.cursor()) as cursor:
            cursor.execute(statements, args)
            rows = list(cursor.fetchall()) if cursor.description else []
            while not self.is_postgresql and cursor.nextset():
                rows = list(cursor.fetchall()) if cursor.description else rows
            return rows

    def quoted(self, *names: str) -> str:
        mark = '"' if self.is_postgresql else "`"
        return ".".join(f"{mark}{name}{mark}" for name in names)

    def tables(self, schema: str) -> list[str]:
        found = self.run("SELECT table_name FROM information_schema.tables WHERE table_schema = %s", (schema,))
        return sorted(name for (name,) in found)

    def columns(self, schema: str) -> dict[str, list[str]]:
        """Return the tables of a schema and their columns, quoted, but those that are computed from others."""
        is_given = "is_generated = 'NEVER'" if self.is_postgresql else "COALESCE(generation_expression, '') = ''"
        found: dict[str, list[str]] = {}
        query = f"SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = %s AND {is_given}"
        for table, column in self.run(query, (schema,)):
            found.setdefault(table, []).append(self.quoted(column))
        return found

    def drop(self, schema: str) -> None:
        """Drop a schema with all that is in it, as SQL of anybody's own does."""
        self.run(f"DROP SCHEMA IF EXISTS {self.quoted(schema)}{' CASCADE' if self.is_postgresql else ''}")

    def rename(self, schema: str, name: str) -> None:
        """Rename a schema; in MySQL, which cannot, as people do it there."""
        old, new = self.quoted(schema), self.quoted(name)
        if self.is_postgresql:
            self.run(f"ALTER SCHEMA {old} RENAME TO {new}")
            return
        moved = ", ".join(f"{old}.{table} TO {new}.{table}" for table in map(self.quoted, self.tables(schema)))
        self.run(f"CREATE SCHEMA {new}; RENAME TABLE {moved}; DROP SCHEMA {old}")

    def sessions(self, user: str) -> int:
        """Count the sessions of *user*: one is gone only after its transaction has been rolled back."""
        if self.is_postgresql:
            query = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s"
        else:
            query = "SELECT count(*) FROM information_schema.processlist WHERE user = %s"
        return int(self.run(query, (user,))[0][0])

    def make_user(self, name: str, password: str) -> None:
        """Make a user who may do everything."""
        if self.is_postgresql:
            self.run(f"CREATE ROLE {name} SUPERUSER LOGIN PASSWORD '{password}'")
            return
        for host in ("%", "localhost"):
            self.run(f"CREATE USER {name}@'{host}' IDENTIFIED BY '{password}'; GRANT ALL ON *.* TO {name}@'{host}'")

    def age(self, table: str, columns: list[str], seconds: int) -> None:
        """Move moments back in all rows that nobody has locked."""
        names = [self.quoted(column) for column in columns]
        changes = ", ".join(f"{name} = {name} - INTERVAL '{seconds}' SECOND" for name in names)
        if self.is_postgresql:
            rows = f"ARRAY(SELECT ctid FROM {table} FOR UPDATE SKIP LOCKED)"
            self.run(f"UPDATE {table} SET {changes} WHERE ctid = ANY({rows})")
            return
        keys = [self.quoted(name) for name, _, _, kind, *_ in self.run(f"SHOW COLUMNS FROM {table}") if kind == "PRI"]
        free = self.run(f"BEGIN; SELECT {', '.join(keys)} FROM {table} FOR UPDATE SKIP LOCKED")
        is_row = " AND ".join(f"{name} = %s" for name in keys)  # by its whole key, or the server looks at locked rows
        try:
            for values in free:
                self.run(f"UPDATE {table} SET {changes} WHERE {is_row}", values)
        finally:
            self.run("COMMIT")  # also of a part of them: nothing stays locked

    def close(self) -> None:
        self._connection.close()


def _connect_mysql(address: Any) -> Any:
    return pymysql.connect(
        host=address.host,
        port=address.port,
        user=address.user,
        password=address.password,
        autocommit=True,
        client_flag=CLIENT.MULTI_STATEMENTS,
        charset="utf8mb4",
        read_timeout=15,
    )


def _connect_postgresql(address: Any) -> Any:
    connection = psycopg2.connect(
        host=address.host,
        port=address.port,
        user=address.user,
        password=address.password,
        dbname=address.database,
    )
    connection.autocommit = True
    with closing(connection.cursor()) as cursor:
        cursor.execute("SET statement_timeout = '15s'")
    return connection


def as_json(value: Any) -> Any:
    """Return a JSON column's value as Python has it, from either database."""
    return json.loads(value) if isinstance(value, str | bytes) else value
