"""Projects in real stores and connections to real databases, as tests make and look at them.

The fixtures that hand them out are in ``conftest``.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import datajoint as dj
import fsspec
import pytest

from datajoint_file.config import parse_settings
from datajoint_file.storage.factory import _connector  # the door beside the backend: the same bucket, bare

DATABASES = ("mysql", "postgresql")
COLLECTED = ("own_mysql", "postgresql")
"""The fixtures of the same where a collector is at work, which reads every schema that there is."""
STORES = ["local", "s3", "gcs", "azure"]

over_all_stores = pytest.mark.parametrize("store", STORES, indirect=True)
over_mysql = pytest.mark.parametrize("database", ["mysql"], indirect=True)
over_postgresql = pytest.mark.parametrize("database", ["postgresql"], indirect=True)
over_local_and_s3 = pytest.mark.parametrize("store", ["local", "s3"], indirect=True)


def in_turn(values: Iterable[Any], groups: Sequence[Sequence[Any]]) -> list[Any]:
    """Pair each of *values* with the places of one group, in turn; its other pairs are left to ``make release``."""
    everywhere = [place for group in groups for place in group]
    return [
        pytest.param(
            place,
            value,
            marks=() if place in groups[number % len(groups)] else pytest.mark.release,
        )
        for place in everywhere
        for number, value in enumerate(values)
    ]


def unique(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex[:12]}"


_bare: dict[tuple[int, str], Any] = {}
"""Those of this process: a client takes a quarter of a second to make."""


def bare_filesystem(table: dict[str, Any]) -> Any:
    """Return the fsspec filesystem of a ``[storage]`` table: what tests look at stores with, past the package."""
    known = os.getpid(), json.dumps(table, sort_keys=True)
    if known not in _bare:
        _bare[known] = _bare_filesystem(table)
    return _bare[known]


def _bare_filesystem(table: dict[str, Any]) -> Any:
    protocol = {"s3": "s3", "gcs": "gs", "azure": "abfs"}.get(table["backend"])
    if protocol is None:
        return fsspec.filesystem(table["backend"])
    settings = parse_settings({"project": {"name": "bare"}, "storage": table}, "test")
    return _connector(settings.storage, protocol, None)()


class Store:
    """A project in a real store, seen past the package under test.

    Parameters
    ----------
    table : dict
        Its ``[storage]`` table.
    project : str
        A project name that no other test has.
    """

    def __init__(self, table: dict[str, Any], project: str) -> None:
        self.table = table
        self.project = project
        self.is_local = table["backend"] == "file"
        self.root_name = "/".join(filter(None, (table.get("bucket") or table.get("container"), table.get("prefix"))))

    def configuration(self, partition_pattern: str = "", **tables: Any) -> dict[str, Any]:
        document: dict[str, Any] = {"project": {"name": self.project}, "storage": self.table, **tables}
        if partition_pattern:
            document["object_storage"] = {"partition_pattern": partition_pattern}
        return document

    def object_keys(self) -> list[str]:
        """All objects of the project, temporary ones included; without the marks of the databases that own it."""
        return [key for key in self.all_keys() if not key.startswith(f"{self.project}/~registry/")]

    def all_keys(self) -> list[str]:
        """All that the store has of the project."""
        if self.is_local:
            root = Path(self.table["path"])
            return sorted(f"{self.project}/{p.relative_to(root)}" for p in root.rglob("*") if p.is_file())
        found = bare_filesystem(self.table).find(f"{self.root_name}/{self.project}")
        return sorted(name.removeprefix(f"{self.root_name}/") for name in found)

    def content(self, key: str) -> bytes:
        if self.is_local:
            return (Path(self.table["path"]) / key.partition("/")[2]).read_bytes()
        return bytes(bare_filesystem(self.table).cat_file(f"{self.root_name}/{key}"))

    def damage(self, key: str, content: bytes) -> None:
        """Put other bytes in an object's place, as a fault or an attacker would."""
        if self.is_local:
            path = Path(self.table["path"]) / key.partition("/")[2]
            path.unlink()
            path.write_bytes(content)
        else:
            bare_filesystem(self.table).pipe_file(f"{self.root_name}/{key}", content)

    def remove(self, key: str) -> None:
        if self.is_local:
            (Path(self.table["path"]) / key.partition("/")[2]).unlink()
        else:
            bare_filesystem(self.table).rm_file(f"{self.root_name}/{key}")


def toml(table: dict[str, Any], name: str) -> str:
    """Return a table of a ``datajoint.toml``, with those in it, as text."""
    plain = "\n".join(f"{key} = {json.dumps(value)}" for key, value in table.items() if not isinstance(value, dict))
    nested = [toml(value, f"{name}.{key}") for key, value in table.items() if isinstance(value, dict)]
    return "\n\n".join([f"[{name}]\n{plain}", *nested])


def connect(database: Any) -> dj.Instance:
    """Return a fresh connection with settings of its own."""
    backend = "postgresql" if "postgres" in type(database).__name__.lower() else "mysql"
    instance = dj.Instance(
        database.host, database.user, database.password, port=database.port, use_tls=False, backend=backend
    )
    instance.config.safemode = False
    return instance
