"""A bucket that cannot be reached keeps nobody from what the database knows."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

import datajoint_file
from datajoint_file.browse.address import Address
from datajoint_file.browse.archive import Archive
from datajoint_file.browse.pages import application
from tests.integration.browse.conftest import running
from tests.projects import Store, connect, over_mysql


@over_mysql
@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_a_bucket_that_is_away_is_said(table: Any, store: Store, database: Any) -> None:
    table.insert1({"id": 1, "raw": ("a.csv", b"a,b\n1,2\n"), "extra": None})
    away = {**store.table, "endpoint_url": "http://127.0.0.1:1"}

    def opened() -> Any:
        instance = connect(database)
        datajoint_file.configure({**store.configuration(), "storage": away}, connection=instance)
        return instance.connection

    archive, address = Archive(opened), Address(table.database, "Recording", "raw")
    with running(lambda guard: guard.around(application(archive))) as (url, guard):
        with httpx.Client(base_url=url, timeout=120) as client:
            client.get(guard.address())
            assert "a.csv" in client.get(address.url("files")).text
            page = client.get(address.url("file", (1,)))
            assert page.status_code == 200
            assert "What is in it cannot be shown" in page.text
            assert table.fetch1("raw").hash in page.text
            refused = client.get(address.url("download", (1,)))
            assert refused.status_code == 502
            for answer in (page, refused):
                assert "Traceback" not in answer.text
                assert store.table["credentials"]["secret"] not in answer.text
    archive.close()
