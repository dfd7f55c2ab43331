"""DataJoint's own stores beside a project, and what a migration is looked at with, past the package."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest
from datajoint.codecs import resolve_dtype

from tests.projects import Store, unique


@pytest.fixture
def old_store(pipeline: dj.Instance, tmp_path: Path) -> Path:
    """A DataJoint store called ``main`` on a disk."""
    place = tmp_path / "dj_store"
    place.mkdir()
    pipeline.config.stores = {
        "default": "main",
        "filepath_default": "main",
        "main": {"protocol": "file", "location": str(place)},
    }
    return place


def s3_of_datajoint(table: dict[str, Any]) -> dict[str, Any]:
    """Return a bucket of tests as DataJoint's configuration has it."""
    return {
        "protocol": "s3",
        "endpoint": table["endpoint_url"],
        "bucket": table["bucket"],
        "location": unique("dj"),
        "access_key": table["credentials"]["key"],
        "secret_key": table["credentials"]["secret"],
        "secure": False,
    }


def put_old(table: Any, values: dict[int, Any], name: str = "raw") -> None:
    """Insert rows as DataJoint does, also on MariaDB, where it fails to for what it keeps in a store by hash."""
    attribute, connection = table.heading[name], table.connection
    quote = connection.adapter.quote_identifier
    _, chain, store = resolve_dtype(
        f"<{attribute.codec.name}{'' if attribute.store is None else f'@{attribute.store}'}>"
    )
    for key, value in values.items():
        context = {"schema": table.database, "table": table.table_name, "field": name, "config": connection._config}
        for codec in chain:
            takes = {"key": {"id": key}, "context": context, "store_name": store}
            names = inspect.signature(codec.encode).parameters
            value = codec.encode(value, **{one: given for one, given in takes.items() if one in names})
        stored = json.dumps(value) if isinstance(value, dict) else value
        sql = f"INSERT INTO {table.full_table_name} ({quote('id')}, {quote(name)}) VALUES (%s, %s)"
        connection.query(sql, (key, stored))


class Columns:
    """A table's attributes, by SQL of the test's own."""

    def __init__(self, table: Any, store: Store) -> None:
        self.table, self.store = table, store
        self.quote = table.connection.adapter.quote_identifier

    def values(self, name: str) -> dict[Any, Any]:
        """What an attribute holds, by ``id``."""
        sql = f"SELECT {self.quote('id')}, {self.quote(name)} FROM {self.table.full_table_name}"
        found = self.table.connection.query(sql).fetchall()
        return {key: json.loads(one) if isinstance(one, str) and one[:1] == "{" else one for key, one in found}

    def contents(self, name: str) -> dict[Any, bytes | None]:
        """The bytes of the objects that a ``file`` attribute names, from the disk."""
        values = self.values(name).items()
        return {key: None if value is None else self.store.content(value["path"]) for key, value in values}

    def names(self, name: str) -> dict[Any, str]:
        return {key: value["original_name"] for key, value in self.values(name).items() if value}


@pytest.fixture
def columns(store: Store) -> Any:
    return lambda table: Columns(table() if isinstance(table, type) else table, store)
