"""Indexes on files: the server uses them for what `find` asks, and neither DataJoint nor any statement notices them."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file import where
from datajoint_file.errors import IndexingError, QueryError
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.journal.second_connection import SecondConnection, second_connection_of
from datajoint_file.query.wanted import by_hash, by_path
from datajoint_file.sql import Dialect, dialect_of
from tests.projects import connect
from tests.tables import recording_of


@pytest.fixture
def indexed(table: Any) -> Any:
    """A table with an index, and rows enough for one."""
    dialect = dialect_of(table.connection)
    if dialect.index_refusal:
        pytest.skip(f"{dialect.title} has none, which `test_what_has_no_index_is_refused` looks at")
    table.insert({"id": one, "raw": (f"{one}.dat", b"%d" % one), "extra": None} for one in range(5))
    second, name = second_connection_of(table.connection), table.full_table_name
    digits = " UNION ALL ".join(f"SELECT {one} AS n" for one in range(10))
    digits = f"({digits}) AS a, ({digits}) AS b, ({digits}) AS c, (SELECT 1 AS n UNION ALL SELECT 2) AS d"
    copied = f"SELECT a.n + 10 * b.n + 100 * c.n + 1000 * d.n AS id FROM {digits}"
    for (document,) in second.query(f"SELECT {dialect.as_text('raw')} FROM {name} WHERE id = 0"):
        second.execute(
            f"INSERT INTO {name} (id, raw) SELECT id, {made(dialect)} FROM ({copied}) AS numbers",
            (json.dumps({**json.loads(document), "hash": "sha256:HASH", "path": "lab/objects/ID"}),),
        )
    datajoint_file.index(table)
    return table


def made(dialect: Dialect) -> str:
    """Return the SQL of a row's JSON with a hash and a path of its own."""
    if dialect.drops_with_index:
        return "replace(replace(%s, 'HASH', encode(sha256(id::text::bytea), 'hex')), 'ID', id::text)::jsonb"
    return "CAST(REPLACE(REPLACE(%s, 'HASH', SHA2(id, 256)), 'ID', id) AS JSON)"


def described(table: Any) -> tuple[Any, ...]:
    fresh = dj.FreeTable(table.connection, table.full_table_name)
    return fresh.describe(), fresh.heading.as_dtype, fresh.heading.indexes, list(fresh.heading.attributes)


def plan(table: Any, condition: tuple[str, list[Any]]) -> str:
    """Return how the server would look for rows, as it says in words."""
    dialect, second = dialect_of(table.connection), SecondConnection(table.connection)
    how = "EXPLAIN" if dialect.drops_with_index else "EXPLAIN FORMAT=TREE"
    text, values = condition
    found = second.query(f"{how} SELECT id FROM {table.full_table_name} WHERE {text}", values)
    second.close()
    return "\n".join(str(line[0]) for line in found)


def test_server_uses_the_index_for_what_is_asked_by_hash_or_path(indexed: Any) -> None:
    dialect = dialect_of(indexed.connection)
    raw, digest = dialect.quoted("raw"), hashlib.sha256(b"1234").hexdigest()
    paths = by_path("lab/objects/1234", lambda: pipeline_of(indexed))
    wanted = (by_hash(digest), by_hash(digest[:9]), by_hash(digest[:30]), paths)
    conditions = [condition for one in wanted for condition in one.conditions(dialect, raw)]
    conditions.append((where("raw", hash=digest).sql(indexed)[0], []))
    for condition in conditions:
        assert "~file_" in plan(indexed, condition), (condition, plan(indexed, condition))
    assert list((indexed & where("raw", hash=digest)).keys()) == [{"id": 1234}]
    for given in ({"hash": digest}, {"hash": digest[:9]}, {"path": "lab/objects/1234"}):
        report = datajoint_file.find(**given, schemas=indexed.database, connection=indexed)  # type: ignore[arg-type]
        assert [one.key for one in report] == [{"id": 1234}]


def test_nobody_notices_an_index(indexed: Any, schema: Any) -> None:
    other = recording_of(schema, name="Other")
    assert described(indexed)[0] == described(other)[0]
    assert described(indexed)[1:] == described(other)[1:]
    assert not datajoint_file.index(indexed).statements
    key = {"id": 7000}
    indexed.insert1({**key, "raw": ("x" * 200, b"first"), "extra": ("e", b"e")})
    indexed.update1({**key, "raw": ("é", b"second")})
    (indexed & key).delete(prompt=False)
    assert datajoint_file.undelete(indexed, since="1 h")
    datajoint_file.revert(indexed & key, "raw")
    assert (indexed & key).fetch1("raw").read() == b"first"
    second, dialect = second_connection_of(indexed.connection), dialect_of(indexed.connection)
    rows: list[Any] = [
        {"hash": "x" * 5000, "path": "y" * 50_000, "linked": "é" * 50_000},
        {"hash": 5, "linked": [1]},
        [],
    ]
    for row in rows:
        second.execute(f"UPDATE {indexed.full_table_name} SET raw = %s WHERE id = 7000", (json.dumps(row),))
    assert len(dialect.index_names(second.query, indexed.database, indexed.table_name)) == 7


def test_alter_takes_the_index_along(indexed: Any, schema: Any) -> None:
    second, dialect = second_connection_of(indexed.connection), dialect_of(indexed.connection)

    def count() -> int:
        found = dialect.index_names(second.query, indexed.database, indexed.table_name)
        return sum(name.startswith("~file_") for name in found)

    indexed.definition = "id : int32\n---\nraw : file  # with a comment\nextra = null : file"
    indexed().alter(prompt=False)
    assert count() == 6
    indexed.definition = "id : int32\n---\nraw : file  # with a comment"
    indexed().alter(prompt=False)
    assert (count(), list(indexed().heading.attributes)) == (3, ["id", "raw"])
    if not dialect.drops_with_index:
        indexed.definition = "id : int32\n---\nscan : file  # {raw} renamed"
        indexed().alter(prompt=False)
        assert (count(), (indexed & "id = 3").fetch1("scan").read()) == (0, b"3")
        assert len(datajoint_file.index(indexed).statements) == 1
    datajoint_file.index(indexed, drop=True)
    assert count() == 0
    indexed().drop(prompt=False)


def test_dry_run_and_drop_say_what_they_do(indexed: Any) -> None:
    report = datajoint_file.index(indexed, drop=True, dry_run=True)
    assert (report.is_done, bool(report.statements)) == (False, True)
    assert datajoint_file.index(indexed, drop=True).statements == report.statements
    assert not datajoint_file.index(indexed, drop=True).statements
    again = datajoint_file.index(indexed(), dry_run=True)
    assert "waits" in str(again)
    with indexed.connection.transaction:
        with pytest.raises(IndexingError, match="a transaction of your own is open"):
            datajoint_file.index(indexed)


def test_who_has_the_table_open_is_not_waited_for_for_long(indexed: Any, database: Any) -> None:
    if dialect_of(indexed.connection).drops_with_index:
        pytest.skip("nobody waits behind it there, and it waits ten minutes")
    other = connect(database).connection
    with other.transaction:
        other.query(f"SELECT COUNT(*) FROM {indexed.full_table_name}").fetchall()
        with pytest.raises(IndexingError, match=r"others have used the table all the time .*Lock wait timeout"):
            datajoint_file.index(indexed, drop=True)
    other.close()
    assert datajoint_file.index(indexed, drop=True).statements


def test_what_has_no_index_is_refused(table: Any, schema: Any) -> None:
    bare = recording_of(schema, "id : int32", "Bare")
    for given in (bare, schema, "lab.Recording"):
        with pytest.raises(QueryError):
            datajoint_file.index(given)
    if dialect_of(table.connection).index_refusal:
        before = described(table)
        with pytest.raises(IndexingError, match=r"Recording: MariaDB makes no index.*some seconds"):
            datajoint_file.index(table)
        assert described(table) == before
