"""Histories seen past the package, by raw SQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import datajoint as dj
import pytest

from tests.tables import recording_of

Entries = Callable[..., list[Any]]


@pytest.fixture
def entries(schema: dj.Schema) -> Entries:
    """Give the entries of the schema's history, by default the table, attribute and path of each, sorted."""

    def read(columns: str = "table_name, attribute, path", where: str = "TRUE") -> list[Any]:
        connection = schema.connection
        name = connection.adapter.make_full_table_name(schema.database, "~file_history")
        found = connection.query(f"SELECT {columns} FROM {name} WHERE {where} ORDER BY number").fetchall()
        return sorted(found, key=str)

    return read


@pytest.fixture
def table(schema: dj.Schema) -> Any:
    """Six rows, of which the odd ones have a second file."""
    definition = "id : int32\nname : varchar(30)\n---\nraw : file\nextra = null : file\nrank = 0 : int32"
    made = recording_of(schema, definition)
    made.insert(
        {
            "id": n,
            "name": f"50%d 'o' \"q\" {n}",
            "raw": ("a.dat", b"%d" % n),
            "extra": ("b.dat", b"b") if n % 2 else None,
        }
        for n in range(6)
    )
    return made


def held(table: Any, restriction: Any = None) -> list[tuple[str, str, str]]:
    """What the rows of a table hold now, as a history would say it of them."""
    query = table() if restriction is None else table() & restriction
    rows = query.to_dicts()
    return sorted(
        (table.table_name, name, str(row[name].path)) for row in rows for name in ("raw", "extra") if row.get(name)
    )
