"""What a drill is never done with: the real server by any name, one that is in use, the real store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

from datajoint_file.drills import scratch
from datajoint_file.drills.dumps import Product, dump_files
from datajoint_file.drills.given_server import given_server
from datajoint_file.drills.loading import load
from datajoint_file.drills.servers import private_server
from datajoint_file.errors import DrillError, DrillRefusedError
from tests.projects import Store, over_postgresql

from .conftest import Drill, Dump, names

Copied = Callable[[], Path]


@pytest.fixture
def settings(database: Any) -> Iterator[None]:
    """DataJoint's settings, whose user is for a server that is given."""
    backend = "postgresql" if "PostgreSQL" in type(database).__name__ else "mysql"
    with dj.config.override(
        database__user=database.user,
        database__password=database.password,
        database__backend=backend,
        database__use_tls=False,
    ):
        yield


@pytest.fixture
def empty(database: Any, temporary: Path) -> Iterator[str]:
    """The address of an empty server of the same kind, whose account DataJoint's settings have."""
    product: Product = "postgresql" if "PostgreSQL" in type(database).__name__ else database.product
    with scratch.scratch_directory() as directory, private_server(product, directory) as account:
        if account.backend == "postgresql":
            _allow_databases(account, directory)
        with dj.config.override(
            database__user=account.user,
            database__password=account.password,
            database__backend=account.backend,
            database__use_tls=False,
        ):
            yield f"{account.host}:{account.port}"


def _allow_databases(account: Any, directory: Path) -> None:
    password = (directory / "server1" / "password").read_text()
    root = replace(account, user="datajoint_file_drill_superuser", password=password, database="postgres")
    driver = root.driver()
    with driver.cursor() as cursor:
        cursor.execute(f"ALTER ROLE {account.user} CREATEDB")
        cursor.execute(f"DROP DATABASE {account.database}")
    driver.close()


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_the_real_server_is_refused_by_whatever_name(
    lab: Any, dump: Dump, copied: Copied, drill: Drill, database: Any, settings: None, name: str
) -> None:
    with pytest.raises(DrillRefusedError, match="real server"):
        drill(dump(), copied(), server=f"{name}:{database.port}")
    assert len(lab()) == 6


def test_an_empty_server_is_used_and_empty_again_and_one_in_use_is_refused(
    lab: Any, dump: Dump, copied: Copied, drill: Drill, empty: str
) -> None:
    made, copy = dump(), copied()
    for _ in range(2):
        report = drill(made, copy, server=empty)
        assert names(report) == [], str(report)
        assert report.checked == 8
    host, port = empty.split(":")
    password = dj.config.database.password.get_secret_value()
    backend = dj.config.database.backend
    there = dj.Instance(host, dj.config.database.user, password, int(port), use_tls=False, backend=backend)
    there.connection.query("CREATE DATABASE somebodys")
    there.connection.close()
    with pytest.raises(DrillRefusedError, match="has schemas already: somebodys"):
        drill(made, copy, server=empty)


def test_a_server_in_which_another_drill_is_at_work_is_refused(
    lab: Any, dump: Dump, copied: Copied, drill: Drill, empty: str
) -> None:
    made, copy = dump(), copied()
    with given_server(empty, None) as account:
        for _ in range(2):
            with pytest.raises(DrillRefusedError, match="another drill is at work in that server"):
                drill(made, copy, server=empty)
        assert account.connect().query("SELECT 1").fetchone() == (1,)
    assert names(drill(made, copy, server=empty)) == []


def test_what_others_make_in_a_given_server_meanwhile_stays(
    lab: Any, dump: Dump, empty: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (made,) = dump_files(dump())
    with given_server(empty, None) as account:
        assert not load(made, account, tmp_path, lambda _: None).problem
        with closing(account.driver()) as driver, driver.cursor() as cursor:
            cursor.execute("CREATE DATABASE somebodys")
    with pytest.raises(DrillRefusedError, match="has schemas already: somebodys\\."), given_server(empty, None):
        pass
    if account.backend == "mysql":
        assert "somebodys is left" in caplog.text


@over_postgresql
def test_the_real_store_is_no_copy(lab: Any, dump: Dump, drill: Drill, store: Store) -> None:
    made = dump()
    for place in (store.table["path"], {"project": {"name": store.project}, "storage": store.table}):
        with pytest.raises(DrillRefusedError, match="real store"):
            drill(made, place)


@over_postgresql
def test_what_is_not_there_is_said_before_anything_is_started(drill: Drill, table: Any, tmp_path: Path) -> None:
    with pytest.raises(DrillError, match="cannot be read"):
        drill(tmp_path / "none.sql", tmp_path)
    with pytest.raises(DrillError, match="has no dump"):
        drill(tmp_path, tmp_path)
    with pytest.raises(ValueError, match="sample = 0"):
        drill(tmp_path, tmp_path, sample=0)
