"""``datajoint-file doctor`` on databases: real servers, users made for the test, and what it must not leave there."""

from __future__ import annotations

import secrets
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import datajoint as dj
import psycopg2
import pymysql
import pytest

import datajoint_file
from datajoint_file.config import parse_settings
from datajoint_file.doctor.database import check_version
from datajoint_file.doctor.schemas import check_schemas
from datajoint_file.errors import PartitionWarning
from datajoint_file.sql import Dialect, MariaDB, MySQL, PostgreSQL
from datajoint_file.sql.mysql import rights_in
from tests.cli.conftest import Process, mysql_variables, postgresql_variables
from tests.integration.collector.collecting import connect_to, declare, insert
from tests.integration.collector.conftest import area_of
from tests.projects import DATABASES, Store, connect, unique

from .conftest import Report, report

PASSWORD = "CANARY-password"

MySQLUser = Callable[..., dict[str, str]]


@pytest.fixture
def mysql_cursor(mysql: Any) -> Iterator[Any]:
    address = {"host": mysql.host, "port": mysql.port, "user": mysql.user, "password": mysql.password}
    with closing(pymysql.connect(**address, autocommit=True)) as connection, connection.cursor() as cursor:
        yield cursor


@pytest.fixture
def mysql_user(mysql: Any, mysql_cursor: Any) -> Iterator[MySQLUser]:
    """Make a user with some grants, and give the variables that DataJoint connects him by."""
    name = f"doctor_{secrets.token_hex(6)}"
    mysql_cursor.execute(f"CREATE USER {name}@'%' IDENTIFIED BY '{PASSWORD}'")

    def grant(*grants: str) -> dict[str, str]:
        for granted in grants:
            mysql_cursor.execute(f"GRANT {granted} TO {name}@'%'")
        return mysql_variables(mysql, DJ_USER=name, DJ_PASS=PASSWORD)

    yield grant
    mysql_cursor.execute(f"DROP USER {name}@'%'")


def database_report(process: Process, variables: dict[str, str]) -> Report:
    result = process("doctor", "--skip", "store", "--json", **variables)
    assert result.stderr == ""
    assert PASSWORD not in result.stdout
    return report(result.stdout)


def test_mysql_passes_and_nothing_is_created(process: Process, mysql: Any, mysql_cursor: Any) -> None:
    def schemas() -> set[str]:
        mysql_cursor.execute("SHOW DATABASES LIKE '%doctor%'")
        return {row[0] for row in mysql_cursor.fetchall()}

    before = schemas()
    found = database_report(process, mysql_variables(mysql)).statuses("database")
    assert found.pop("server") == ("warning" if mysql.product == "mariadb" else "ok")
    assert found == {"settings": "ok", "connection": "ok", "JSON": "ok", "rights": "ok", "readable": "ok"}
    assert schemas() == before


def test_postgresql_passes(process: Process, postgresql: Any) -> None:
    found = database_report(process, postgresql_variables(postgresql))
    assert set(found.statuses("database").values()) == {"ok"}
    assert "PostgreSQL" in found.checks["database", "server"]["detail"]


def test_thread_safe_mode_is_respected(process: Process, mysql: Any) -> None:
    found = database_report(process, mysql_variables(mysql, DJ_THREAD_SAFE="true"))
    assert found.statuses("database")["connection"] == "ok"


def test_user_of_some_schemas_is_told_which(process: Process, mysql_user: MySQLUser) -> None:
    check = database_report(process, mysql_user(r"ALL PRIVILEGES ON `lab\_%`.*")).checks["database", "rights"]
    assert check["status"] == "ok"
    assert "lab_*" in check["detail"]


def test_user_who_may_only_read_is_warned(process: Process, mysql_user: MySQLUser) -> None:
    check = database_report(process, mysql_user(r"SELECT ON `lab\_%`.*")).checks["database", "rights"]
    assert check["status"] == "warning"
    assert "CREATE" in check["detail"]
    assert "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER" in check["fix"]


def test_user_without_rights_fails(process: Process, mysql_user: MySQLUser) -> None:
    check = database_report(process, mysql_user()).checks["database", "rights"]
    assert check["status"] == "failed"
    assert "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER" in check["fix"]


def test_wrong_password_is_told_and_not_shown(process: Process, mysql_user: MySQLUser) -> None:
    mysql_user()
    check = database_report(process, {**mysql_user(), "DJ_PASS": f"{PASSWORD}!"}).checks["database", "connection"]
    assert check["status"] == "failed"
    assert "DJ_PASS" in check["fix"]


@pytest.fixture
def postgresql_user(postgresql: Any) -> Iterator[dict[str, str]]:
    """A user who owns a schema and may not create any."""
    name = f"doctor_{secrets.token_hex(6)}"
    address = {"host": postgresql.host, "port": postgresql.port, "user": postgresql.user}
    with closing(psycopg2.connect(**address, password=postgresql.password, dbname=postgresql.database)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(f"CREATE USER {name} PASSWORD '{PASSWORD}'")
        cursor.execute(f"CREATE SCHEMA {name} AUTHORIZATION {name}")
        yield postgresql_variables(postgresql, DJ_USER=name, DJ_PASS=PASSWORD)
        cursor.execute(f"DROP SCHEMA {name}")
        cursor.execute(f"DROP USER {name}")


def test_user_who_may_not_create_schemas_is_warned(process: Process, postgresql_user: dict[str, str]) -> None:
    check = database_report(process, postgresql_user).checks["database", "rights"]
    assert check["status"] == "warning"
    assert postgresql_user["DJ_USER"] in check["detail"]
    assert "GRANT CREATE ON DATABASE" in check["fix"]


def test_missing_database_is_told(process: Process, postgresql: Any) -> None:
    found = database_report(process, postgresql_variables(postgresql, DJ_DATABASE_NAME="no_such_database"))
    assert "DJ_DATABASE_NAME" in found.checks["database", "connection"]["fix"]


def test_server_that_is_not_there_is_told(process: Process) -> None:
    variables = {"DJ_HOST": "127.0.0.1", "DJ_PORT": "9", "DJ_USER": "lab", "DJ_PASS": PASSWORD}
    check = database_report(process, variables).checks["database", "connection"]
    assert check["status"] == "failed"
    assert "DJ_PORT" in check["fix"]


def test_missing_credentials_are_a_failed_check_and_not_asked_for(process: Process) -> None:
    found = database_report(process, {})
    assert found.checks["database", "credentials"]["status"] == "failed"
    assert "DJ_USER" in found.checks["database", "credentials"]["fix"]


def test_broken_settings_of_datajoint_are_told(process: Process, directory: Any) -> None:
    (directory / "datajoint.json").write_text("{broken")
    found = report(process("doctor", "--skip", "store", "--json").stdout)
    assert found.checks["database", "settings"]["status"] == "failed"
    assert str(directory / "datajoint.json") in found.checks["database", "settings"]["detail"]


@pytest.mark.parametrize(
    ("dialect", "version", "status"),
    [
        (MySQL(), "9.7.4-2", "ok"),
        (MySQL(), "8.0.13", "ok"),
        (MySQL(), "8.0.12", "failed"),
        (MySQL(), "5.7.44-log", "failed"),
        (MySQL(), "8.0.mysql_aurora.3.04.0", "ok"),
        (MariaDB(), "10.11.6-MariaDB-0+deb12u1", "warning"),
        (MariaDB(), "10.5.23-MariaDB", "failed"),
        (PostgreSQL(), "18.6", "ok"),
        (PostgreSQL(), "15.4 (Debian 15.4-1)", "ok"),
        (PostgreSQL(), "14.11", "warning"),
        (PostgreSQL(), "11.22", "failed"),
        (PostgreSQL(), "unheard of", "failed"),
    ],
)
def test_version_of_a_server_is_judged(dialect: Dialect, version: str, status: str) -> None:
    check = check_version(dialect, version)
    assert check.status == status
    assert bool(check.fix) == (status != "ok")


def test_rights_on_tables_and_routines_are_none_on_schemas() -> None:
    grants = [
        "GRANT USAGE ON *.* TO `anna`@`%`",
        "GRANT PROXY ON ``@`` TO `root`@`localhost`",
        "GRANT `analyst`@`%` TO `anna`@`%`",
        "GRANT SELECT (`a`) ON `lab`.`Session` TO `anna`@`%`",
        "GRANT EXECUTE ON PROCEDURE `lab`.`clean` TO `anna`@`%`",
        "GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` IDENTIFIED VIA unix_socket USING '*HASH' WITH GRANT OPTION",
    ]
    assert rights_in(grants[1:5]) == {}
    assert "CREATE" in rights_in(grants)["*"]


class Site:
    """A project with one table in a schema of its own, as ``datajoint-file doctor`` sees it."""

    def __init__(self, directory: Path, pattern: str) -> None:
        (directory / "store").mkdir()
        self.file = directory / "datajoint.toml"
        self.project = unique("project")
        self.file.write_text(
            f'[project]\nname = "{self.project}"\n[storage]\nbackend = "file"\npath = "store"\n'
            f'[object_storage]\npartition_pattern = "{pattern}"\n'
        )

    def declare(self, server: Any) -> Any:
        instance = connect(server)
        datajoint_file.configure(self.file, connection=instance)
        schema = instance.Schema(unique("compared"))
        definition = "doctored_id : int32\n---\nraw : file"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PartitionWarning)
            table = schema(type("Recording", (dj.Manual,), {"definition": definition}))
        table.insert1({"doctored_id": 1, "raw": ("a.dat", b"a")})
        return schema


@pytest.mark.parametrize("server", DATABASES)
def test_schema_counts_when_it_has_stored_a_file(request: pytest.FixtureRequest, store: Store, server: str) -> None:
    settings = parse_settings(store.configuration(), "the test")
    for area in area_of(request.getfixturevalue(server)):
        with closing(connect_to(area).connection) as connection:
            datajoint_file.configure(store.configuration(), connection=connection)
            table = declare(dj.Schema(area.schema(), connection=connection))
            assert check_schemas(settings, connection).detail == "none has stored a file yet"
            insert(table, 1)
            assert check_schemas(settings, connection).detail == "1 schema that stored files"
            idle = parse_settings(store.configuration(quota={"total": "1 GB", "nobody": "1 GB"}), "the test")
            assert check_schemas(idle, connection).detail.startswith("[quota] nobody: no table has this")
            there, wrong = [f"{table.database}.{name}" for name in ("*", "Recording")], f"{table.database}.Recodring"
            quota = parse_settings(store.configuration(quota=dict.fromkeys(there, "1 GB")), "the test")
            assert check_schemas(quota, connection).status == "ok"
            quota = parse_settings(store.configuration(quota=dict.fromkeys([*there, wrong], "1 GB")), "the test")
            assert check_schemas(quota, connection).detail.startswith(f"[quota] {wrong}: no table with files")


@pytest.mark.parametrize("server", ["mysql", "postgresql"])
@pytest.mark.parametrize(
    ("pattern", "move", "status", "said"),
    [
        ("x{doctored_id}", False, "ok", "that stored files"),
        ("x{doctord_id}", False, "warning", "did you mean doctored_id?"),
        ("x{doctored_id}", True, "failed", "has no mark of any schema"),
    ],
)
def test_schemas_are_compared_with_the_configuration(
    request: pytest.FixtureRequest,
    process: Process,
    tmp_path: Path,
    server: str,
    pattern: str,
    move: bool,
    status: str,
    said: str,
) -> None:
    address = request.getfixturevalue(server)
    site = Site(tmp_path, pattern)
    schema = site.declare(address)
    try:
        if move:
            shutil.rmtree(tmp_path / "store")
            (tmp_path / "store").mkdir()
        variables = (mysql_variables if server == "mysql" else postgresql_variables)(address)
        check = database_report(process, {**variables, "DATAJOINT_TOML": str(site.file)}).checks["database", "schemas"]
        assert check["status"] == status
        assert said in check["detail"]
        if move:
            assert schema.database in check["detail"]
            assert "prefix" in check["detail"]
    finally:
        schema.drop(prompt=False)
        schema.connection.close()
