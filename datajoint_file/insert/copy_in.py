"""`copy_in`: links turned into stored files, row by row, each in a transaction of its own.

What a row holds is replaced by an ordinary update, so its history keeps the link. Originals are read, and left alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datajoint.table import FreeTable, Table

from datajoint_file.errors import (
    DataJointError,
    MetadataError,
    ObjectNotFoundError,
    RowChangedError,
    RowVanishedError,
    UnsupportedValueError,
    VerificationError,
    brief,
    brief_traceback,
)
from datajoint_file.hooks.codec import file_attributes
from datajoint_file.hooks.patching import original_of
from datajoint_file.hooks.tables import table_name
from datajoint_file.insert.stage import check_attribute
from datajoint_file.insert.table_hooks import update1
from datajoint_file.journal.transactions import has_transaction
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.object_keys import key_text
from datajoint_file.model.wording import counted, format_size
from datajoint_file.sql import dialect_of
from datajoint_file.startup import on_one_line
from datajoint_file.transfer.links import Copied

_OF_ONE_ROW = (VerificationError, ObjectNotFoundError, MetadataError, RowVanishedError, RowChangedError)
"""What is wrong with one original, or one row: the others are copied all the same."""


@dataclass(frozen=True, slots=True)
class CopiedIn:
    """What `copy_in` has done. True if no link is left.

    Parameters
    ----------
    copied : int
        Files and directories that were links and are stored now.
    size : int
        Bytes of these.
    problems : tuple of str
        The links that were left as they are, and why.
    """

    copied: int
    size: int
    problems: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        done = f"{counted(self.copied, 'link')} copied in, {format_size(self.size)}"
        return "\n".join(map(on_one_line, (done, *self.problems)))


@brief_traceback
def copy_in(query: Any, attribute: str | None = None) -> CopiedIn:
    """Store what rows link to, and let the rows name what is stored; the originals stay where they are.

    Each row is updated in a transaction of its own, when its files are stored and have the bytes that were linked: at
    every moment it names the link, or what is stored. The link goes into the row's history. Run it again after a
    failure: rows that are done are passed over, and what was stored for one that is not is not sent again. What was
    changed since it was linked is not copied, but told.

    Parameters
    ----------
    query : datajoint.Table
        A table, or rows of one: ``Recording & key``.
    attribute : str, optional
        Which ``file`` attribute; all if not given.

    Raises
    ------
    UnsupportedValueError
        If *query* is no table, or has no such attribute.
    DataJointError
        If the connection is in a transaction.
    QuotaExceededError
        If ``[quota]`` leaves no room for the next. The rows before are done.
    StorageError
        If a root cannot be reached, or the store fails. The rows before are done.

    Examples
    --------
    >>> print(datajoint_file.copy_in(Recording & "session_id < 10"))  # doctest: +SKIP
    9 links copied in, 1.2 TB
    """
    table = query() if isinstance(query, type) and issubclass(query, Table) else query
    if not isinstance(table, Table):
        raise UnsupportedValueError(
            f"{brief(query)} is no table: give a table, or rows of one, such as Recording & key"
        )
    if attribute is not None:
        check_attribute(table, attribute)
    if has_transaction(table.connection):
        raise DataJointError("copy_in has transactions of its own: commit this one or roll it back first")
    names = file_attributes(table.heading) if attribute is None else (attribute,)
    return _copied(table, names)


def _copied(table: Any, names: tuple[str, ...]) -> CopiedIn:
    copied, size, problems = 0, 0, []
    whole = FreeTable(table.connection, table.full_table_name)
    for key in (table & [_has_link(table, name) for name in names]).keys():  # noqa: SIM118 - of a table
        links: dict[str, Any] = {}
        try:
            links = _links(whole, key, names)
            if links:
                copies = {name: Copied(link) for name, link in links.items()}
                update1(_Swap(whole & key, links), whole, {**key, **copies})
                copied, size = copied + len(links), size + sum(link.size for link in links.values())
        except _OF_ONE_ROW as error:
            if _is_done(whole, key, links):  # by another copy_in
                continue
            where = "" if table_name(table) in str(error) else f"{table_name(table)} ({_shown(key)}): "
            problems.append(f"{where}{error}")
    return CopiedIn(copied, size, tuple(problems))


def _has_link(table: Any, name: str) -> str:
    dialect = dialect_of(table.connection)
    quoted = dialect.quoted(name)
    return f"({quoted} IS NOT NULL AND ({dialect.is_linked(quoted)}))"


def _links(table: Any, key: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Return what a row links to now, by attribute; nothing, if it is gone."""
    found = (table & key).proj(*names).to_dicts()
    return {name: value for row in found for name, value in row.items() if name in names and value and value.linked}


def _is_done(table: Any, key: Mapping[str, Any], links: Mapping[str, Any]) -> bool:
    """Tell whether a row has what it linked to as stored files by now."""
    found = (table & key).proj(*links).to_dicts() if links else []
    return bool(found) and all(
        now is not None and (now.linked, now.hash, now.size) == ("", link.hash, link.size)
        for name, link in links.items()
        for now in (found[0][name],)
    )


class _Swap:
    """DataJoint's own update, of a row that still has the links which were copied; asked in its transaction.

    The row is locked for that: MySQL shows what was there when the transaction began, whatever was committed since.
    """

    def __init__(self, row: Any, links: Mapping[str, Any]) -> None:
        self._links = {name: link.metadata for name, link in links.items()}
        self._sql = f"{row.make_sql(tuple(links))} FOR UPDATE"

    def __call__(self, table: Any, row: Any) -> None:
        key = {name: row[name] for name in table.primary_key}
        found = table.connection.query(self._sql, reconnect=False).fetchall()
        row_name = f"{table_name(table)} ({_shown(key)})"
        if not found:
            raise RowVanishedError(f"{row_name}: somebody else has deleted the row while its files were copied")
        if [tuple(map(_metadata, values)) for values in found] != [tuple(self._links.values())]:
            raise RowChangedError(
                f"{row_name}: somebody else has changed the row while its files were copied; it was left as it is"
            )
        original_of(Table.update1)(table, row)


def _metadata(value: Any) -> FileMetadata | None:
    return None if value is None else FileMetadata.from_json(json.loads(value) if isinstance(value, str) else value)


def _shown(key: Mapping[str, Any]) -> str:
    return key_text((name, str(value)) for name, value in key.items())
