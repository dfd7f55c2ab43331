"""Insert with ``on_error="skip"``: rows that fail are left out and reported, all others are inserted.

Rows go together as long as all is well. Where some fail they are halved until those are alone: what is stored by then
is adopted, and not sent again. A row with a stream, which can be read but once, goes by itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from datajoint.errors import AccessError, DuplicateError, LostConnectionError
from datajoint.expression import QueryExpression

from datajoint_file.errors import (
    BucketNotFoundError,
    ConfigurationError,
    ReadOnlyStorageError,
    StorageAccessError,
    StorageUnavailableError,
    UnsupportedValueError,
    WorkerError,
    brief,
)
from datajoint_file.hooks.tables import TableKeys, as_records, read_rows, table_name
from datajoint_file.journal.transactions import has_transaction
from datajoint_file.model.object_keys import key_text
from datajoint_file.model.wording import counted
from datajoint_file.sql import is_lost

_TOGETHER = 200
"""Rows that go in one statement, if nobody says how many."""

_TOLD = 20

_OPTIONS = ("replace", "skip_duplicates", "ignore_extra_fields", "allow_direct_insert", "chunk_size")

_OF_ALL = (
    LostConnectionError,
    AccessError,
    ConfigurationError,
    StorageUnavailableError,
    StorageAccessError,
    BucketNotFoundError,
    ReadOnlyStorageError,
    WorkerError,
)
"""What is wrong with the database, the store or the configuration is wrong for all rows: it is raised as ever."""


@dataclass(frozen=True, slots=True)
class FailedRow:
    """A row that was not inserted, and why.

    Parameters
    ----------
    index : int
        Which of the rows it is, from 0.
    key : dict
        Its primary key, as far as the row gives it.
    error : Exception
        What an insert of this row alone has raised.
    """

    index: int
    key: Mapping[str, Any]
    error: Exception

    def __str__(self) -> str:
        key = key_text((name, str(value)) for name, value in self.key.items())
        return f"row {self.index} ({key}): {type(self.error).__name__}: {self.error}"


@dataclass(frozen=True, slots=True)
class InsertReport:
    """What ``insert(…, on_error="skip")`` has done. True if no row failed.

    Parameters
    ----------
    inserted : tuple of dict
        The primary keys of the rows that this insert has inserted.
    present : tuple of dict
        Those that were there already, or are earlier among the rows, and were left out by ``skip_duplicates=True``.
    failed : tuple of FailedRow
        The others: also those of a new primary key that another unique index has refused.
    """

    inserted: tuple[Mapping[str, Any], ...] = ()
    present: tuple[Mapping[str, Any], ...] = ()
    failed: tuple[FailedRow, ...] = ()

    def __bool__(self) -> bool:
        return not self.failed

    def __str__(self) -> str:
        there = f", {len(self.present)} there already" if self.present else ""
        lines = [f"{counted(len(self.inserted), 'row')} inserted{there}, {len(self.failed)} failed"]
        lines += [f"  {one}" for one in self.failed[:_TOLD]]
        return "\n".join([*lines, *([f"  and {len(self.failed) - _TOLD} more"] if len(self.failed) > _TOLD else [])])


def insert_skipping(original: Callable[..., None], table: Any, rows: Any, *args: Any, **options: Any) -> InsertReport:
    """Insert those of *rows* that can be, by DataJoint's own insert, and report the others.

    Raises
    ------
    UnsupportedValueError
        If a transaction is open, of which a statement that fails could end a part or all; or if *rows* is a query.
    StorageError, LostConnectionError, ConfigurationError
        If what fails is not a row: rows that were inserted before stay, as with ``chunk_size``.
    """
    name = table_name(table)
    if has_transaction(table.connection):
        raise UnsupportedValueError(
            f'{name}: on_error="skip" is not for transactions, in which all is done or nothing: PostgreSQL ends one '
            "when a row fails. Insert outside of it, or leave on_error out; nothing was inserted"
        )
    if isinstance(rows, QueryExpression) or (isinstance(rows, type) and issubclass(rows, QueryExpression)):
        raise UnsupportedValueError(f'{name}: the rows of a query are one statement; on_error="skip" is for other rows')
    options = {**dict(zip(_OPTIONS, args, strict=False)), **options}
    together = options.pop("chunk_size", None) or _TOGETHER
    skips = bool(options.pop("skip_duplicates", False))  # as is found here: a database that drops rows tells of none
    skipping = _Skipping(table, partial(original, table, **options), skips=skips)
    skipping.insert(_listed(rows), together)
    return skipping.report()


def check_policy(on_error: object) -> None:
    """Raise `ValueError` if *on_error* says neither that rows which fail are raised nor that they are left out."""
    if on_error not in ("raise", "skip"):
        raise ValueError(f'on_error = {brief(on_error)}: allowed are "raise" and "skip"')


Numbered = tuple[int, Any]
"""A row and which it is."""


class _Skipping:
    def __init__(self, table: Any, insert: Callable[[list[Any]], None], *, skips: bool) -> None:
        self._table = table
        self._insert = insert
        self._skips = skips
        self._keys = TableKeys(table, table_name(table))
        self._inserted: list[Mapping[str, Any]] = []
        self._present: list[Mapping[str, Any]] = []
        self._failed: list[FailedRow] = []

    def report(self) -> InsertReport:
        return InsertReport(
            tuple(self._inserted), tuple(self._present), tuple(sorted(self._failed, key=lambda one: one.index))
        )

    def insert(self, rows: Sequence[Any], together: int) -> None:
        """Insert all of *rows* in their order, so many at a time."""
        waiting: list[Numbered] = []
        for numbered in enumerate(rows):
            is_alone = not _can_be_repeated(numbered[1])
            if waiting and (is_alone or len(waiting) >= together):
                self._try(waiting)
                waiting = []
            waiting.append(numbered)
            if is_alone:
                self._try(waiting)
                waiting = []
        if waiting:
            self._try(waiting)

    def _try(self, rows: list[Numbered]) -> None:
        """Insert rows as one statement, or, if that fails, both halves of them."""
        driver = self._table.connection._conn
        try:
            left = self._without_present(rows)
            if left:
                self._insert([row for _, row in left])
        except Exception as error:
            if isinstance(error, _OF_ALL) or is_lost(error, driver):
                raise
            if len(rows) > 1:
                middle = len(rows) // 2
                self._try(rows[:middle])
                self._try(rows[middle:])
            else:
                self._leave_out(*rows[0], error)
            return
        taken = {index for index, _ in left}
        self._inserted += [self._key(row) for _, row in left]
        self._present += [self._key(row) for index, row in rows if index not in taken]

    def _leave_out(self, index: int, row: Any, error: Exception) -> None:
        """Note that a row failed; or that it is there by now, for somebody else has inserted it meanwhile."""
        if self._skips and isinstance(error, DuplicateError) and not self._without_present([(index, row)]):
            self._present.append(self._key(row))
        else:
            self._failed.append(FailedRow(index, self._key(row), error))

    def _without_present(self, rows: list[Numbered]) -> list[Numbered]:
        if not self._skips:
            return rows
        left = self._keys.without_existing(read_rows(self._table.heading, [row for _, row in rows]))
        return [rows[one.index] for one in left]

    def _key(self, row: Any) -> Mapping[str, Any]:
        """Return the primary key of a row, as far as it gives one."""
        try:
            (read,) = read_rows(self._table.heading, [row])
        except Exception:  # noqa: BLE001 - it is no row: that is the error to be told
            return {}
        return {name: read.values[name] for name in self._table.primary_key if name in read.values}


def _listed(rows: Any) -> list[Any]:
    """Return rows in whatever form DataJoint takes them as a list."""
    for convert in ("to_dicts", "to_pylist"):  # of Polars, of Arrow
        if callable(getattr(rows, convert, None)):
            return list(getattr(rows, convert)())
    return list(as_records(rows))


def _can_be_repeated(row: Any) -> bool:
    """Tell whether no value of a row is a stream, or may hold one."""
    if not isinstance(row, Mapping):
        return not isinstance(row, Sequence) or all(map(_is_plain, row))
    return all(map(_is_plain, row.values()))


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple) and len(value) == 2:
        value = value[1]
    return isinstance(value, os.PathLike) or not callable(getattr(getattr(value, "content", value), "read", None))
