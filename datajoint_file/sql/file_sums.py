"""SQL aggregates over a ``file`` attribute: how many files its rows name, and their bytes, with links apart.

What rows are added up, and by what, stands in the statements of those who ask. A row counts for what it names: to find
out which rows name one and the same object, a database would have to sort all object keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datajoint_file.sql.dialect import Dialect

COUNT = 3
"""How many aggregates there are for each attribute."""

_ONE = 10**30
"""One link, in a sum of links and of their bytes, which are fewer: to look for links once is a third of the work."""


def file_sums(dialect: Dialect, name: str) -> list[str]:
    """Return the SQL, for a quoted attribute, of what `read_sums` reads: integers, exact on all servers."""
    size = dialect.summand(name, "size")
    return [f"COUNT({name})", f"SUM({size})", f"SUM(CASE WHEN {dialect.is_linked(name)} THEN {_ONE} + {size} END)"]


def stored_size(dialect: Dialect, name: str) -> str:
    """Return the SQL of the bytes of what rows have stored by a quoted attribute: of all but links."""
    return f"SUM(CASE WHEN {dialect.is_linked(name)} THEN 0 ELSE {dialect.summand(name, 'size')} END)"


def read_sums(values: Sequence[Any]) -> tuple[int, int, int, int]:
    """Return files and bytes of what is stored, then of what is linked, from the results of `file_sums`."""
    files, size, links = (int(value or 0) for value in values)
    linked_files, linked_size = divmod(links, _ONE)
    return files - linked_files, size - linked_size, linked_files, linked_size
