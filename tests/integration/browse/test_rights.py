"""What a user of the database may not read is said on the page that would have shown it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import datajoint as dj
import httpx
import pytest

from datajoint_file.browse.address import Address
from datajoint_file.browse.archive import Archive
from datajoint_file.browse.pages import application
from datajoint_file.journal.second_connection import second_connection_of
from tests.integration.browse.conftest import running
from tests.projects import unique

PASSWORD = "CANARY-password"


@pytest.fixture
def reader(database: Any, table: Any) -> Iterator[Archive]:
    """What is seen by a user who may insert into the tables of a schema, and read none."""
    name, second = unique("reader")[:30], second_connection_of(table.connection)
    is_mysql = table.connection.adapter.backend == "mysql"
    schema = table.connection.adapter.quote_identifier(table.database)
    if is_mysql:
        second.execute(f"CREATE USER '{name}'@'%%' IDENTIFIED BY '{PASSWORD}'")
        second.execute(f"GRANT INSERT ON {schema}.* TO '{name}'@'%%'")
    else:
        second.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
        second.execute(f"GRANT USAGE ON SCHEMA {schema} TO {name}")
    where = {"port": database.port, "use_tls": False, "backend": "mysql" if is_mysql else "postgresql"}
    made = Archive(lambda: dj.Instance(database.host, name, PASSWORD, **where).connection)
    yield made
    made.close()
    if is_mysql:
        second.execute(f"DROP USER '{name}'@'%%'")
    else:
        second.execute(f"DROP OWNED BY {name}")
        second.execute(f"DROP ROLE {name}")


def test_a_table_that_may_not_be_read_is_named_and_nothing_of_it_shown(reader: Archive, table: Any) -> None:
    table.insert1({"id": 1, "raw": ("canary.dat", b"1"), "extra": None})
    address = Address(table.database, "Recording", "raw")
    with running(lambda guard: guard.around(application(reader))) as (url, guard):
        with httpx.Client(base_url=url, timeout=60) as client:
            client.get(guard.address())
            assert client.get("/").status_code == 200
            assert client.get(address.url("tables")).status_code == 200
            for page in ("files", "sum", "usage", "file"):
                answer = client.get(address.url(page, (1,)))
                assert answer.status_code in (400, 403, 404), page
                assert "canary" not in answer.text
                assert "Traceback" not in answer.text
                assert PASSWORD not in answer.text
            found = client.get("/search?q=canary")
            assert f"Not looked at: {address}" in found.text
