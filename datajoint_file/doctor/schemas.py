"""Schema diagnostics: whether the rows of this database belong to the store of this configuration.

Its objects are looked for, a few of each schema, and its marks; all of them are `datajoint_file.verification`'s, and
who may delete any is decided in `datajoint_file.collector`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from datajoint_file.config import Settings
from datajoint_file.config.settings import QUOTA_OF_ALL
from datajoint_file.doctor.check import Check
from datajoint_file.errors import DataJointFileError, StorageAccessError, StorageError, StorageMissingError
from datajoint_file.hooks.codec import file_attributes
from datajoint_file.hooks.partitions import primary_keys, unknown_placeholders
from datajoint_file.hooks.tables import tables_of
from datajoint_file.hooks.targets import file_tables
from datajoint_file.journal.schema_registry import TABLE, emptied
from datajoint_file.journal.store_marks import MarkStore
from datajoint_file.model.wording import RIGHT_PLACE, counted
from datajoint_file.sql import Query, dialect_of
from datajoint_file.storage import open_backend

_SAMPLE = 3
"""Objects of each schema that are looked for."""

_FIX = f"{RIGHT_PLACE} After a move correct it, or copy the objects there"
_FIX_OF_MARKS = "mount the disk, or correct datajoint.toml; after a move copy the objects there, and ~registry too"


def check_schemas(settings: Settings, connection: Any) -> Check:
    """Look whether the schemas that have stored files suit the configuration: their objects, marks and keys."""
    found = dialect_of(connection).tables_named(asking(connection), (TABLE,))
    schemas = sorted(schema for schema, _ in found)
    if not schemas:
        return Check("schemas", "ok", "none has stored a file yet")
    known = set().union(*(primary_keys(connection, schema) for schema in schemas))
    if fault := unknown_placeholders(settings.object_storage.partition_pattern, known):
        return Check("schemas", "warning", fault, "correct partition_pattern; objects are stored without that part now")
    if idle := [name for name in settings.quota if name not in (QUOTA_OF_ALL, *known) and "." not in name]:
        fault = f"[quota] {', '.join(idle)}: no table has this in its primary key, so it limits nothing"
        return Check("schemas", "warning", fault, "correct datajoint.toml")
    if idle := _quotas_of_nothing(settings, connection):
        fault = f"[quota] {', '.join(idle)}: no table with files is called so, as far as one sees, so it limits nothing"
        return Check("schemas", "warning", fault, "correct datajoint.toml, unless the table is still to be declared")
    with suppress(DataJointFileError):  # a store that does not answer, which other checks tell, holds what it holds
        return _Comparison(settings, connection).of(schemas)
    return _fine(schemas)


def _quotas_of_nothing(settings: Settings, connection: Any) -> list[str]:
    """Return the quotas of tables and schemas that are not there."""
    named = [name for name in settings.quota if "." in name]
    found = file_tables(connection) if named else {}
    there = {f"{schema}.{table}" for schema, tables in found.items() for table in ("*", *tables)}
    return [name for name in named if name not in there]


def _fine(schemas: list[str]) -> Check:
    return Check("schemas", "ok", f"{counted(len(schemas), 'schema')} that stored files")


def asking(connection: Any) -> Query:
    """Return what asks a database, on a connection of DataJoint's."""
    return lambda sql, args=(): list(connection.query(sql, args).fetchall())


class _Comparison:
    """What rows of a database name, compared with what is in the project's store."""

    def __init__(self, settings: Settings, connection: Any) -> None:
        self._settings = settings
        self._project = settings.project.name
        self._connection = connection
        self._dialect = dialect_of(connection)
        self._query = asking(connection)
        self._place = settings.storage.location
        self._backend = open_backend(settings.storage, self._project, settings.directory, read_only=True)

    def of(self, schemas: list[str]) -> Check:
        if emptied := self._emptied(schemas):
            return emptied
        paths = {schema: sample for schema in schemas if (sample := list(islice(self._paths(schema), _SAMPLE)))}
        return (self._missing(paths) or self._unmarked(list(paths)) if paths else None) or _fine(schemas)

    def _emptied(self, schemas: list[str]) -> Check | None:
        """Say what an insert says where the database knows marks and the store has none."""
        marks = MarkStore(self._backend, self._project)
        missing: StorageError | None = None
        try:
            is_empty = not marks.names()
        except StorageAccessError:
            return None
        except StorageMissingError as error:
            is_empty, missing = True, error
        if not is_empty:
            return None
        known = [schema for schema in schemas if any(is_marked for *_, is_marked in self._epochs(schema))]
        return Check("schemas", "failed", str(missing or emptied(marks, known[0])), _FIX_OF_MARKS) if known else None

    def _missing(self, paths: dict[str, list[str]]) -> Check | None:
        missing = {schema: [p for p in sample if not self._backend.exists(p)] for schema, sample in paths.items()}
        if gone := [schema for schema, sample in paths.items() if missing[schema] == sample]:
            looked = counted(sum(len(paths[schema]) for schema in gone), "object")
            detail = f"{', '.join(gone)}: of {looked} looked for not one is below {self._place}"
            return Check("schemas", "failed", f"{detail}; there is no {paths[gone[0]][0]}", _FIX)
        if some := [path for lacking in missing.values() for path in lacking]:
            fix = f"datajoint-file verify --level exists {' '.join(schema for schema in paths if missing[schema])}"
            return Check("schemas", "warning", f"there is no {some[0]}, which a row names", fix)
        return None

    def _unmarked(self, schemas: list[str]) -> Check | None:
        """Compare what the schemas know of their marks with the marks that there are, if this user may list them."""
        with suppress(StorageError):
            names = MarkStore(self._backend, self._project).names()
            marks = {(name.epoch, name.token) for name in names if not name.is_dropped}
            epochs = {schema: [(number, token) for number, token, _ in self._epochs(schema)] for schema in schemas}
            if unmarked := [schema for schema in schemas if epochs[schema] and marks.isdisjoint(epochs[schema])]:
                detail = f"{', '.join(unmarked)}: no mark of this database is in ~registry below {self._place}"
                return Check("schemas", "failed", detail, _FIX_OF_MARKS)
        return None

    def _epochs(self, schema: str) -> list[tuple[int, str, bool]]:
        table = self._dialect.quoted(schema, TABLE)
        sql = f"SELECT epoch, token, is_marked FROM {table} WHERE project = %s"
        with suppress(Exception):  # dropped meanwhile, or not for this user
            found = self._query(sql, (self._project,))
            return [(int(epoch), token, bool(is_marked)) for epoch, token, is_marked in found]
        return []

    def _paths(self, schema: str) -> Iterator[str]:
        """Give some object keys of the project that rows of *schema* name; none where they may not be read."""
        with suppress(Exception):  # dropped meanwhile, or not for this user
            for table in tables_of(self._connection, schema):
                for attribute in file_attributes(table.heading):
                    path = self._dialect.path(self._dialect.quoted(attribute))
                    condition = f"LEFT({path}, {len(self._project) + 1}) = %s LIMIT {_SAMPLE}"
                    sql = f"SELECT {path} FROM {table.full_table_name} WHERE {condition}"
                    for (found,) in self._query(sql, (f"{self._project}/",)):
                        yield str(found)
