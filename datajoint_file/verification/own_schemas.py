"""Schema discovery: which schemas of a server have files of a pipeline.

A schema that has stored files is registered with its project. One that has only links is known by its rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.journal.schema_registry import TABLE
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.sql import Dialect, dialect_of
from datajoint_file.sql.columns import is_file_comment


def schemas_of_pipeline(connection: Any) -> list[str]:
    """Return the schemas, sorted, whose `file` attributes name files of the connection's pipeline, as far as one sees.

    Raises
    ------
    LookupError
        If there is none: the server, or the project, is perhaps another one than was meant.
    DataJointError
        If what the server lists may not be read.
    """
    own = _Own(pipeline_of(connection), dialect_of(connection), connection)
    found = own.schemas()
    if not found:
        raise LookupError(f"no schema that one sees on this server has files of the project {own.pipeline.project!r}")
    return found


class _Own:
    def __init__(self, pipeline: Pipeline, dialect: Dialect, connection: Any) -> None:
        self.pipeline = pipeline
        self._dialect = dialect
        self._connection = connection

    def schemas(self) -> list[str]:
        attributes: dict[str, list[tuple[str, str]]] = {}
        for schema, table, name, comment, _ in self._dialect.attributes(self._query):
            if name is not None and is_file_comment(comment):
                attributes.setdefault(schema, []).append((table, name))
        registered = {schema for schema, _ in self._dialect.tables_named(self._query, (TABLE,))}
        return sorted(
            schema
            for schema, named in attributes.items()
            if (self._is_registered(schema) if schema in registered else self._has_links(schema, named))
        )

    def _query(self, sql: str, arguments: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return list(self._connection.query(sql, arguments).fetchall())

    def _is_registered(self, schema: str) -> bool:
        sql = f"SELECT 1 FROM {self._dialect.quoted(schema, TABLE)} WHERE project = %s LIMIT 1"
        return bool(self._query(sql, (self.pipeline.project,)))

    def _has_links(self, schema: str, attributes: list[tuple[str, str]]) -> bool:
        return any(
            self._query(self._links_sql(schema, table, name, len(root) + 1), (f"{root}/",))
            for table, name in attributes
            for root in (self.pipeline.project, *self.pipeline.settings.roots)
        )

    def _links_sql(self, schema: str, table: str, name: str, length: int) -> str:
        path = self._dialect.path(self._dialect.quoted(name))
        return f"SELECT 1 FROM {self._dialect.quoted(schema, table)} WHERE LEFT({path}, {length}) = %s LIMIT 1"
