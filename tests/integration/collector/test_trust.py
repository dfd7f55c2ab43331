"""What owners of other schemas can do to a run of the collector, which has more rights than they: make it refuse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file import gc
from datajoint_file.doctor.collector_rights import check_notes
from tests.projects import Store

from .collecting import (
    Area,
    connect_to,
    declare,
    execute_sql,
    insert,
    kinds,
    let_grace_pass,
    objects,
    own,
    path_of,
    scan,
)


@pytest.fixture
def on_postgresql(postgresql_area: Area, store: Store) -> Iterator[Any]:
    yield from _table(postgresql_area, store)


@pytest.fixture
def on_mysql(mysql_area: Area, store: Store) -> Iterator[Any]:
    yield from _table(mysql_area, store)


def _table(area: Area, store: Store) -> Iterator[Any]:
    instance = connect_to(area)
    datajoint_file.configure(store.configuration(), connection=instance)
    yield declare(instance.Schema(area.schema()))
    instance.connection.close()


RAISES = "AS $$BEGIN RAISE EXCEPTION 'ran'; END$$"

FIRED = "CREATE FUNCTION {schema}.fired() RETURNS TRIGGER LANGUAGE plpgsql " + RAISES

FOREIGN = {
    "trigger": "CREATE TRIGGER fired BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION {schema}.fired()",
    "index of some rows": "CREATE INDEX ON {table} (number) WHERE number > 1",
    "check": "ALTER TABLE {table} ADD CHECK (number > 0)",
    "view": "ALTER TABLE {table} RENAME TO hidden; CREATE VIEW {table} AS SELECT * FROM {schema}.hidden",
}


@pytest.mark.parametrize("own_table", ["~file_intent", "~file_history"])
@pytest.mark.parametrize("what", FOREIGN)
def test_own_table_that_is_not_as_it_was_made_is_refused(
    on_postgresql: Any, store: Store, own_table: str, what: str
) -> None:
    """What is noted in it may be the only sign that somebody begins to use an object; to read it may run code."""
    connection, schema = on_postgresql().connection, on_postgresql.database
    insert(on_postgresql, 1)
    on_postgresql.delete()
    let_grace_pass(connection, schema)
    for statement in (FIRED, *FOREIGN[what].split("; ")):
        execute_sql(connection, statement.format(table=own(connection, schema, own_table), schema=schema))
    plan = scan(connection, unknown=True)
    assert kinds(plan) == {"foreign-table"}
    assert f"{schema}.{own_table}" in plan.refusals[0].reason
    told = check_notes(connection, store.project)
    assert (told.status, told.detail, told.fix) == ("failed", plan.refusals[0].reason, plan.refusals[0].way_on)
    with pytest.raises(gc.CollectionRefusedError, match="foreign-table"):
        gc.execute(plan)
    assert len(objects(store)) == 1


def test_view_in_the_place_of_a_registry_is_refused(on_mysql: Any, store: Store) -> None:
    connection, schema = on_mysql().connection, on_mysql.database
    insert(on_mysql, 1)
    other = dj.Schema(f"{schema}_other", connection=connection)
    execute_sql(connection, f"CREATE VIEW {own(connection, other.database, '~file_registry')} AS SELECT 1 AS epoch")
    assert kinds(scan(connection)) == {"foreign-table"}


TYPES = {
    "text[]": "ARRAY['{path}']",
    "paths": "ARRAY['{path}']",
    "more_paths": "ARRAY['{path}']",
    "documents": """ARRAY['{{"a": "{path}"}}'::jsonb]""",
    "pair": "ROW('{path}', 1)",
    "pair[]": "ARRAY[ROW('{path}', 1)::{schema}.pair]",
}


def test_reference_in_any_type_is_found_and_nobodys_cast_runs(on_postgresql: Any, store: Store) -> None:
    connection, schema = on_postgresql().connection, on_postgresql.database
    for statement in (
        f"CREATE TYPE {schema}.pair AS (path TEXT, number INT)",
        f"CREATE DOMAIN {schema}.paths AS TEXT[]",
        f"CREATE DOMAIN {schema}.more_paths AS {schema}.paths",
        f"CREATE DOMAIN {schema}.documents AS JSONB[]",
        f"CREATE FUNCTION {schema}.as_text({schema}.pair) RETURNS TEXT LANGUAGE plpgsql {RAISES}",
        f"CREATE CAST ({schema}.pair AS TEXT) WITH FUNCTION {schema}.as_text AS IMPLICIT",
    ):
        execute_sql(connection, statement)
    for number, (type_, value) in enumerate(TYPES.items()):
        insert(on_postgresql, number)
        qualified = type_ if type_ == "text[]" else f"{schema}.{type_}"
        written = value.format(path=path_of(on_postgresql, number), schema=schema)
        execute_sql(connection, f"CREATE TABLE {schema}.t{number} (value {qualified})")
        execute_sql(connection, f"INSERT INTO {schema}.t{number} SELECT {written}::{qualified}")
    insert(on_postgresql, 99)
    on_postgresql.delete()
    let_grace_pass(connection, schema)
    plan = gc.plan(connection)
    assert (plan.refusals, plan.purge.count) == ((), 1)


def test_functions_of_a_schema_that_is_named_like_the_user_are_not_run(on_postgresql: Any, store: Store) -> None:
    connection = on_postgresql().connection
    insert(on_postgresql, 1)
    on_postgresql.delete()
    user = connection.query("SELECT quote_ident(current_user)").fetchone()[0]
    execute_sql(connection, f"CREATE SCHEMA {user}")
    lies = f"CREATE FUNCTION {user}.left(VARCHAR, INT) RETURNS TEXT LANGUAGE SQL AS $$SELECT 'nothing'$$"
    execute_sql(connection, lies)
    assert gc.plan(connection).wait.count == 1


def test_server_that_gives_few_rows_hides_none(on_mysql: Any, mysql_area: Area, store: Store) -> None:
    insert(on_mysql, *range(5))
    on_mysql.delete()
    mysql_area.admin.execute("SET GLOBAL sql_select_limit = 2")
    try:
        instance = connect_to(mysql_area)
        datajoint_file.configure(store.configuration(), connection=instance)
        assert gc.plan(instance.connection).wait.count == 5
        instance.connection.close()
    finally:
        mysql_area.admin.execute("SET GLOBAL sql_select_limit = DEFAULT")
