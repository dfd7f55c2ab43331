"""What a database and its stores have, as the pages show it: values, made by the rooms for queries, files and history.

Nothing is written. A connection is used by one thread at a time; what may take long has others, so that a sum or a
search over a million rows holds no page up. Stores are asked outside of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any

from datajoint.errors import LostConnectionError

from datajoint_file.browse.address import Address
from datajoint_file.browse.problems import told
from datajoint_file.errors import MetadataError, QueryError, brief
from datajoint_file.hooks.codec import file_attributes
from datajoint_file.hooks.connections import name_of
from datajoint_file.hooks.row_listing import Key, Listing, RawRow
from datajoint_file.hooks.targets import file_tables, targets_named
from datajoint_file.model.wording import counted, format_size, nearest
from datajoint_file.pipeline.directoryref import DirectoryRef, ref_of
from datajoint_file.pipeline.fileref import FileRef
from datajoint_file.query.files import files
from datajoint_file.query.find import Found, find
from datajoint_file.query.source import source
from datajoint_file.query.tags import tags
from datajoint_file.query.usage import usage
from datajoint_file.query.used import Usage, UsageRow
from datajoint_file.query.where import where
from datajoint_file.undo.versions import history

PAGE_FILES = 50
MOST_HITS = 100
_HITS_OF_AN_ATTRIBUTE = 20
_PATIENCE_SECONDS = 60.0
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
"""What a database takes for a number; Python takes ``nan`` and ``1_000`` too."""

WORDS = {
    "name": "*.dat",
    "suffix": ".dat",
    "size": ">1 GB",
    "hash": "sha256:9f86d081…",
    "media_type": "image/*",
    "stored": ">=2026-01",
    "title": "*pilot*",
}
"""What files are chosen by, beside the key: keywords of `where`, each with an example."""


def looks_into_rows(chosen: Mapping[str, str]) -> bool:
    """Tell whether files are chosen by more than their key, which takes long in a large table."""
    return not {"linked", *WORDS}.isdisjoint(chosen)


@dataclass(frozen=True, slots=True)
class Item:
    """A file of a row: where it is, and its reference; none, and why, if the row describes no file."""

    address: Address
    key: Key | None  # as the database has it; None if the row cannot be found again by it
    values: Mapping[str, Any]
    ref: FileRef | DirectoryRef | None
    problem: str = ""
    member: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """What the database knows of one file: the item, and what was noted of it; *notes* say what could not be read."""

    item: Item
    full_table_name: str
    tags: tuple[str, ...]
    source: str
    versions: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Hits:
    """What a search has found, and what it could not look at."""

    items: tuple[Item, ...]
    notes: tuple[str, ...]


class _Lane:
    """A connection, opened at its first use, and again when it is lost, for one thread at a time."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._connection: Any = None
        self._lock = Lock()

    @contextmanager
    def connection(self) -> Iterator[Any]:
        if not self._lock.acquire(timeout=_PATIENCE_SECONDS):
            raise TimeoutError("the database is busy with another page of yours: try again when that has come")
        try:
            if self._connection is None or not self._connection.adapter.ping(self._connection._conn):
                self._connection = self._connect()  # DataJoint does not do it for what PostgreSQL's driver raises
            yield self._connection
        finally:
            self._lock.release()

    def close(self) -> None:
        if self._connection is not None and self._lock.acquire(timeout=0):  # else the process ends in a moment
            self._connection.close()


class Archive:
    """The files of all schemas that the user of a connection may see.

    Parameters
    ----------
    connect : callable
        Opens a connection. Called when the first page of a kind needs one, three times at most as long as none is lost.
    """

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._pages = _Lane(connect)
        self._searches = _Lane(connect)
        self._sums = _Lane(connect)

    def close(self) -> None:
        """Close the connections that are not in use."""
        for lane in (self._pages, self._searches, self._sums):
            lane.close()

    def schemas(self) -> dict[str, dict[str, list[str]]]:
        """Return the `file` attributes of all tables that this user sees, by schema and table."""
        with self._pages.connection() as connection:
            return file_tables(connection)

    def tables(self, schema: str) -> dict[str, list[str]]:
        """Return the `file` attributes of the tables of a schema."""
        with self._pages.connection() as connection:
            targets_named([schema], connection)
            return file_tables(connection, schema).get(schema, {})

    def names(self, address: Address) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the `file` attributes and the primary key of a table."""
        with self._pages.connection() as connection:
            table = _table(connection, address)
            return file_attributes(table.heading), tuple(table.primary_key)

    def items(self, address: Address, chosen: Mapping[str, str], after: Key | None) -> tuple[tuple[Item, ...], bool]:
        """Return the files of an attribute behind the key *after*, by key, for which what was *chosen* holds.

        So many as a page has, and whether there are more.
        """
        lane = self._searches if looks_into_rows(chosen) else self._pages
        with lane.connection() as connection:
            query = _restricted(_table(connection, address), address.attribute, chosen)
            listing = Listing(query, (address.attribute,))
            _check_length(address, listing, after)
            rows = list(listing.rows(after, limit=PAGE_FILES + 1))
            pipeline = name_of(connection._config)
            return tuple(_item(address, listing, row, pipeline) for row in rows[:PAGE_FILES]), len(rows) > PAGE_FILES

    def sum(self, address: Address, chosen: Mapping[str, str]) -> str:
        """Return how many files there are of an attribute, or of all of a table, and how much that is, as text."""
        with self._sums.connection() as connection:
            table = _table(connection, address)
            names = (address.attribute,) if address.attribute else file_attributes(table.heading)
            query = _restricted(table, address.attribute, chosen) if address.attribute else table
            found = files(query, *names)
            return f"{counted(found.count, 'file')}, {format_size(found.size)}"

    def item(self, address: Address, key: Key) -> Item:
        """Return the file of a row."""
        with self._pages.connection() as connection:
            return _found_again(connection, _table(connection, address), address, key)

    def record(self, address: Address, key: Key) -> Record:
        """Return what the database knows of the file of a row."""
        with self._pages.connection() as connection:
            table = _table(connection, address)
            item = _found_again(connection, table, address, key)
            row, notes = table & dict(item.values), list[str]()

            def noted(what: str, ask: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
                try:
                    return ask()
                except LostConnectionError:
                    raise
                except Exception as error:  # noqa: BLE001 - of DataJoint or a driver: the page says what it lacks
                    notes.append(f"{what} cannot be read: {told(error)}")
                    return ()

            name = address.attribute
            words = noted("Its tags", lambda: tuple(tags(row)))
            origin = noted("Its source", lambda: (str(source(row, name) or ""),) if item.ref else ())
            earlier = noted("Its history", lambda: tuple(map(str, history(row, name))))
            return Record(item, table.full_table_name, words, "".join(origin), earlier, tuple(notes))

    def search(self, wanted: str, by: str) -> Hits:
        """Return the files that have a name, hash, path or URL; names are patterns, with ``*`` and ``?``."""
        with self._searches.connection() as connection:
            if by == "name":
                return self._named(connection, wanted)
            report = find(**{by: wanted}, connection=connection, progress=False)
            items = tuple(_hit(connection, one) for one in report[:MOST_HITS])
            notes = [
                *(f"There was one: {one}" for one in report.earlier),
                *map("Not looked at: {}".format, report.unread),
            ]
            if report.hides_schemas:
                notes.append("Not looked at: schemas that this user is not told of, if there are any")
            return Hits(items, (*notes, *_more(len(report))))

    def _named(self, connection: Any, wanted: str) -> Hits:
        items, notes = list[Item](), list[str]()
        pipeline = name_of(connection._config)
        for schema, tables in file_tables(connection).items():
            for name, attributes in tables.items():
                for attribute in attributes if len(items) <= MOST_HITS else ():
                    address = Address(schema, name, attribute)
                    try:
                        query = _table(connection, address) & where(attribute, name=_glob(wanted))
                        listing = Listing(query, (attribute,))
                        rows = list(listing.rows(limit=_HITS_OF_AN_ATTRIBUTE + 1))
                    except Exception as error:  # noqa: BLE001 - of DataJoint or a driver: the page says what it lacks
                        notes.append(f"Not looked at: {address}: {told(error)}")
                        continue
                    items += [_item(address, listing, row, pipeline) for row in rows[:_HITS_OF_AN_ATTRIBUTE]]
                    if len(rows) > _HITS_OF_AN_ATTRIBUTE:
                        notes.append(f"{address} has more of them: filter its files by name")
        return Hits(tuple(items[:MOST_HITS]), (*notes, *_more(len(items))))

    def usage(self, schema: str, by: tuple[str, ...]) -> Usage:
        """Return the sums of a schema, or of all, by group."""
        with self._sums.connection() as connection:
            names = [schema] if schema else list(file_tables(connection))
            return usage(*targets_named(names, connection), by=by) if names else Usage(by, (), UsageRow(()))

    def groups(self, schema: str) -> tuple[str, ...]:
        """Return the attributes that the keys of a schema's tables have: what sums can be grouped by."""
        with self._pages.connection() as connection:
            found = file_tables(connection, schema).get(schema, {})
            tables = targets_named([f"{schema}.{name}" for name in found], connection)
            return tuple(sorted({name for table in tables for name in table.primary_key}))


def _table(connection: Any, address: Address) -> Any:
    if not (address.schema and address.table):
        raise LookupError("name a schema and a table")
    (table,) = targets_named([f"{address.schema}.{address.table}"], connection)
    names = file_attributes(table.heading)
    if not names or address.attribute not in ("", *names):
        what = f" {address.attribute!r}{nearest(address.attribute, names)}" if address.attribute else ""
        raise LookupError(f"{address.schema}.{address.table} has no `file` attribute{what}")
    return table


def _restricted(table: Any, attribute: str, chosen: Mapping[str, str]) -> Any:
    given: dict[str, Any] = {word: text for word in WORDS if (text := chosen.get(word, "").strip())}
    given |= {word: _glob(given[word]) for word in ("name", "title") if word in given}
    if (linked := chosen.get("linked", "")) in ("yes", "no"):
        given["linked"] = linked == "yes"
    query = table & where(attribute, **given)
    for name in table.primary_key:
        if text := chosen.get(f"key.{name}", "").strip():
            query &= {name: _key_value(table.heading[name], text)}
    return query


def _key_value(attribute: Any, text: str) -> str:
    """Return the text of a value, which the database compares; MySQL takes one that is no number for 0."""
    if attribute.numeric and not _NUMBER.fullmatch(text):
        raise QueryError(f"{attribute.name} = {brief(text)}: expected a number")
    return text


def _found_again(connection: Any, table: Any, address: Address, key: Key) -> Item:
    listing = Listing(table, (address.attribute or file_attributes(table.heading)[0],))
    _check_length(address, listing, key)
    row = listing.again(key)
    if row is None:
        raise LookupError(f"{address}: there is no such row, or not any more")
    return _item(address.of(listing.names[0]), listing, row, name_of(connection._config))


def _check_length(address: Address, listing: Listing, key: Key | None) -> None:
    if key is not None and len(key) != len(listing.primary_key):
        raise LookupError(f"{address}: a key has {', '.join(listing.primary_key)}")


def _item(address: Address, listing: Listing, row: RawRow, pipeline: str) -> Item:
    values = listing.named(row.key)
    try:
        document = json.loads(row.texts[0] or "null")
        if document is None:
            return Item(address, row.key, values, None, "this row has no file there")
        ref = ref_of(document, pipeline)
        _ = ref.metadata  # what the row says is looked at when it is asked for
    except (MetadataError, ValueError, RecursionError) as error:
        return Item(address, row.key, values, None, f"this row describes no file: {error}")
    return Item(address, row.key, values, ref)


def _hit(connection: Any, found: Found) -> Item:
    schema, _, table = found.table.partition(".")
    address = Address(schema, table, found.attribute)
    rows = Listing(_table(connection, address) & dict(found.key), (found.attribute,)).rows(limit=1)
    key = next((row.key for row in rows), None)
    return Item(address, key, found.key, found.ref, member=found.member)


def _more(count: int) -> list[str]:
    return (
        [f"There are more than {MOST_HITS}: look for less, or filter the files of a table"] if count > MOST_HITS else []
    )


def _glob(text: str) -> str:
    """Return the pattern that people mean: of what has none, any name that it is part of."""
    return text if "*" in text or "?" in text else f"*{text}*"
