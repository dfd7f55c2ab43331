"""Tables of a server as descriptions, and their declaration from descriptions; rows as the driver has them.

DataJoint declares and inserts. What it would convert on the way (blobs, JSON, numbers that are none) is given to it as
the database takes it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from datajoint.table import FreeTable
from pydantic import ValidationError

from datajoint_file.errors import ExchangeError, brief
from datajoint_file.exchange.description import (
    AttributeDescription,
    ForeignKeyDescription,
    TableDescription,
    definition,
)
from datajoint_file.exchange.values import Written, compared, family, portable, read, written
from datajoint_file.hooks.tables import table_name
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.sql import dialect_of
from datajoint_file.sql.tag_table import TagTable

_RAW = ("<blob>", "<attach>", "json", "float32", "float64")
"""Types whose values DataJoint would convert; on PostgreSQL it has no way to insert a UUID either."""

_NULL = b"\0"
_ATTACHED = re.compile(rb"(?!\.{1,2}\0)[^/\\:\0]{1,255}\0")
"""What an attachment begins with: DataJoint writes a file of that name when it is fetched."""


def load_upstream(connection: Any, schemas: Iterable[str]) -> Any:
    """Return DataJoint's graph of tables, with all that those of *schemas* depend on."""
    adapter, names = connection.adapter, set(schemas) | set(connection.schemas)
    while names:
        listed = ", ".join(map(adapter.quote_string, sorted(names)))
        more = {row[0] for row in connection.query(adapter.find_upstream_schemas_sql(listed)).fetchall()} - names
        if not more:
            break
        names |= more
    connection.dependencies.load(force=True, schema_names=names)
    return connection.dependencies


def describe(table: Any, left_out: frozenset[str] = frozenset()) -> TableDescription:
    """Return the description of a table; the graph of its connection must have it. *left_out* are attributes.

    Raises
    ------
    ExchangeError
        If an attribute cannot be carried, or must not be left out.
    """
    title, split = table_name(table), table.connection.adapter.split_full_table_name
    is_mysql = table.connection.adapter.backend == "mysql"
    keys, used = [], set(table.primary_key)
    for parent, how in table.connection.dependencies.parents(table.full_table_name):
        keys.append(ForeignKeyDescription(parent=".".join(split(parent)), attributes=dict(how["attr_map"])))
        used |= set(how["attr_map"])
    if needed := sorted(left_out & used):
        raise ExchangeError(f"{title}.{needed[0]} is part of a key, and cannot be left out")
    attributes = [
        _described(title, attribute, is_mysql=is_mysql)
        for name, attribute in table.heading.attributes.items()
        if name not in left_out
    ]
    if not table.primary_key:
        raise ExchangeError(f"{title} has no primary key of its own, and cannot be carried: leave it out of the query")
    known = set(table.heading.names) - left_out
    unique = [names for names in _unique(table) if set(names) != set(table.primary_key)]
    try:
        return TableDescription(
            schema=table.database,
            name=table.table_name,
            comment=(table.heading.table_status or {}).get("comment") or "",
            attributes=attributes,
            foreign_keys=sorted(keys, key=lambda key: (key.parent, sorted(key.attributes))),
            unique=sorted(names for names in unique if known.issuperset(names)),
        )
    except ValidationError as error:
        told = error.errors(include_input=False)[0]
        raise ExchangeError(f"{title} cannot be carried: {told['loc']}: {told['msg']}") from None


def _unique(table: Any) -> Iterator[list[str]]:
    """Give the attributes of each unique index; of PostgreSQL's DataJoint does not know them."""
    adapter = table.connection.adapter
    if adapter.backend == "mysql":
        yield from (list(names) for names, how in table.heading.indexes.items() if how["unique"])
        return
    for _, text in table.connection.query(adapter.get_indexes_sql(table.database, table.table_name)).fetchall():
        if match := re.fullmatch(r"CREATE UNIQUE INDEX .* USING btree \(([^()]+)\)", text):
            yield [name.strip().strip('"') for name in match[1].split(",")]


def _described(title: str, attribute: Any, *, is_mysql: bool) -> AttributeDescription:
    declared = str(attribute.original_type or attribute.type)
    type_ = portable(declared)
    if type_ == "datetime" and not is_mysql:
        type_ = "datetime(6)"  # PostgreSQL keeps fractions, whatever was declared
    if not type_:
        raise ExchangeError(
            f"{title}.{attribute.name} is {brief(declared)}, whose values cannot be carried: leave it out, by "
            f"leave_out=[{f'{title}.{attribute.name}'!r}]"
        )
    return AttributeDescription(
        name=attribute.name,
        type=type_,
        in_key=bool(attribute.in_key),
        nullable=bool(attribute.nullable),
        default=_default(attribute, type_),
        comment=(attribute.comment or "")[:2_000],
    )


def _default(attribute: Any, type_: str) -> str | None:
    """Return a default as a description has it, if it is plain; rows need none."""
    if attribute.default is None or attribute.nullable:
        return None
    text = re.sub(r"::[\w .()\"]+$", "", str(attribute.default).strip('"')).strip("'")
    if "nextval" in text or not re.fullmatch(r"[A-Za-z0-9 .,;/|_+()\[\]-]{0,255}", text):
        return None
    return {"true": "1", "false": "0"}.get(text.lower(), text) if type_ == "bool" else text


def declare(connection: Any, table: TableDescription, names: Mapping[str, str]) -> None:
    """Declare a table, whose parents are there. *names* says what the tables of the description are called here."""
    adapter = connection.adapter
    context: dict[str, Any] = {"__builtins__": {}}
    called = {}
    for number, parent in enumerate(dict.fromkeys(key.parent for key in table.foreign_keys)):
        called[parent] = f"Parent{number}"
        full_name = adapter.make_full_table_name(*names[parent].split(".", 1))
        context[called[parent]] = FreeTable(connection, full_name)
    text = definition(table, called, is_mysql=adapter.backend == "mysql")
    kind = type("Received", (FreeTable,), {"definition": text})
    kind(connection, adapter.make_full_table_name(*names[table.full_name].split(".", 1))).declare(context)


class Rows:
    """Rows of one table, as an export has them and as the database does."""

    def __init__(self, table: Any, description: TableDescription) -> None:
        self.table = FreeTable(table.connection, table.full_table_name)
        self.description = description
        self.types = description.types
        self._connection = table.connection
        self._is_mysql = table.connection.adapter.backend == "mysql"
        self._dialect = dialect_of(table.connection)
        for name in description.types:
            attribute = self.table.heading[name]
            if self.types[name] in _RAW or (self.types[name] == "uuid" and not self._is_mysql):
                raw = attribute._replace(codec=None, json=False, numeric=False, uuid=False)
                self.table.heading._attributes[name] = raw

    def under(self, keys: Sequence[Mapping[str, Any]]) -> Iterator[Written]:
        """Give the rows of some keys, which are written as in an export; in the order of their key.

        Raises
        ------
        ExchangeError
            If a value cannot be written down.
        """
        if not keys:
            return
        order = ", ".join(self._dialect.quoted(name) for name in self.description.primary_key)
        columns = ", ".join(map(self._column, self.types))
        for row in self._under(f"SELECT {columns} FROM {self._named()}", keys, order):
            yield self._written(row)

    def tags(self, table: TagTable, keys: Sequence[Mapping[str, Any]]) -> dict[tuple[Any, ...], list[str]]:
        """Return the tags of the rows of some keys, in alphabetical order, by key."""
        columns = ", ".join([*map(self._column, self.description.primary_key), table.tag])
        found = dict[tuple[Any, ...], list[str]]()
        for *key, tag in self._under(f"SELECT {columns} FROM {table.table.replace('%', '%%')}", keys, table.tag):
            found.setdefault(self.key_of(self.written_key(key)), []).append(str(tag))
        return found

    def put_tags(self, table: TagTable, tagged: Iterable[tuple[Mapping[str, Any], str]]) -> None:
        """Put tags on rows, but for those that they have already, in the transaction that is open."""
        primary, values = self.description.primary_key, list[Any]()
        for key, tag in tagged:
            values += [*(self._parameter(name, key[name]) for name in primary), tag]
        if values:
            columns = ", ".join([*map(self._dialect.quoted, primary), table.tag])
            one = f"({', '.join(['%s'] * (len(primary) + 1))})"
            rows = ", ".join([one] * (len(values) // (len(primary) + 1)))
            self._connection.query(self._dialect.insert_new(table.table.replace("%", "%%"), columns, rows), values)

    def _under(self, select: str, keys: Sequence[Mapping[str, Any]], order: str) -> Any:
        primary = self.description.primary_key
        one = f"({' AND '.join(f'{self._dialect.quoted(name)} = %s' for name in primary)})"
        values = [self._parameter(name, key[name]) for key in keys for name in primary]
        chosen = " OR ".join([one] * len(keys))
        return self._connection.query(f"{select} WHERE {chosen} ORDER BY {order}", values).fetchall()

    def written_key(self, values: Iterable[Any]) -> Written:
        """Return a primary key, as the driver gives it, as an export has it."""
        return {n: written(self.types[n], v) for n, v in zip(self.description.primary_key, values, strict=True)}

    def key_of(self, row: Written) -> tuple[Any, ...]:
        """Return the primary key of a row of an export."""
        return tuple(row[name] for name in self.description.primary_key)

    def differing(self, one: Written, other: Written) -> list[str]:
        """Return the attributes in which two rows differ; of files, whether bytes or what is said of them does."""
        return [name for name, type_ in self.types.items() if not _is_same(type_, one[name], other[name])]

    def value(self, name: str, value: Any) -> Any:
        """Return a value of an export as the insert takes it; see `value_for`."""
        return value_for(self.types[name], value, is_mysql=self._is_mysql)

    def _named(self) -> str:
        return str(self._dialect.quoted(self.table.database, self.table.table_name)).replace("%", "%%")

    def _column(self, name: str) -> str:
        quoted = self._dialect.quoted(name)
        if self.types[name] in ("json", "<file>"):
            return self._dialect.as_text(quoted)
        is_rounded = self._is_mysql and self.types[name] == "float32"  # when shown; a zero's sign stays
        return f"{quoted} * 1e0" if is_rounded else quoted

    def _parameter(self, name: str, value: Any) -> Any:
        found = self.value(name, value)
        return found.bytes if self._is_mysql and self.types[name] == "uuid" else found

    def _written(self, values: Sequence[Any]) -> Written:
        row = {}
        for (name, type_), value in zip(self.types.items(), values, strict=True):
            try:
                row[name] = _metadata(value) if type_ == "<file>" else written(type_, value)
            except (ValueError, RecursionError) as error:
                raise ExchangeError(f"{self.description.title}.{name}: {error}; leave the attribute out") from error
        return row


def value_for(type_: str, value: Any, *, is_mysql: bool) -> Any:
    """Return a value of an export as the insert takes it.

    Raises
    ------
    ValueError
        If it is of another type, or the server cannot hold it.
    """
    found = read(type_, value)
    if type_ == "<attach>" and found is not None and not _ATTACHED.match(found):
        raise ValueError(f"an attachment is called {found.partition(_NULL)[0]!r:.60}, which is no name of a file")
    if is_mysql and type_ in ("float32", "float64") and isinstance(value, str):
        raise ValueError(f"MySQL and MariaDB have no {value}")
    if is_mysql or found is None:
        return found
    if isinstance(found, str) and ("\0" in found or (type_ == "json" and "\\u0000" in found)):
        raise ValueError("PostgreSQL has no null character in text")
    if family(type_) == "time" and not "00" <= found < "24":
        raise ValueError(f"PostgreSQL has no time of day {found}")
    return str(found) if type_ in ("uuid", "float32", "float64") else found  # the driver would lose a zero's sign


def _is_same(type_: str, one: Any, other: Any) -> bool:
    if one is None or other is None:
        return one is other
    if type_ == "<file>":
        return _of_file(one) == _of_file(other)
    return bool(one == other or compared(type_, one) == compared(type_, other))


def _metadata(text: str | None) -> FileMetadata | None:
    document = None if text is None else json.loads(text)
    return None if document is None else FileMetadata.from_json(document)


def _of_file(metadata: FileMetadata) -> tuple[object, ...]:
    return metadata.hash, metadata.size, metadata.original_name, metadata.title, metadata.files
