"""Sources of files, writers' side: who inserts, and by which program, is noted in the transaction of the rows.

Without the right to make the table nothing is noted, and the insert does what it did before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from datajoint import provenance
from datajoint.errors import LostConnectionError, MissingTableError

from datajoint_file.config.bindings import Attached
from datajoint_file.errors import JournalWarning, warn
from datajoint_file.journal.running_program import facts
from datajoint_file.journal.second_connection import second_connection_of
from datajoint_file.journal.source_table import Call, SourceTable, object_id
from datajoint_file.model.metadata import FileMetadata

_usable: Attached[dict[str, bool]] = Attached(lambda _: {})
"""Whether sources can be noted in a schema, as far as each connection has asked."""


def ensure_sources(connection: Any, schema: str) -> bool:
    """Make the table, unless it is there. Tell whether it can be used; one `JournalWarning` says why not.

    Asked once, on the second connection: a statement that fails would end the user's transaction.
    """
    known = _usable.of(connection)
    if schema not in known:
        known[schema] = _is_usable(SourceTable(second_connection_of(connection), schema))
    return known[schema]


def _is_usable(table: SourceTable) -> bool:
    try:
        try:
            table.require_rights()
        except MissingTableError:
            table.create()
    except LostConnectionError:
        raise
    except Exception as error:  # noqa: BLE001 - no right, a table of another's: rows are inserted as well without it
        reason = " ".join(str(part) for part in error.args[:2]).strip()
        warn(_NO_SOURCES.format(schema=table.schema, reason=reason), JournalWarning)
        return False
    return True


def forget_sources(connection: Any, schema: str) -> None:
    """Take note that the schema may be another one than before: whether sources can be noted is asked anew."""
    _usable.of(connection).pop(schema, None)


_are_given: ContextVar[bool] = ContextVar("are_given", default=False)


@contextmanager
def sources_given() -> Iterator[None]:
    """Let inserts in the block note nothing: whoever runs it knows of the files, and does, in their transaction."""
    token = _are_given.set(True)
    try:
        yield
    finally:
        _are_given.reset(token)


def note_sources(connection: Any, schema: str, files: Sequence[FileMetadata], given: Call | None = None) -> None:
    """Note who inserts *files*, in the transaction that is open, by one statement for 5,000; or who is *given*.

    Inside of `make`, DataJoint knows the table and key, and the version of the code.

    Raises
    ------
    MissingTableError
        If somebody has dropped the table. The rows have to be inserted again.
    """
    if not files or _are_given.get() or not ensure_sources(connection, schema):
        return
    known, by = (_here(), None) if given is None else (given.facts, (given.at, given.who))
    table = SourceTable(second_connection_of(connection), schema)
    try:
        for sql, args in table.insertions(known, list(dict.fromkeys(map(object_id, files))), by):
            connection.query(sql, args, reconnect=False)
    except MissingTableError as error:
        forget_sources(connection, schema)
        raise MissingTableError(
            f"the table `~file_source` of schema {schema} was dropped while this process wrote to it; no row was "
            "inserted. Insert again: it is made anew, and what is stored is not sent again"
        ) from error


def _here() -> dict[str, Any]:
    known, make = facts(), provenance._ingesting.get()
    return known | ({"make": make} if make else {})


_NO_SOURCES = (
    "the table `~file_source` of schema {schema} cannot be made or used ({reason}): who inserts files there, and by "
    "which program, is not noted. Let the owner of the schema insert one row with a file, grant CREATE and INSERT "
    "there, or switch it off: [provenance] enabled = false"
)
