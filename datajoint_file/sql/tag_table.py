"""SQL table ``~tag__TABLE`` beside a table: which of its rows have which tags.

Its rows have a foreign key, and go when the row goes. Names and definition only: it is used in `query.tags`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property

from datajoint_file.sql.columns import Column
from datajoint_file.sql.dialect import Dialect, Query

BEGINNING = "~tag__"

TAG = "~tag"
"""The attribute with the tag. DataJoint lets no attribute of a table, and so of its key, be called so."""

MAX_LENGTH = 64
"""Characters of a tag: in an index on MySQL, beside a primary key of 2.8 kB."""

_MAX_NAME = 50
"""Characters of the table's name: servers make names of keys of it, of 64 characters, or 63 bytes, at most."""


class TagTable:
    """The table of one table, as the database calls it, on one kind of server."""

    def __init__(self, dialect: Dialect, schema: str, table_name: str) -> None:
        self.dialect, self.schema, self.tagged = dialect, schema, table_name
        self.digest = hashlib.sha256(table_name.encode()).hexdigest()[:16]
        name = f"{BEGINNING}{table_name}"
        self.name = name if len(name.encode()) <= _MAX_NAME else f"{BEGINNING}{self.digest}"
        self.table, self.tag = dialect.quoted(schema, self.name), dialect.quoted(TAG)

    def is_there(self, query: Query) -> bool:
        """Tell whether it is, of what the user of *query* may see."""
        return self.name in self.dialect.columns(query, self.schema, [self.name])

    @cached_property
    def is_empty(self) -> str:
        """Query that fails if the table is not there, or may not be read."""
        return f"SELECT 1 FROM {self.table} WHERE 1 = 0"

    def creation(self, columns: Sequence[Column]) -> str:
        """Return the statements that create it, unless it is there; *columns* are those of the primary key."""
        key = ", ".join(self.dialect.quoted(column.name) for column in columns)
        declared = "".join(
            f"{self.dialect.quoted(column.name)} {self.dialect.declared(column)} NOT NULL, " for column in columns
        )
        references = f"{self.dialect.quoted(self.schema, self.tagged)} ({key}) ON DELETE CASCADE ON UPDATE CASCADE"
        attributes = (
            f"{declared}{self.tag} VARCHAR({MAX_LENGTH}) NOT NULL, PRIMARY KEY ({key}, {self.tag}), "
            f"FOREIGN KEY ({key}) REFERENCES {references}"
        )
        escaped = attributes.replace("{", "{{").replace("}", "}}")
        return self.dialect.create_table(
            self.table, escaped, comment="tags of rows", indexes={f"~tag_{self.digest}": self.tag}
        )

    def lineage(self) -> list[str]:
        """Return statements by which a DataJoint without this package takes it for a child of the table.

        On MySQL it comes upon foreign keys of hidden tables when it deletes, and asks where their attributes are from.
        """
        lineage, columns = self.dialect.quoted(self.schema, "~lineage"), "table_name, attribute_name, lineage"
        ours, theirs = self.dialect.literal(self.name), self.dialect.literal(self.tagged)
        copied = f"SELECT {ours}, attribute_name, lineage FROM {lineage} AS known WHERE table_name = {theirs}"
        return [
            f"DELETE FROM {lineage} WHERE table_name = {ours}",
            f"INSERT INTO {lineage} ({columns}) {copied} AND attribute_name IN %s",
        ]
