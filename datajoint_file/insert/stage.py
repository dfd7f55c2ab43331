"""`stage`: files stored before their rows are; an insert takes what it returns.

For work that must not keep a transaction open: the ``make_compute`` of a three-part ``make``, workers of a cluster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, overload

from datajoint_file.concurrency.executors import check_executor
from datajoint_file.concurrency.threads import check_workers
from datajoint_file.errors import UnsupportedValueError, brief, brief_traceback
from datajoint_file.hooks.codec import file_attributes
from datajoint_file.hooks.tables import Row, table_name
from datajoint_file.insert.staged import Staged
from datajoint_file.insert.statement import Statement


@overload
def stage(
    table: Any,
    key: Mapping[str, Any],
    attribute: str,
    source: Any,
    *,
    workers: int | None = None,
    executor: Executor | None = None,
) -> Staged: ...


@overload
def stage(
    table: Any,
    key: Sequence[Mapping[str, Any]],
    attribute: str,
    source: Sequence[Any],
    *,
    workers: int | None = None,
    executor: Executor | None = None,
) -> list[Staged]: ...


@brief_traceback
def stage(
    table: Any,
    key: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    attribute: str,
    source: Any,
    *,
    workers: int | None = None,
    executor: Executor | None = None,
) -> Staged | list[Staged]:
    """Store a file before the transaction that inserts its row, and return what to insert; or many files at once.

    The bytes go to the store now; nobody sees them until the row is inserted. Staging the same file for the same row
    again, after a failure or in another process, sends nothing: what is stored is adopted. What is never inserted is
    reclaimed by the collector, at the earliest a day, by default a week after.

    Parameters
    ----------
    table : datajoint.Table
        The table, or its class.
    key : mapping, or sequence of mappings
        The whole primary key of the row; other attributes are ignored. For many files the keys of their rows.
    attribute : str
        The ``file`` attribute.
    source : whatever an insert takes for a ``file`` attribute, or sequence of these
        What to store. For many files as many as there are keys.
    workers : int, optional
        Files to send at a time, of many; what suits the store, if not given.
    executor : concurrent.futures.Executor, optional
        Whose workers send the bytes, in other processes or on other machines: ``client.get_executor()`` of Dask, a
        `ProcessPoolExecutor`, … They read the same paths, and their own configuration of the pipeline, and never the
        database; streams cannot be sent to them. It is not shut down.

    Returns
    -------
    Staged, or list of Staged
        A small picklable value that ``insert`` accepts for that attribute of that row; for many files a list in the
        order of the keys.

    Raises
    ------
    UnsupportedValueError
        If *attribute* is no ``file`` attribute of *table*, or *source* no file.
    InvalidKeyError
        If the key is incomplete.
    SourceError, StorageError
        If the source or the store fails; nothing was stored then. Of many files some may be stored, as the error says:
        staging them again sends only the others.
    QuotaExceededError
        If ``[quota]`` leaves no room.
    WorkerError
        If a worker of the executor died. What is stored is adopted when they are staged again.
    ConfigurationError
        If a worker has no configuration of the pipeline, or one with another store.

    Examples
    --------
    >>> def make_compute(self, key, recording):
    ...     movie = render(recording)
    ...     return (datajoint_file.stage(self, key, "movie", movie),)
    >>> def make_insert(self, key, movie):
    ...     self.insert1({**key, "movie": movie})
    """
    table = table() if isinstance(table, type) else table
    check_attribute(table, attribute)
    check_workers(workers)
    if executor is not None:
        check_executor(executor)
    pairs = [(key, source)] if isinstance(key, Mapping) else _pairs(key, source)
    rows = [row_of(table, attribute, index, *pair) for index, pair in enumerate(pairs)]
    statement = Statement(table, (attribute,))
    with statement.sources_kept():
        staged = statement.stage(rows, workers=workers, executor=executor) if rows else []
    return staged[0] if isinstance(key, Mapping) else staged


def row_of(table: Any, attribute: str, index: int, key: Mapping[str, Any], value: Any) -> Row:
    """Return the row of a key, with a value that is going to be stored for it."""
    if value is None or isinstance(value, Staged):
        what = "nothing" if value is None else "what is staged already"
        raise UnsupportedValueError(f"row {index}: {what} cannot be staged; nothing was stored")
    return Row(index, {**{name: key[name] for name in table.primary_key if name in key}, attribute: value})


def check_attribute(table: Any, attribute: str) -> None:
    """Raise unless *attribute* is a ``file`` attribute of *table*."""
    if attribute not in file_attributes(table.heading):
        raise UnsupportedValueError(
            f"{attribute!r} is no `file` attribute of {table_name(table)}; it has "
            f"{', '.join(file_attributes(table.heading)) or 'none'}"
        )


def _pairs(keys: Any, sources: Any) -> list[tuple[Mapping[str, Any], Any]]:
    """Return each key with its source."""
    if isinstance(sources, str | bytes | Mapping) or hasattr(sources, "read") or not hasattr(sources, "__iter__"):
        raise UnsupportedValueError(f"source = {brief(sources)}: for many keys give as many sources, in a list")
    listed_keys, listed_sources = list(keys), list(sources)
    if len(listed_keys) != len(listed_sources):
        raise ValueError(f"{len(listed_keys)} keys and {len(listed_sources)} sources: give one source for each key")
    for index, key in enumerate(listed_keys):
        if not isinstance(key, Mapping):
            raise UnsupportedValueError(f"key {index} is {brief(key)}: give the primary key of a row as a dictionary")
    return list(zip(listed_keys, listed_sources, strict=True))
