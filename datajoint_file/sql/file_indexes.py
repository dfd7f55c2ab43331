"""Names of the indexes that files are found by, and what an ALTER has to say of them.

What they are made of, each dialect knows; making them is the business of `query.index`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import get_args

from datajoint_file.sql.dialect import Dialect, Query, Searched

Indexed = dict[str, tuple[str, Searched]]
"""By the name of an index: the attribute and the member that it is made of."""

_TAKEN_AWAY = re.compile(r"\b(?:DROP|CHANGE) (?:COLUMN )?`((?:[^`]|``)+)`")


def indexes_of(table: str, attributes: Iterable[str]) -> Indexed:
    """Return the indexes of some ``file`` attributes of a table. Of long names there is only a digest in theirs.

    Examples
    --------
    >>> sorted(indexes_of("recording", ["raw"]))
    ['~file_hash_7f9c1ae5aa926f4f', '~file_linked_7f9c1ae5aa926f4f', '~file_path_7f9c1ae5aa926f4f']
    """
    found: Indexed = {}
    for attribute in attributes:
        digest = hashlib.sha256(f"{table}.{attribute}".encode()).hexdigest()[:16]
        found |= {f"~file_{member}_{digest}": (attribute, member) for member in get_args(Searched)}
    return found


def with_its_indexes(dialect: Dialect, query: Query, schema: str, table: str, sql: str) -> str:
    """Return an ALTER of DataJoint's that also drops the indexes of the attributes that it drops or renames.

    Where the server does not do so by itself, and refuses the statement otherwise.
    """
    taken = [] if dialect.drops_with_index else _TAKEN_AWAY.findall(sql)
    if not taken:
        return sql
    there = dialect.index_names(query, schema, table)
    dropped = [name for name in indexes_of(table, taken) if name in there]
    return ", ".join((sql.rstrip("; "), *(f"DROP INDEX {dialect.quoted(name)}" for name in dropped)))
