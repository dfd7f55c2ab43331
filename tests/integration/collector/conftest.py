"""Databases of which a test sees its own part only: the collector reads every schema of a server.

On PostgreSQL a database of its own; on MySQL a server of each worker, and a user who may write to schemas that have a
beginning of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import datajoint as dj
import psycopg2
import pymysql
import pytest

import datajoint_file
from tests.projects import COLLECTED, DATABASES, Store, unique

from .collecting import Area, connect_to, declare, drop_all


@pytest.fixture(params=COLLECTED, ids=DATABASES)
def database(request: pytest.FixtureRequest) -> Iterator[Area]:
    """A part of a real database server, MySQL-like and PostgreSQL in turn."""
    yield from area_of(request.getfixturevalue(request.param), sees_all=True)


@pytest.fixture
def mysql_area(own_mysql: Any) -> Iterator[Area]:
    yield from area_of(own_mysql, sees_all=True)


@pytest.fixture
def postgresql_area(postgresql: Any) -> Iterator[Area]:
    yield from area_of(postgresql)


def area_of(server: Any, *, sees_all: bool = False) -> Iterator[Area]:
    return _postgresql(server) if hasattr(server, "database") else _mysql(server, sees_all=sees_all)


def _postgresql(server: Any) -> Iterator[Area]:
    name = unique("area")
    address = {"host": server.host, "port": server.port, "user": server.user, "password": server.password}
    with closing(psycopg2.connect(**address, dbname=server.database)) as admin:
        admin.autocommit = True
        cursor = admin.cursor()
        cursor.execute(f"CREATE DATABASE {name}")
        yield Area("postgresql", **address, database=name, admin=cursor)
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _mysql(server: Any, *, sees_all: bool) -> Iterator[Area]:
    name = unique("area")
    address = {"host": server.host, "port": server.port}
    with closing(pymysql.connect(**address, user=server.user, password=server.password, autocommit=True)) as admin:
        cursor = admin.cursor()
        cursor.execute(f"CREATE USER {name}@'%' IDENTIFIED BY 'not-checked'")
        cursor.execute(f"GRANT ALL PRIVILEGES ON `{name}%`.* TO {name}@'%'")
        if sees_all:
            cursor.execute(f"GRANT SELECT, PROCESS ON *.* TO {name}@'%'")
        yield Area("mysql", **address, user=name, password="not-checked", database=name, admin=cursor)
        drop_all(cursor, name)
        cursor.execute(f"DROP USER {name}@'%'")


@pytest.fixture
def instance(database: Area) -> Iterator[dj.Instance]:
    made = connect_to(database)
    yield made
    made.connection.close()


@pytest.fixture
def pipeline(instance: dj.Instance, store: Store) -> dj.Instance:
    datajoint_file.configure(store.configuration(), connection=instance)
    return instance


@pytest.fixture
def schema(pipeline: dj.Instance, database: Area) -> dj.Schema:
    """An empty schema, dropped with all others of the test."""
    return pipeline.Schema(database.schema())


@pytest.fixture
def connection(schema: dj.Schema) -> Any:
    return schema.connection


@pytest.fixture
def table(schema: dj.Schema) -> Any:
    return declare(schema)
