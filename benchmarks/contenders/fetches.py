"""Fetch many rows: of our ``file``, of DataJoint's ``<object@>``, and of a plain ``json`` attribute.

The rows are written as JSON by SQL. There are no files: fetching needs none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.contenders.database import PROJECT, STORE, connect, table
from benchmarks.values import Task

ROWS_AT_ONCE = 5_000
TIME = "2025-01-15T10:30:00"


def prepare(task: Task) -> list[str]:
    """Write the rows of all three tables. No object is stored."""
    instance = connect(task)
    for attribute, describe in (("file", _file), ("json", _file), ("object", _object)):
        name = table(instance, task, attribute).full_table_name
        for first in range(0, task.number, ROWS_AT_ONCE):
            rows = range(first, min(first + ROWS_AT_ONCE, task.number))
            values = [value for row in rows for value in (row, json.dumps(describe(task.schema, row)))]
            holes = ",".join(["(%s,%s)"] * len(rows))
            statement = f"INSERT INTO {name} (id, data) VALUES {holes}"  # noqa: S608 - quoted by DataJoint
            instance.connection.query(statement, values)
    instance.connection.close()
    return []


def _file(schema: str, row: int) -> dict[str, Any]:
    return {
        "path": f"{PROJECT}/{schema}/objects/FileSample-data/{row:026x}/{row:08d}.bin",
        "size": 4096,
        "hash": f"sha256:{row:064x}",
        "original_name": f"{row:08d}.bin",
        "timestamp": f"{TIME}Z",
        "mime_type": "application/octet-stream",
    }


def _object(schema: str, row: int) -> dict[str, Any]:
    return {
        "path": f"_schema/{schema}/ObjectSample/id={row}/data_{row:08x}.bin",
        "store": STORE,
        "size": 4096,
        "ext": ".bin",
        "is_dir": False,
        "item_count": None,
        "timestamp": f"{TIME}+00:00",
    }


@contextmanager
def rows(task: Task) -> Iterator[Callable[[], None]]:
    """Fetch all rows as dictionaries."""
    instance = connect(task)
    samples = table(instance, task, task.options["attribute"])
    (samples & {"id": 0}).to_dicts()
    fetched: list[Any] = []
    yield lambda: fetched.extend(samples.to_dicts())
    if len(fetched) != task.number:
        raise RuntimeError(f"{len(fetched)} rows, expected {task.number}")
    instance.connection.close()
