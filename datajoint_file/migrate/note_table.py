"""SQL table ``~file_migration`` of a schema: of which old value each new one was made, and whether it was compared.

One statement a method, and no decisions. The note of a row is written in the transaction that changes the row; one
with an empty cell is about the whole attribute.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from datajoint.errors import MissingTableError

from datajoint_file.journal.intent_table import batches
from datajoint_file.journal.second_connection import SecondConnection
from datajoint_file.sql import Condition

TABLE = "~file_migration"

MADE, CHECKED, OWN = "made", "checked", "own"
"""The states of a note: a file was made of the old value; both were compared; a user has put another file there."""

_ATTRIBUTES = """
    table_name VARCHAR(64) NOT NULL,
    attribute VARCHAR(64) NOT NULL,
    cell VARCHAR(16) {ascii} NOT NULL,
    old VARCHAR(64) {ascii} NOT NULL,
    path VARCHAR(1024) {ascii} NOT NULL,
    state VARCHAR(8) {ascii} NOT NULL,
    facts {large_text} NULL,
    PRIMARY KEY (table_name, attribute, cell)
"""
_COLUMNS = "table_name, attribute, cell, old, path, state"
_PER_STATEMENT = 400

Note = tuple[str, str, str]
"""Cell, fingerprint of the old value, path of the new one."""


class NoteTable:
    """The notes of one attribute, which is called by the name that it has before and after."""

    def __init__(self, second: SecondConnection, schema: str, table_name: str, attribute: str) -> None:
        self.second, self.dialect = second, second.dialect
        self.name = self.dialect.quoted(schema, TABLE)
        self.table = self.name.replace("%", "%%")  # for statements with parameters
        self.of: Condition = ("table_name = %s AND attribute = %s", [table_name, attribute])

    def create(self) -> None:
        """Create the table, unless it is there."""
        self.second.create(self.dialect.create_table(self.name, _ATTRIBUTES, comment="files made of other columns"))

    def upsert(self, notes: Sequence[Note], state: str) -> Condition:
        """Return the statement that notes what was made, for the transaction that changes the rows."""
        values = ", ".join([f"(%s, %s, %s, %s, %s, '{state}')"] * len(notes))
        sql = self.dialect.upsert(
            self.table,
            _COLUMNS,
            values,
            "table_name, attribute, cell",
            dict.fromkeys(("old", "path", "state"), ""),
        )
        return sql, [part for note in notes for part in (*self.of[1], *note)]

    def forget(self, cells: Sequence[str]) -> Condition:
        """Return the statement that forgets some cells."""
        condition, args = self.of
        return f"DELETE FROM {self.table} WHERE {condition} AND cell IN %s", [*args, tuple(cells)]

    def set_checked(self, notes: Sequence[Note]) -> None:
        """Note that new values equal old ones, where both are still what was compared."""
        condition, args = self.of
        for some in batches(notes, _PER_STATEMENT):
            one = "(cell = %s AND old = %s AND path = %s)"
            self.second.execute(
                f"UPDATE {self.table} SET state = '{CHECKED}' WHERE {condition} AND state = '{MADE}' AND "
                f"({' OR '.join([one] * len(some))})",
                [*args, *(part for note in some for part in note)],
            )

    def unchecked(self, notes: Sequence[Note]) -> None:
        """Note that new values do not equal old ones after all."""
        condition, args = self.of
        for cell, _, path in notes:
            self.second.execute(
                f"UPDATE {self.table} SET state = '{MADE}' WHERE {condition} AND state = '{CHECKED}' AND cell = %s "
                "AND path = %s",
                [*args, cell, path],
            )

    def joined(self) -> Condition:
        """Return the notes as a table to join, whose attributes no other has; without the one of the attribute."""
        condition, args = self.of
        named = "cell AS djf_cell, old AS djf_old, path AS djf_path, state AS djf_state"
        return f"(SELECT {named} FROM {self.table} WHERE {condition}) AS djf_note", args

    def facts(self) -> dict[str, Any]:
        """Return what is noted of the whole attribute."""
        condition, args = self.of
        try:
            found = self.second.query(f"SELECT facts FROM {self.table} WHERE {condition} AND cell = ''", args)
        except MissingTableError:
            return {}
        with suppress(TypeError, ValueError, RecursionError, IndexError):
            facts = json.loads(found[0][0])
            return facts if isinstance(facts, dict) else {}
        return {}

    def set_facts(self, facts: Mapping[str, Any]) -> None:
        """Note something of the whole attribute, in the place of what was noted."""
        sql = self.dialect.upsert(
            self.table,
            f"{_COLUMNS}, facts",
            "(%s, %s, '', '', '', '', %s)",
            "table_name, attribute, cell",
            {"facts": ""},
        )
        self.second.execute(sql, [*self.of[1], json.dumps(facts)])

    def clear(self) -> None:
        """Forget everything of this attribute."""
        condition, args = self.of
        with suppress(MissingTableError):
            self.second.execute(f"DELETE FROM {self.table} WHERE {condition}", args)
