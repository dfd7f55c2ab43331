"""Benchmark of history and collector on real databases: ``python -m tests.benchmarks.history [ROWS [ENTRIES]]``.

Prints microseconds a row for a deletion, a drop and updates, with a history and without, and seconds and memory for a
plan of the collector over as many entries as rows. Not part of the suite: it takes minutes.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datajoint as dj

import datajoint_file
from datajoint_file import gc
from datajoint_file.journal.history import Event
from tests.projects import connect, unique
from tests.servers import Servers
from tests.tables import recording_of

DIGITS = " UNION ALL ".join(f"SELECT {n} AS n, '{letter}' AS c" for n, letter in enumerate("abcdefghij"))
UPDATES = 300


def numbered(count: int) -> str:
    """Return the SQL of as many rows, each with a number and 26 letters that no other has."""
    places = len(str(count)) - 1
    number = " + ".join(f"d{place}.n * {10**place}" for place in range(places))
    letters = ", ".join([f"'{'a' * (26 - places)}'", *(f"d{place}.c" for place in range(places))])
    tables = ", ".join(f"({DIGITS}) AS d{place}" for place in range(places))
    return f"(SELECT {number} AS n, CONCAT({letters}) AS id FROM {tables}) AS numbered"


def path_sql(schema: dj.Schema, project: str) -> str:
    return f"CONCAT('{project}/{schema.database}/objects/Recording-raw/aaaaaaaaaaaaaaaa-', id, '/a.dat')"


def fill(table: Any, schema: dj.Schema, project: str, count: int) -> None:
    """Insert rows past the package; there are no objects."""
    rest = ', "size": 1, "hash": "sha256:%s", "original_name": "a.dat", "timestamp": "2025-01-15T10:30:00Z"}' % (
        "0" * 64
    )
    document = f"CONCAT('{{\"path\": \"', {path_sql(schema, project)}, '\"{rest}')"
    if schema.connection.adapter.backend == "postgresql":
        document = f"CAST({document} AS jsonb)"
    schema.connection.query(
        f"INSERT INTO {table.full_table_name} (id, raw) SELECT n, {document} FROM {numbered(count)}"
    )


@contextmanager
def no_history() -> Iterator[None]:
    kept = vars(Event)["kept"]
    Event.kept = {}  # type: ignore[assignment] # as where no table has files
    try:
        yield
    finally:
        Event.kept = kept  # type: ignore[method-assign]


def seconds(act: Callable[[], Any]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def removals(schema: dj.Schema, project: str, rows: int) -> None:
    deeds: dict[str, Callable[[Any], Any]] = {
        "delete": lambda table: table.delete_quick(),
        "drop": lambda table: table().drop_quick(),
        "update1": lambda table: [table.update1({"id": n, "raw": ("a.dat", b"a")}) for n in range(UPDATES)],
    }
    for name, act in deeds.items():
        count = UPDATES if name == "update1" else rows
        spent: dict[bool, float] = {}
        for kept in (False, True):
            table = recording_of(schema, "id : int64\n---\nraw : file")
            fill(table, schema, project, rows)
            if kept:
                spent[kept] = seconds(lambda: act(table))  # noqa: B023 - called at once
            else:
                with no_history():
                    spent[kept] = seconds(lambda: act(table))  # noqa: B023
            with no_history():
                table.delete_quick() if name != "drop" else None
                table().drop_quick() if name != "drop" else None
        without, with_history = (1e6 * spent[kept] / count for kept in (False, True))
        print(f"  {name:<8} {count:>9} rows: {without:8.1f} -> {with_history:8.1f} us a row", flush=True)


def plan(schema: dj.Schema, project: str, entries: int, again: Callable[[], Any]) -> None:
    """Plan over rows, and entries of which all that rows do not name have expired."""
    table = recording_of(schema, "id : int64\n---\nraw : file")
    fill(table, schema, project, entries)
    connection = schema.connection
    history = connection.adapter.make_full_table_name(schema.database, "~file_history")
    past = "INTERVAL 40 DAY" if connection.adapter.backend == "mysql" else "INTERVAL '40 days'"
    moment = f"{'UTC_TIMESTAMP(6)' if connection.adapter.backend == 'mysql' else 'now()'} - {past}"
    path = path_sql(schema, project).replace("aaaaaaaaaaaaaaaa-", "bbbbbbbbbbbbbbbb-")
    connection.query(f"DELETE FROM {history}")
    connection.query(
        f"INSERT INTO {history} (event, at, who, why, table_name, attribute, path, size, cell, row_text, state, due_at)"
        f" SELECT 'e', {moment}, 'w', 'delete', 'recording', 'raw', {path}, 1, '', '{{}}', 'kept', {moment} "
        f"FROM {numbered(entries)}"
    )
    child = os.fork()
    if child == 0:
        other = again()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.perf_counter()
        made = gc.plan(other, progress=False)
        spent = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"  plan: {made.purge.count} to purge, {made.references} references: {spent:.1f} s, ", end="")
        print(f"{after / 1024:.0f} MiB at most, {before / 1024:.0f} before it", flush=True)
        os._exit(0)
    os.waitpid(child, 0)


def main(rows: int = 100_000, entries: int = 1_000_000) -> None:
    with tempfile.TemporaryDirectory(prefix="djf-bench-", ignore_cleanup_errors=True) as directory:
        servers = Servers(Path(directory), os.getpid())
        try:
            for database in (servers.mysql(), servers.postgresql()):
                print(type(database).__name__, flush=True)
                project, store = unique("project"), Path(directory) / unique("store")
                store.mkdir()
                document = {"project": {"name": project}, "storage": {"backend": "file", "path": str(store)}}

                def again(database: Any = database, document: Any = document) -> Any:
                    instance = connect(database)
                    datajoint_file.configure(document, connection=instance)
                    return instance

                instance = again()
                schema = instance.Schema(unique("schema"))
                recording_of(schema, "id : int64\n---\nraw : file", name="Other").insert1({"id": 1, "raw": ("a", b"a")})
                removals(schema, project, rows)
                plan(schema, project, entries, again)
        finally:
            servers.stop_all()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
