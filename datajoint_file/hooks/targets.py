"""Name resolution of schemas and tables on a command line: ``lab_ephys``, ``lab_ephys.Recording.Trace``.

No code of theirs is imported: the database knows enough.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from datajoint import settings as dj_settings
from datajoint.connection import Connection
from datajoint.errors import DataJointError
from datajoint.schemas import _Schema, list_schemas
from datajoint.table import FreeTable

from datajoint_file.errors import driver_message
from datajoint_file.hooks.tables import class_name
from datajoint_file.model.wording import nearest
from datajoint_file.sql import dialect_of
from datajoint_file.sql.columns import is_file_comment


def connect() -> Any:
    """Return a connection as DataJoint's own settings have it: ``datajoint.json`` and the ``DJ_…`` variables.

    Raises
    ------
    DataJointError
        If no user or password is configured, or the server does not let him in.
    """
    database = dj_settings.config.database
    if database.user is None or database.password is None:
        missing = "user" if database.user is None else "password"
        raise DataJointError(f"no database {missing} is configured: export DJ_HOST=… DJ_USER=… DJ_PASS=…")
    try:
        return open_connection()
    except Exception as error:
        address = f"{database.user}@{database.host}:{database.port}"
        raise DataJointError(f"{address}: {driver_message(error)}; `datajoint-file doctor` looks into it") from error


def open_connection() -> Connection:
    """Open a connection like the one of ``dj.conn()``, which belongs to the user's code. Errors are the driver's."""
    database = dj_settings.config.database
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MariaDB: `datajoint-file doctor` speaks of it, cron need not each time
        password = database.password.get_secret_value()
        return Connection(database.host, database.user, password, database.port, database.use_tls)


def targets_named(names: Iterable[str], connection: Any) -> list[Any]:
    """Return the schema or table of each name. A table may be called as its class is, or as the database has it.

    Raises
    ------
    LookupError
        If there is none of a name; it says which there are.
    """
    known = list_schemas(connection)
    return [_target(name, connection, known) for name in names]


def _target(name: str, connection: Any, known: list[str]) -> Any:
    schema_name, _, wanted = name.partition(".")
    if schema_name not in known:
        raise LookupError(f"there is no schema {schema_name!r} on this server{nearest(schema_name, known)}")
    schema = _Schema(schema_name, connection=connection, create_schema=False, create_tables=False)
    return _table(schema, wanted) if wanted else schema


def file_tables(connection: Any, schema: str | None = None) -> dict[str, dict[str, list[str]]]:
    """Return the `file` attributes of all tables that one sees, or of one schema's, by schema and name of the class."""

    def query(sql: str, arguments: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return list(connection.query(sql, arguments).fetchall())

    found: dict[str, dict[str, list[str]]] = {}
    for place, table, name, comment, _ in dialect_of(connection).attributes(query):
        is_meant = schema in (None, place) and name is not None and not table.startswith("~")
        if is_meant and is_file_comment(comment):
            found.setdefault(place, {}).setdefault(class_name(table), []).append(name)
    return {place: dict(sorted(tables.items())) for place, tables in sorted(found.items())}


def names_beginning(start: str, connection: Any) -> list[str]:
    """Return the names of schemas, or of the tables of one, that begin so: those that mean themselves to any shell."""
    known = list_schemas(connection)
    found = [name for name in known if name.startswith(start)]
    schema = found[0] if len(found) == 1 else start.partition(".")[0]
    if schema in known:
        found += [f"{schema}.{called}" for called in _class_names(connection, schema).values()]
    return [name for name in found if name.startswith(start) and _PLAIN.fullmatch(name)]


_PLAIN = re.compile(r"[A-Za-z0-9_][\w.-]*", re.ASCII)


def _class_names(connection: Any, schema: str) -> dict[str, str]:
    names = [row[0] for row in connection.query(connection.adapter.list_tables_sql(schema)).fetchall()]
    return {name: class_name(name) for name in names if not name.startswith("~")}


def _table(schema: Any, wanted: str) -> FreeTable:
    found = _class_names(schema.connection, schema.database)
    for name, called in found.items():
        if wanted in (called, name):
            full_name = schema.connection.adapter.make_full_table_name(schema.database, name)
            return FreeTable(schema.connection, full_name)
    raise LookupError(f"there is no table {wanted!r} in {schema.database}{nearest(wanted, list(found.values()))}")
