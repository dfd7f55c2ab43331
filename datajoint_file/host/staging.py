"""Files stored before their rows are: `stage` uploads now, an insert takes what it returns.

For work that must not keep a transaction open: the ``make_compute`` of a three-part ``make``, workers of a cluster.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from datajoint_file.errors import UnsupportedValueError
from datajoint_file.host.codec import file_attributes
from datajoint_file.host.rows import Row
from datajoint_file.host.staged import Staged
from datajoint_file.host.statement import Statement


def stage(table: Any, key: Mapping[str, Any], attribute: str, source: Any) -> Staged:
    """Store a file before the transaction that inserts its row, and return what to insert.

    The bytes go to the store now; nobody sees them until the row is inserted. Staging the same file for the same row
    again, after a failure or in another process, sends nothing: what is stored is adopted. What is never inserted is
    reclaimed by the collector, at the earliest a day, by default a week after.

    Parameters
    ----------
    table : datajoint.Table
        The table, or its class.
    key : mapping
        The whole primary key of the row; other attributes are ignored.
    attribute : str
        The ``file`` attribute.
    source : path, binary stream, (name, stream), (name, bytes), File or FileRef
        What to store.

    Returns
    -------
    Staged
        A small picklable value that ``insert`` accepts for that attribute of that row.

    Raises
    ------
    UnsupportedValueError
        If *attribute* is no ``file`` attribute of *table*, or *source* no file.
    InvalidKeyError
        If the key is incomplete.
    SourceError, StorageError
        If the source or the store fails; nothing was stored then.

    Examples
    --------
    >>> def make_compute(self, key, recording):
    ...     movie = render(recording)
    ...     return (datajoint_file.stage(self, key, "movie", movie),)
    >>> def make_insert(self, key, movie):
    ...     self.insert1({**key, "movie": movie})
    """
    table = table() if isinstance(table, type) else table
    if attribute not in file_attributes(table.heading):
        raise UnsupportedValueError(
            f"{attribute!r} is no `file` attribute of {table.full_table_name}; it has "
            f"{', '.join(file_attributes(table.heading)) or 'none'}"
        )
    if isinstance(source, Staged) or source is None:
        raise UnsupportedValueError(f"{'nothing' if source is None else 'what is staged already'} cannot be staged")
    values = {name: key[name] for name in table.primary_key if name in key}
    statement = Statement(table, (attribute,))
    with statement.streams_put_back():
        return statement.stage(Row(0, {**values, attribute: source}), attribute)
