"""Benchmark of questions about files: ``python -m benchmarks.queries [mysql|postgresql] [ROWS]``, ROWS a power of ten.

Rows are made by SQL alone, without bytes; of MySQL and MariaDB it is the one that the tests use (``DJF_TEST_MYSQL``
names another). Prints seconds, the best of three, one question a line. A question more is one line in `questions`.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import datajoint as dj

import datajoint_file
from datajoint_file import files, find, index, tag, tagged, tree, usage, where
from datajoint_file.errors import IndexingError
from datajoint_file.sql import dialect_of
from tests.projects import connect, unique
from tests.servers import Servers
from tests.tables import drop_schema

ROUNDS, LONG_SECONDS = 3, 5
LISTED = 20_000
"""Rows of which a frame is made."""

_DIGITS = " UNION ALL ".join(f"SELECT {digit} AS n" for digit in range(10))


def questions(table: Any, count: int) -> dict[str, Callable[[], Any]]:
    """Return what is asked of a table with so many rows, each by its title."""
    middle = _hash(count // 2)
    conditions: dict[str, dict[str, Any]] = {
        "suffix='.dat'": {"suffix": ".dat"},
        "name='rec*7.tif'": {"name": "rec*7.tif"},
        "stem='rec7'": {"stem": "rec7"},
        "size='>1e6'": {"size": ">1e6"},
        "size=('>1 MB', '<2 MB'), suffix='.dat'": {"size": (">1 MB", "<2 MB"), "suffix": ".dat"},
        "hash=…": {"hash": middle},
        "media_type='image/*'": {"media_type": "image/*"},
        "stored='2025-03'": {"stored": "2025-03"},
        "title=None": {"title": None},
        "linked=True": {"linked": True},
    }
    asked: dict[str, Callable[[], Any]] = {
        f"where({title})": partial(_count, table, given) for title, given in conditions.items()
    }
    return asked | {
        "where(None)": lambda: len(table & where("raw", None)),
        "len(files)": lambda: len(files(table)),
        "files.size": lambda: files(table).size,
        "files[:10]": lambda: list(files(table)[:10]),
        "files[middle:middle + 10]": lambda: list(files(table)[count // 2 : count // 2 + 10]),
        f"files[:{LISTED}].to_pandas()": lambda: files(table)[:LISTED].to_pandas(),
        "usage()": lambda: usage(table).rows,
        "usage(by='subject_id')": lambda: usage(table, by="subject_id").rows,
        "usage(by='month')": lambda: usage(table, by="month").rows,
        "usage(by=('subject_id', 'month'))": lambda: usage(table, by=("subject_id", "month")).rows,
        "tree()": lambda: tree(table).branches,
        "tree(by='path')": lambda: tree(table, by="path").branches,
        f"tag({count // 100:,} rows)": lambda: tag(table & {"subject_id": 7}, "good"),
        "tagged": lambda: len(table & tagged("good", of=table)),
    }


def searches(table: Any, count: int) -> dict[str, Callable[[], Any]]:
    """Return what is looked up, without an index and with one."""
    middle = count // 2
    path = f"lab/ephys/objects/Recording-raw/k7/{middle}/a"
    schemas = [table.database]
    return {
        "find(hash=…)": lambda: find(hash=_hash(middle), schemas=schemas, connection=table.connection),
        "find(path=…)": lambda: find(path=path, schemas=schemas, connection=table.connection),
        "where(hash=…)": partial(_count, table, {"hash": _hash(middle)}),
    }


def _count(table: Any, given: dict[str, Any]) -> int:
    return len(table & where("raw", **given))


def _hash(number: int) -> str:
    return f"sha256:{hashlib.sha256(str(number).encode()).hexdigest()}"


def fill(table: Any, count: int) -> None:
    """Insert *count* rows past the package; there are no objects."""
    places = range(len(str(count)) - 1)
    number = " + ".join(f"d{place}.n * {10**place}" for place in places)
    numbers = f"(SELECT {number} AS n FROM {', '.join(f'({_DIGITS}) AS d{place}' for place in places)}) AS numbered"
    is_postgresql = table.connection.adapter.backend == "postgresql"
    text = "CAST({} AS TEXT)" if is_postgresql else "CONVERT({} USING utf8mb4)"
    parts = [
        '{"path": "lab/ephys/objects/Recording-raw/k7/',
        text.format("n"),
        '/a", "size": ',
        text.format("n * 10"),
        ', "hash": "sha256:',
        "ENCODE(SHA256(CAST(CAST(n AS TEXT) AS BYTEA)), 'hex')" if is_postgresql else "SHA2(n, 256)",
        '", "original_name": "rec',
        text.format("n"),
        ".",
        "CASE MOD(n, 3) WHEN 0 THEN 'dat' WHEN 1 THEN 'tif' ELSE 'csv' END",
        '", "timestamp": "2025-0',
        text.format("1 + MOD(n, 9)"),
        '-15T10:30:00Z", "mime_type": "',
        "CASE MOD(n, 3) WHEN 0 THEN 'application/octet-stream' WHEN 1 THEN 'image/tiff' ELSE 'text/csv' END",
        '"',
        "CASE MOD(n, 100) WHEN 1 THEN ', \"title\": \"A title\"}' ELSE '}' END",
    ]
    document = f"CONCAT({', '.join(part if position % 2 else repr(part) for position, part in enumerate(parts))})"
    value = f"CAST({document} AS JSONB)" if is_postgresql else document
    subject = f"n / {max(count // 100, 1)}" if is_postgresql else f"n DIV {max(count // 100, 1)}"
    table.connection.query(
        f"INSERT INTO {table().full_table_name} (subject_id, id, raw) SELECT {subject}, n, {value} FROM {numbers}"
    )


def analyze(table: Any) -> None:
    """Have the server count what it has, as it soon does by itself."""
    statement = "ANALYZE" if table.connection.adapter.backend == "postgresql" else "ANALYZE TABLE"
    table.connection.query(f"{statement} {table().full_table_name}")


def measure(question: Callable[[], Any], rounds: int = ROUNDS) -> tuple[float, Any]:
    """Return the best time of a question, and the answer; what takes long is asked once."""
    times: list[float] = []
    while len(times) < rounds and sum(times) < LONG_SECONDS:
        began = time.perf_counter()
        answer = question()
        times.append(time.perf_counter() - began)
    return min(times), answer


def main(database: str = "mysql", rows: str = "1000000") -> None:
    """Fill a table and ask."""
    count = int(rows)
    with tempfile.TemporaryDirectory(prefix="queries-", ignore_cleanup_errors=True) as directory:
        servers = Servers(Path(directory) / "servers", os.getpid())
        try:
            _run(getattr(servers, database)(), Path(directory), count)
        finally:
            servers.stop_all()


def _run(server: Any, directory: Path, count: int) -> None:
    instance = connect(server)
    storage = {"backend": "file", "path": str(directory / "store")}
    (directory / "store").mkdir()
    datajoint_file.configure({"project": {"name": "bench"}, "storage": storage}, connection=instance)
    schema = instance.Schema(unique("schema"))
    try:
        table = schema(
            type("Recording", (dj.Manual,), {"definition": "subject_id : int32\nid : int32\n---\nraw = null : file"})
        )
        began = time.perf_counter()
        fill(table, count)
        analyze(table)
        len(table & where("raw"))  # PostgreSQL notes at the first read which rows are there for good
        title = dialect_of(instance.connection).title
        print(f"{title}: {count:,} rows, made in {time.perf_counter() - began:.0f} s", flush=True)
        _ask(questions(table, count) | searches(table, count))
        try:
            seconds, _ = measure(lambda: index(table), rounds=1)
        except IndexingError as error:
            print(error)
            return
        print(f"{seconds:8.3f} s  index", flush=True)
        _ask({f"{name}, index": question for name, question in searches(table, count).items()})
    finally:
        with suppress(Exception):  # of a server that has stopped: what failed before is shown
            drop_schema(instance.connection, schema.database)
        instance.connection.close()


def _ask(asked: dict[str, Callable[[], Any]]) -> None:
    for name, question in asked.items():
        seconds, answer = measure(question)
        told = f"{answer:,}" if isinstance(answer, int) else f"{len(answer):,}"
        print(f"{seconds:8.3f} s  {name}: {told}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
