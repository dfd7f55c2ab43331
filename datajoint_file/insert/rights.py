"""Rights of the user on a table, asked before the first byte of a file is stored for it.

Without this a reader's insert would store files, and a mark in the project's store, before the database refuses a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from datajoint.errors import AccessError

from datajoint_file.config.bindings import Attached
from datajoint_file.hooks.tables import table_name
from datajoint_file.journal.second_connection import second_connection_of

Right = Literal["insert", "update"]

_known: Attached[set[tuple[str, str]]] = Attached(lambda _: set())
"""What has been asked on each connection and was not denied: a right that is given meanwhile is seen, at once."""


def require_right(table: Any, right: Right, attributes: Sequence[str]) -> None:
    """Raise unless the user may insert *attributes* into *table*, or update them. Asked once a table and connection.

    By a statement that concerns no row, on the second connection: where it fails for another reason, the row's own
    statement says it better.

    Raises
    ------
    AccessError
        If he may not, or the server takes no changes.
    """
    name, known = table.full_table_name, _known.of(table.connection)
    if (name, right) in known or not attributes:
        return
    second = second_connection_of(table.connection)
    quoted = [second.dialect.quoted(attribute) for attribute in attributes]
    if right == "insert":
        nothing = f"SELECT {', '.join(['NULL'] * len(quoted))} FROM (SELECT 1 AS one) AS nothing WHERE 1 = 0"
        sql = f"INSERT INTO {name} ({', '.join(quoted)}) {nothing}"
    else:
        sql = f"UPDATE {name} SET {', '.join(f'{attribute} = {attribute}' for attribute in quoted)} WHERE 1 = 0"
    try:
        second.execute(sql)
    except Exception as error:  # of whatever kind: only a denial is ours to tell
        if second.dialect.is_denied(error.__cause__ or error):
            raise AccessError(_DENIED.format(table=table_name(table), right=right, reason=_reason(error))) from error
    known.add((name, right))


def _reason(error: Exception) -> str:
    return " ".join(str(part) for part in error.args[:2]).strip()


_DENIED = (
    "{table}: this user may not {right} rows ({reason}); nothing was stored. Ask an administrator for the right, or "
    "connect as a user who has it"
)
