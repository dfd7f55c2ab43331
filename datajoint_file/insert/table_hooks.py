"""Table hooks: insert and update with ``file`` attributes; all rows checked, then bytes, then rows.

A table without ``file`` attributes goes straight through. The order of one insert::

    read the rows; leave out those that are there already (skip_duplicates)
    check each of the others: value, name, key, partition             nothing is stored yet
    ask what the database would refuse, if there is much to send
    plan: a key for each file; begin: an intent for each              on a second connection
    ingest: read, hash and store each file, or adopt it
    in one transaction: claim, which deletes the intents;
                        DataJoint's own INSERT, with metadata in place of the values

When an insert fails after files were stored, they stay: a failed statement does not prove that no row refers to them.
Their intents do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from typing import Any

from datajoint.errors import AccessError, LostConnectionError
from datajoint.expression import QueryExpression
from datajoint.table import Table

from datajoint_file.errors import (
    ConfigurationError,
    DataJointFileError,
    JournalWarning,
    OutcomeUnknownError,
    RowVanishedError,
    StatementTooLargeError,
    StorageError,
    UnsupportedValueError,
    warn,
)
from datajoint_file.hooks.codec import Checked, Ingested, file_attributes
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.hooks.declare import has_file_attributes
from datajoint_file.hooks.partitions import warn_of_unknown_placeholders
from datajoint_file.hooks.patching import original_of
from datajoint_file.hooks.tables import Row, TableKeys, as_records, check_fields, read_rows, table_name
from datajoint_file.insert.foreseen import refuse_hopeless
from datajoint_file.insert.replaced import Replaced, has_tags, tag_removals
from datajoint_file.insert.rights import require_right
from datajoint_file.insert.skipping import check_policy, insert_skipping
from datajoint_file.insert.staged import Staged
from datajoint_file.insert.statement import CellIndex, Statement
from datajoint_file.journal.history import ensure_history
from datajoint_file.journal.journal import Journal
from datajoint_file.journal.schema_registry import ensure_marked
from datajoint_file.journal.second_connection import second_connection_of
from datajoint_file.journal.sources import ensure_sources
from datajoint_file.journal.transactions import claims_of, has_transaction, sever, transaction_for
from datajoint_file.model.key_values import is_missing
from datajoint_file.sql import dialect_of, is_lost
from datajoint_file.sql.path_lookup import paths_among
from datajoint_file.sql.tag_table import TagTable


def insert_rows(
    original: Callable[..., None],
    table: Any,
    rows: Iterable[Any],
    replace: bool,
    skip_duplicates: bool,
    ignore_extra_fields: bool,
) -> None:
    """Store the files of *rows*, then let DataJoint insert the rows. Wraps ``Table._insert_rows``, one statement.

    Raises
    ------
    UnsupportedValueError, UnsafeNameError, SourceError, InvalidKeyError, ConfigurationError
        If a value cannot be stored; nothing has been.
    QuotaExceededError
        If ``[quota]`` leaves no room; nothing has been stored, but streams of which nobody knew the size.
    StorageError
        If the store fails; no row has been inserted.
    LeaseLostError
        If the upload was given up meanwhile; no row has been inserted.
    DuplicateError, IntegrityError
        If a row is there already, or its parent is not. If there is much to store, nothing has been.
    OutcomeUnknownError
        If the database's reply to the commit was lost; see `datajoint_file.resolve`.
    """
    attributes = file_attributes(table.heading)
    if not attributes:
        return _insert_plain(original, table, rows, replace, skip_duplicates, ignore_extra_fields)
    statement = Statement(table, attributes)
    given = read_rows(table.heading, rows)
    check_fields(table.heading, given, ignore_extra_fields=ignore_extra_fields)
    is_open = _prepare_claims(table.connection)
    if skip_duplicates:
        given = statement.keys.without_existing(given)
    is_new = not (replace or skip_duplicates)
    ask_first = partial(refuse_hopeless, table, given, statement.where, is_new=is_new)
    with statement.sources_kept():
        stored = statement.store(given, ask_first=ask_first)
        may_leave_some = stored and (skip_duplicates or (replace and len(_latest(statement, given)) < len(given)))
        queries = statement.keys.queries_for(given, attributes) if may_leave_some else []
        replaced = Replaced(statement, "replace", given) if replace else None
        untags = tag_removals(table, statement.keys, given) if replace else []
        with _writing(statement, given, is_open=is_open) if stored or replace else nullcontext():
            if replaced:
                replaced.keep()
            _untag(table, untags)
            if replace and not dialect_of(table.connection).has_replace:
                _replace(original, statement, given, stored, ignore_extra_fields)
            else:
                ready = [_ready(row, stored, attributes) for row in given]
                original(table, ready, replace, skip_duplicates, ignore_extra_fields)
            if may_leave_some:
                statement.give_back(_named(statement, queries, stored))
    return None


def _insert_plain(
    original: Callable[..., None],
    table: Any,
    rows: Iterable[Any],
    replace: bool,
    skip_duplicates: bool,
    ignore_extra_fields: bool,
) -> None:
    """Let DataJoint insert rows without files. Where they replace others, the tags of these go, on every server."""
    options = replace, skip_duplicates, ignore_extra_fields
    if not (replace and has_tags(table)):
        return original(table, rows, *options)
    rows = list(rows)
    untags = tag_removals(table, TableKeys(table, table_name(table)), read_rows(table.heading, rows))
    with transaction_for(table.connection, is_open=has_transaction(table.connection)):
        _untag(table, untags)
        return original(table, rows, *options)


def update1(original: Callable[..., None], table: Any, row: Any) -> None:
    """Store the files of *row* under new keys, then let DataJoint update. The old objects are left as they are.

    Raises
    ------
    RowVanishedError
        If the row was deleted meanwhile.
    """
    attributes = file_attributes(table.heading)
    if not attributes or not _is_updatable(table, row) or not any(name in row for name in attributes):
        return original(table, row)
    statement = Statement(table, tuple(name for name in attributes if name in row), "update")
    is_open = _prepare_claims(table.connection)
    given = Row(0, dict(row))
    with statement.sources_kept():
        stored = statement.store([given])
        queries = statement.keys.queries_for([given], statement.attributes) if stored else []
        replaced = Replaced(statement, "update", [given])
        with _writing(statement, [given], is_open=is_open):
            replaced.keep()
            original(table, _ready(given, stored, attributes))
            if stored:
                _require_named(statement, given, queries, stored)
    return None


def insert(original: Callable[..., Any], table: Any, rows: Any, *args: Any, **options: Any) -> Any:
    """Let DataJoint insert. Rows of a query refer to objects too: the schema is registered, the statement sent once.

    With ``on_error="skip"`` rows that fail are left out, and there is a report.
    """
    on_error = options.pop("on_error", "raise")
    if on_error != "raise":
        check_policy(on_error)
        return insert_skipping(original, table, rows, *args, **options)
    attributes = file_attributes(table.heading)
    if not _is_query(rows) or not attributes:
        return original(table, rows, *args, **options)
    if options.get("replace") or args[:1] == (True,):
        raise UnsupportedValueError(
            f"{table_name(table)}: rows of a query cannot replace others where there are files, which would leave no "
            "history; nothing was changed. Fetch the rows, and insert these with replace=True"
        )
    require_right(table, "insert", table.heading.names)
    _register(table, rows() if isinstance(rows, type) else rows, attributes)
    with transaction_for(table.connection, is_open=_prepare_claims(table.connection)):
        return original(table, rows, *args, **options)


def insert1(original: Callable[..., None], table: Any, row: Any, **options: Any) -> Any:
    """Let DataJoint insert a row, and return what `insert` does: with ``on_error="skip"`` a report, else nothing."""
    return table.insert((row,), **options) if "on_error" in options else original(table, row, **options)


def declare(original: Callable[..., None], table: Any, context: Any = None) -> None:
    """Let DataJoint declare the table, then make the schema's journal, as long as somebody with the right is here."""
    original(table, context)
    if has_file_attributes(table.definition):
        ensure_books(table)


def ensure_books(table: Any) -> None:
    """Make what the schema of a table with ``file`` attributes needs beside it, as far as this user may."""
    Journal(table.connection, table.database).ensure()
    ensure_history(table.connection, table.database)
    _ensure_sources(table)
    warn_of_unknown_placeholders(table.connection, table.database)


def _ensure_sources(table: Any) -> None:
    with suppress(ConfigurationError):  # nothing is configured as yet
        if pipeline_of(table.connection, table.database).settings.provenance.enabled:
            ensure_sources(table.connection, table.database)


def validate(original: Callable[..., Any], table: Any, rows: Any, *, ignore_extra_fields: bool = False) -> Any:
    """Let DataJoint validate *rows*, and check keys and values of ``file`` attributes. Nothing is read or stored."""
    attributes = file_attributes(table.heading)
    if not attributes:
        return original(table, rows, ignore_extra_fields=ignore_extra_fields)
    statement = Statement(table, attributes)
    swapped, problems = [], []
    for index, row in enumerate(as_records(rows)):
        values, errors = _checked_values(statement, index, row)
        swapped.append(values)
        problems += errors
    result = original(table, swapped, ignore_extra_fields=ignore_extra_fields)
    result.errors = sorted(result.errors + problems, key=lambda problem: problem[0])
    result.is_valid = not result.errors
    return result


def _register(table: Any, rows: Any, attributes: tuple[str, ...]) -> None:
    """Tell the stores that this schema is going to refer to their objects, though none is uploaded for it."""
    for project in ("", *_projects_of(rows, attributes)):
        try:
            pipeline = pipeline_of(table.connection, table.database)
            ensure_marked(pipeline, table.connection, table.database, project)
        except (ConfigurationError, StorageError) as error:
            store = f"the store of the project {project!r}" if project else "the project's store"
            warn(
                f"schema {table.database} could not be registered in {store}: {error}. The rows are copied; "
                "`datajoint-file gc` of that project knows of them only if its user may read this schema",
                JournalWarning,
            )


def _projects_of(rows: Any, attributes: tuple[str, ...]) -> list[str]:
    """Return the projects whose files the rows of a query name."""
    dialect, projects = dialect_of(rows.connection), set[str]()
    for name in set(attributes).intersection(rows.heading.names):
        project = dialect.first_component(dialect.path(dialect.quoted(name)))
        stored = f"{dialect.quoted(name)} IS NOT NULL AND NOT ({dialect.is_link(dialect.quoted(name))})"
        sql = f"SELECT DISTINCT {project} FROM ({rows.make_sql()}) AS copied WHERE {stored}"
        projects.update(found for (found,) in rows.connection.query(sql).fetchall() if found)
    return sorted(projects)


def _prepare_claims(connection: Any) -> bool:
    """Tell whether a transaction is open; if not, nothing is claimed. Asked before the upload, which can outlive it."""
    is_open, claims = has_transaction(connection), claims_of(connection)
    claims.is_used = True
    if not is_open:
        claims.forget()
    return is_open


@contextmanager
def _writing(statement: Statement, rows: Sequence[Row], *, is_open: bool) -> Iterator[None]:
    """Claim the files and run the block, which inserts their *rows*, in one transaction.

    Where the transaction is the user's and goes on after a failure, the files are noted down again in it.
    """
    connection = statement.table.connection
    driver = connection._conn
    try:
        with transaction_for(connection, is_open=is_open):
            driver = connection._conn
            statement.claim(is_own=not is_open)
            try:
                yield
            except Exception as error:
                if is_open and dialect_of(connection).keeps_transaction and not is_lost(error, driver):
                    statement.give_back()  # where that fails too, the transaction may be over: its error says that
                raise
    except BaseException as error:
        if is_open and not isinstance(error, Exception):
            sever(connection)  # interrupted, perhaps between a statement and its reply
        is_too_large = dialect_of(connection).is_too_large(error)
        if not (is_lost(error, driver) or is_too_large) or isinstance(error, OutcomeUnknownError):
            raise
        _refuse_too_large(statement, rows, error)
        if isinstance(error, LostConnectionError) or is_too_large:
            raise
        raise LostConnectionError(
            f"{statement.name}: the connection to the database was lost; no row was inserted. Try again: what is "
            f"stored is not sent again ({error})".replace("\n", " ")
        ) from error


def _refuse_too_large(statement: Statement, rows: Sequence[Row], error: BaseException) -> None:
    """Raise if the connection was lost because *rows* are more than the server takes: some hang up without a word."""
    second = second_connection_of(statement.table.connection)
    others = ((row, name) for row in rows for name in row.values if name not in statement.attributes)
    size = sum(_size_of(row.values[name]) for row, name in others)
    limit = None
    with suppress(Exception):  # the server may be gone altogether
        limit = second.size_limit
    if limit is not None and size > limit * 0.9:
        raise StatementTooLargeError(
            f"{statement.name}: no row was inserted. The {len(rows)} rows have some {size} bytes, and the server takes "
            f"no more at once than {second.dialect.size_limit} = {limit} and hangs up. Insert fewer rows at a time "
            "(chunk_size=…), or have an administrator raise it. What is stored is not sent again"
        ) from error


def _size_of(value: Any) -> int:
    """Return how many bytes *value* adds to a statement, at least."""
    size = getattr(value, "nbytes", None)
    return size if isinstance(size, int) else len(value) if isinstance(value, str | bytes | bytearray) else 0


def _ready(row: Row, stored: Mapping[CellIndex, Ingested], attributes: tuple[str, ...]) -> Any:
    """Return *row* for DataJoint, with what has been stored in place of its files."""
    return row.with_values({name: stored.get((row.index, name)) for name in attributes if name in row.values})


def _named(statement: Statement, queries: list[str], stored: Mapping[CellIndex, Ingested]) -> set[str]:
    """Return the paths of *stored* that rows name now. What this transaction has inserted it sees, locked or not."""
    table, named = statement.table, statement.keys.paths_by(queries)
    dialect = dialect_of(table.connection)

    def query(sql: str, args: tuple[Any, ...]) -> Any:
        return table.connection.query(sql, args, reconnect=False).fetchall()

    for name in statement.attributes:
        left = {value.metadata.path for (_, attribute), value in stored.items() if attribute == name} - named
        if left:
            named |= paths_among(query, dialect, table.full_table_name, name, sorted(left))
    return named


def _require_named(statement: Statement, row: Row, queries: list[str], stored: Mapping[CellIndex, Ingested]) -> None:
    missing = {value.metadata.path for value in stored.values()} - _named(statement, queries, stored)
    if missing:
        statement.give_back()
        raise RowVanishedError(
            f"{statement.cell(row, statement.attributes[0])}: the row was deleted by somebody else while its file was "
            "stored; nothing was updated. The file stays for a retry, and is reclaimed if there is none"
        )


def _replace(
    original: Callable[..., None],
    statement: Statement,
    rows: list[Row],
    stored: Mapping[CellIndex, Ingested],
    ignore_extra_fields: bool,
) -> None:
    """Do what MySQL's ``REPLACE`` does, which PostgreSQL has not: the last row of a key wins, what it omits is reset.

    Rows that are there are updated, not deleted and inserted again, so that others can refer to them.
    """
    keys, table, latest = statement.keys, statement.table, _latest(statement, rows)
    present, update = keys.present(latest), original_of(Table.update1)
    for row in latest:
        if row.index in present:
            values = {**row.values, **{name: stored.get((row.index, name)) for name in statement.attributes}}
            update(keys.unrestricted, {name: values.get(name) for name in table.heading.names})
    present &= keys.present(latest)  # what was updated is locked; what others have deleted meanwhile is inserted
    new = [_ready(row, stored, statement.attributes) for row in latest if row.index not in present]
    original(table, new, False, False, ignore_extra_fields)


def _latest(statement: Statement, rows: list[Row]) -> list[Row]:
    """Return the last row of each key."""
    keys = statement.keys
    return list({keys.of(row) if keys.is_complete(row) else row.index: row for row in rows}.values())


def _untag(table: Any, statements: Iterable[str]) -> None:
    """Take tags away, or say that this user may not: a colleague may have put them, and need not have asked him."""
    for sql in statements:
        try:
            table.connection.query(sql, reconnect=False)
        except AccessError as error:
            name = TagTable(dialect_of(table.connection), table.database, table.table_name).name
            raise AccessError(
                f"{table_name(table)}: rows that are replaced lose their tags, and these are in `{table.database}`."
                f"`{name}`, from which this user may not delete; no row was inserted. GRANT "
                "SELECT, DELETE ON it, or update1 the rows, which keep their tags then"
            ) from error


def _is_query(rows: Any) -> bool:
    return isinstance(rows, QueryExpression) or (isinstance(rows, type) and issubclass(rows, QueryExpression))


def _is_updatable(table: Any, row: Any) -> bool:
    """Tell whether DataJoint would carry out the update; if not, it says why itself, before anything is stored."""
    if not isinstance(row, Mapping) or not set(row).issuperset(table.primary_key):
        return False
    if len(table.restriction) or any(name not in table.heading.names for name in row):
        return False
    return len(table & {name: row[name] for name in table.primary_key}) == 1


def _checked_values(statement: Statement, index: int, row: Any) -> tuple[Any, list[tuple[int, str, str]]]:
    """Return *row* with its files swapped for what DataJoint can serialise, and what is wrong with it."""
    try:
        read = read_rows(statement.table.heading, [row])[0]
    except Exception:  # noqa: BLE001 - not a row at all: DataJoint says so
        return row, []
    errors = []
    try:
        if statement.keys.is_complete(read):  # if not, DataJoint says so
            statement.keys.of(read)
    except DataJointFileError as error:
        errors.append((index, statement.table.primary_key[0], str(error)))
    given = {name: read.values[name] for name in statement.attributes if name in read.values}
    for name, value in given.items():
        try:
            if not is_missing(value) and not isinstance(value, Staged):
                statement.check_value(value, name)
        except DataJointFileError as error:
            errors.append((index, name, str(error)))
    swapped = {name: None if is_missing(value) else Checked() for name, value in given.items()}
    return read.with_values(swapped), errors
