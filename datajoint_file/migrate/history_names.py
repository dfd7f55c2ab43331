"""History of references after an exchange of names: entries name the attribute as it is called now, rows likewise.

Done once more it changes nothing: whether a row that was kept has been seen to, its own attributes tell.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from datajoint.errors import MissingTableError

from datajoint_file.journal.history_table import TABLE
from datajoint_file.journal.intent_table import batches
from datajoint_file.journal.second_connection import second_connection_of
from datajoint_file.migrate.names import Names

_PER_QUERY = 200


def rename_in_history(table: Any, names: Names, *, is_back: bool = False) -> None:
    """Have the history of a table call its attributes as they are called after an exchange, there or *is_back*."""
    second = second_connection_of(table.connection)
    history = second.dialect.quoted(table.database, TABLE).replace("%", "%%")
    former, new = (names.name, names.beside) if is_back else (names.beside, names.name)
    try:
        found = second.query(f"SELECT number FROM {history} WHERE table_name = %s ORDER BY number", [table.table_name])
    except MissingTableError:
        return
    for numbers in batches([number for (number,) in found], _PER_QUERY):
        rows = second.query(f"SELECT number, attribute, row_text FROM {history} WHERE number IN %s", [tuple(numbers)])
        for number, attribute, text in rows:
            renamed = None if text is None else _renamed(text, names, is_back=is_back)
            if renamed is not None or attribute == former:
                second.execute(
                    f"UPDATE {history} SET attribute = %s, row_text = %s WHERE number = %s",
                    [new if attribute == former else attribute, text if renamed is None else renamed, number],
                )


def _renamed(text: str, names: Names, *, is_back: bool) -> str | None:
    """Return a row's text with the names as they are now; None if it has them, or is no such text."""
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict):
        return None
    there = {key.partition(" ")[2] for key in row}
    if is_back == (names.kept not in there):
        return None
    swap = {names.kept: names.name, names.name: names.beside} if is_back else _forward(names)
    return json.dumps({_key(key, swap): value for key, value in row.items()})


def _forward(names: Names) -> Mapping[str, str]:
    return {names.beside: names.name, names.name: names.kept}


def _key(key: str, swap: Mapping[str, str]) -> str:
    kind, blank, name = key.partition(" ")
    return f"{kind}{blank}{swap.get(name, name)}"
