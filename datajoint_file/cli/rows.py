"""Row selection on a command line: ``lab_ephys.Recording.raw_data subject_id=1``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import datajoint as dj
from datajoint.errors import LostConnectionError

from datajoint_file.cli.exit_codes import Verdict
from datajoint_file.errors import MetadataError, QueryError, UnsupportedValueError, brief, server_message
from datajoint_file.hooks.codec import file_attributes
from datajoint_file.hooks.tables import table_name
from datajoint_file.hooks.targets import targets_named
from datajoint_file.pipeline.directoryref import DirectoryRef
from datajoint_file.pipeline.fileref import FileRef
from datajoint_file.query.tags import tagged


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows of a table are meant: those with these values and tags, for which these conditions of SQL hold.

    The conditions go to the database as they are: they are the user's own, and so are the rights.
    """

    key: Mapping[str, str]
    where: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.key or self.where or self.tags)

    def of(self, table: Any) -> Any:
        """Return the rows of *table* that are meant.

        Raises
        ------
        UnsupportedValueError
            If the table has no such attribute.
        QueryError
            If the database does not take a condition, or a name cannot be a tag.
        """
        if unknown := sorted(self.key.keys() - set(table.heading.names)):
            there = ", ".join(table.heading.names)
            raise UnsupportedValueError(f"{table_name(table)} has no {', '.join(unknown)}; it has {there}")
        query = table & self.key
        for condition in self.where:
            query &= _checked(table, condition)
        return query & tagged(*self.tags, of=table) if self.tags else query


def _checked(table: Any, condition: str) -> str:
    """Return a condition that the database takes: it is asked, for no rows."""
    if not condition.strip():
        raise QueryError("--where is empty")
    try:
        table.connection.query(f"{(table & condition).make_sql()} LIMIT 0")
    except LostConnectionError:
        raise
    except Exception as error:  # DataJoint's, or the driver's
        raise QueryError(f"--where {brief(condition)}: {server_message(error)}") from error
    return condition


def table_with_files(connection: Any, name: str, attribute: str | None) -> tuple[Any, tuple[str, ...]]:
    """Return the table of a name, which may end in that of an attribute, and the `file` attributes that are meant.

    Raises
    ------
    LookupError
        If there is no such schema or table.
    UnsupportedValueError
        If it is a schema, or has no such attribute.
    """
    shorter, _, last = name.rpartition(".")
    try:
        table = _one_table(connection, name)
    except LookupError as error:
        if attribute is not None or "." not in shorter:
            raise
        try:
            table, attribute = _one_table(connection, shorter), last
        except LookupError:
            raise error from None
    known = file_attributes(table.heading)
    if not known or attribute not in (None, *known):
        there = f"its `file` attributes are {', '.join(known)}" if known else "it has no `file` attribute"
        raise UnsupportedValueError(f"{table_name(table)}{f'.{attribute}' if attribute else ''}: {there}")
    return table, known if attribute is None else (attribute,)


def one_query(connection: Any, name: str, rows: Selection) -> Any:
    """Return the rows that are meant of the table of a name, whatever attributes it has."""
    return rows.of(_one_table(connection, name))


def _one_table(connection: Any, name: str) -> Any:
    (table,) = targets_named([name], connection)
    if not hasattr(table, "heading"):
        raise UnsupportedValueError(f"{name} is a schema: name one of its tables, such as {name}.Recording")
    return table


def restricted_targets(names: Iterable[str], rows: Selection, connection: Any) -> list[Any]:
    """Return the schemas and tables of these names, of tables the rows that are meant."""
    targets = targets_named(names, connection)
    if rows and not all(hasattr(target, "heading") for target in targets):
        raise UnsupportedValueError("--key, --where and --tag are for tables: name them as schema.Table")
    return [rows.of(target) if rows else target for target in targets]


def one_value(connection: Any, name: str, rows: Selection) -> FileRef | DirectoryRef:
    """Return what the only `file` attribute that a name stands for has in the only row that is meant.

    Raises
    ------
    Verdict
        If there is no such row, there are several, or it has none.
    UnsupportedValueError, LookupError
        As of `table_with_files`; and if several attributes could be meant.
    """
    table, names = table_with_files(connection, name, None)
    if len(names) > 1:
        raise UnsupportedValueError(f"{name} has several `file` attributes: say which, {name}.{names[0]} for one")
    found: list[FileRef | DirectoryRef | None] = list((rows.of(table) & dj.Top(2)).to_arrays(names[0]))
    if len(found) != 1:
        raise Verdict("There are several such rows: give NAME=VALUE of one." if found else "There is no such row.")
    if found[0] is None:
        raise Verdict(f"{table_name(table)}.{names[0]} has no file in this row.")
    return found[0]


def one_file(connection: Any, name: str, rows: Selection, member: str | None) -> FileRef:
    """Return the file that `one_value` finds, or the *member* of the directory that it finds.

    Raises
    ------
    UnsupportedValueError
        If it is a file, and a member was named; or a directory, and none was. Else as of `one_value`.
    MemberNotFoundError, StorageError
        If there is no such member, or the list of members cannot be had.
    """
    value = one_value(connection, name, rows)
    if member is None:
        if isinstance(value, FileRef):
            return value
        raise UnsupportedValueError(f"{name} has a directory there: name one of its files, --member PATH")
    if isinstance(value, FileRef):
        raise UnsupportedValueError(f"{name} has a file there, no directory: leave --member out")
    found = value / member
    if not isinstance(found, FileRef):
        raise UnsupportedValueError(f"{brief(member)} is a directory within {name}: name one of its files")
    return found


@dataclass(frozen=True, slots=True)
class Cell:
    """One attribute of a row: its file, none, or why there is none to be had."""

    attribute: str
    key: dict[str, str]
    file: FileRef | DirectoryRef | None
    problem: str = ""

    def to_dict(self, table: str) -> dict[str, Any]:
        """Return plain values."""
        document: dict[str, Any] = {"table": table, "attribute": self.attribute, "key": self.key}
        document["file"] = None if self.file is None else self.file.to_dict()
        return {**document, "problem": self.problem} if self.problem else document


def cell_of(attribute: str, key: Mapping[str, Any], file: FileRef | DirectoryRef) -> Cell:
    """Return the cell of a file, once what its row says was read; else what is wrong with it."""
    texts = {name: str(value) for name, value in key.items()}
    try:
        file.to_dict()
    except (MetadataError, RecursionError) as error:
        return Cell(attribute, texts, None, str(error))
    return Cell(attribute, texts, file)
