"""What servers are set to, and what they take at once: the second connection, and inserts that are too large."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import datajoint as dj
import pytest

from datajoint_file.collector.snapshot import Snapshot
from datajoint_file.errors import StatementTooLargeError
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.journal.journal import Journal
from datajoint_file.journal.second_connection import second_connection_of
from datajoint_file.model.key_values import KeyValue
from datajoint_file.model.object_keys import Cell
from datajoint_file.transfer.sources import as_source
from tests.projects import connect
from tests.servers import Servers
from tests.tables import recording_of

LIMIT = 2**20


@pytest.fixture(scope="module")
def odd_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server of these tests' own: its sessions begin without autocommit, and it takes 1 MiB at once."""
    servers = Servers(tmp_path_factory.mktemp("servers"), os.getpid())
    address = servers.mysql()
    admin = connect(address).connection
    admin.query(f"SET GLOBAL autocommit = 0, GLOBAL max_allowed_packet = {LIMIT}")
    admin.close()
    yield address
    servers.stop_all()


@pytest.fixture
def database(odd_server: Any) -> Any:
    return odd_server


def test_a_server_without_autocommit_has_it_on_connections_of_ours(table: Any) -> None:
    connection = table().connection
    assert second_connection_of(connection).query("SELECT @@autocommit") == [(1,)]
    with Snapshot(connection) as snapshot:
        assert snapshot.query("SELECT @@autocommit") == [(1,)]
    table.insert1({"id": 1, "raw": ("a.dat", b"1")})
    connection.query("COMMIT")
    second = second_connection_of(connection)
    assert second.query(f"SELECT COUNT(*) FROM {table().full_table_name}") == [(1,)]


def test_intents_are_noted_in_statements_that_the_server_takes(table: Any) -> None:
    connection = table().connection
    pipeline, second = pipeline_of(connection), second_connection_of(connection)
    cells = [Cell(table.database, "Recording", "raw", (KeyValue("id", "int", id_),)) for id_ in range(3000)]
    uploads = [pipeline.plan(as_source(("x" * 200, b"")), cell) for cell in cells]
    entries = Journal(connection, table.database).begin(table().table_name, uploads)
    assert all(entry.number for entry in entries.all)
    with pytest.raises(StatementTooLargeError, match="raise max_allowed_packet"):
        second.query("SELECT %s", ("x" * LIMIT,))
    assert second.query("SELECT 1") == [(1,)]


@pytest.mark.parametrize("in_transaction", [False, True])
def test_a_row_that_is_too_large_for_the_server_is_told_as_that(schema: dj.Schema, in_transaction: bool) -> None:
    table = recording_of(schema, "id : int32\n---\nraw : file\nrest : bytes")
    connection = table().connection
    row = {"id": 1, "raw": ("a.dat", b"1"), "rest": os.urandom(LIMIT)}
    connection.query("SET autocommit = 1")
    with (
        pytest.raises(StatementTooLargeError, match=rf"max_allowed_packet = {LIMIT} .* fewer rows") as caught,
        connection.transaction if in_transaction else nullcontext(),
    ):
        table.insert1(row)
    assert "no row was inserted" in str(caught.value)
    assert not connection.in_transaction
    connection.query("SET autocommit = 1")
    table.insert1({**row, "rest": b"1"})
    assert len(table()) == 1
