"""`create`: a directory that is written straight into the store, by zarr, by workers, or by programs that know paths.

How its files are written is the business of `pipeline.new_directory`, how it ends that of `pipeline.new_tree`.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from datajoint_file.errors import EmptyDirectoryWarning, StorageError, UnsupportedValueError, printable, warn
from datajoint_file.hooks.connections import name_of
from datajoint_file.hooks.tables import Row
from datajoint_file.insert.stage import check_attribute, row_of
from datajoint_file.insert.staged import Staged
from datajoint_file.insert.statement import Statement
from datajoint_file.insert.uploads import Uploads
from datajoint_file.journal.journal import LEASE_SECONDS
from datajoint_file.pipeline.fence import Fence
from datajoint_file.pipeline.mirroring import store_in_mirror
from datajoint_file.pipeline.new_directory import NewDirectoryFileSystem
from datajoint_file.pipeline.new_tree import LocalArea, NewTree, finished
from datajoint_file.pipeline.written import begin_record, end_record

logger = logging.getLogger(__name__)


class NewDirectory:
    """A directory that is being made. Made by `create`; its value is there when the block has ended."""

    def __init__(self, uploads: Uploads, pipeline: str) -> None:
        self._key = uploads.planned[0][1].key
        self._uploads = uploads
        self._pipeline = pipeline
        self._value: Staged | None = None
        self._process = os.getpid()
        self._area = LocalArea(uploads.pipeline, self._key)
        self._record = begin_record(self._key)

    @property
    def fs(self) -> NewDirectoryFileSystem:
        """Its files as an fsspec filesystem, to read and to write; picklable, so that workers can write as well.

        No I/O; what is written through it is in the store when the call returns.
        """
        return NewDirectoryFileSystem(self._key, self._pipeline)

    @property
    def fsmap(self) -> Any:
        """Its files as a mapping of paths to bytes, as zarr and xarray take it. No I/O."""
        return self.fs.get_mapper("")

    @property
    def path(self) -> Path:
        """A directory of this machine, for programs that know only paths; its files are stored when the block ends.

        It is made when it is first asked for. Children made by fork have the same one. It goes with the block; if its
        end fails, it stays, and the error says where.
        """
        return self._area.path

    def open(self, path: str, mode: str = "wb", **options: Any) -> Any:
        """Open a file of it, to write (``"wb"``, ``"xb"``, ``"ab"``), or read, or as text (``"w"``, …).

        It is stored when it is closed; not if its ``with`` block raises. Until then it is in memory, up to 16 MiB, and
        in a temporary file beyond. Raises, and takes options of text, as the built-in ``open`` does.
        """
        return self.fs.open(path, mode, **options)

    @property
    def value(self) -> Staged:
        """What to insert, once the block has ended.

        Raises
        ------
        UnsupportedValueError
            If it has not, or by an error.
        """
        if self._value is None:
            raise UnsupportedValueError(
                "the directory is not complete: its value is there when the block has ended well"
            )
        return self._value

    def _end(self, statement: Statement, row: Row) -> None:
        """Store what is in the directory of this machine, and the manifest; *row* is what it is for."""
        if os.getpid() != self._process:
            raise UnsupportedValueError(
                "the block of datajoint_file.create was left by a child that was forked within it: the process that "
                "began it ends it. Leave the child by os._exit"
            )
        (entry, upload), entries = self._uploads.planned[0], self._uploads.entries
        with self._area.kept(upload.name):
            self._record.stop()
            self._record.require_closed()
            metadata = finished(self._uploads.pipeline, upload, self._area, self._record)
            statement.check_quotas(row, metadata.size)
            store_in_mirror(self._uploads.pipeline, [metadata])
            entry.metadata = metadata
            entries.end_uploads()
        write = entries.write_of(entry)
        self._value = Staged(entry.metadata, statement.name, statement.attributes[0], entry.intent.key_digest, write)

    def _close(self) -> None:
        """Give up what is not complete. A child that was forked has nothing to give up."""
        if os.getpid() != self._process:
            return
        end_record(self._key)
        if self._value is None:
            fence = Fence(self._uploads.pipeline, self._key)
            with suppress(StorageError):  # workers do not hear of it then, and work for the collector
                fence.close()
            with suppress(Exception):  # it stays as something unknown, that is empty
                if not self._uploads.entries.are_held():  # the collector does not come again
                    fence.remove()
        self._area.remove()


@contextmanager
def create(
    table: Any, key: Mapping[str, Any], attribute: str, name: str, *, title: str | None = None
) -> Iterator[NewDirectory]:
    """Make a directory in the store, without a local copy, and return what to insert.

    What is written goes to the store at once, and can be written again until the block ends. Then each file is known
    by its hash, and ``new.value`` is what `stage` would have returned: insert it, within a week or so. A block that
    raises, or a process that dies, leaves what it has written to the collector. Let the block wait for its workers: who
    writes when its end has begun gets an error.

    Parameters
    ----------
    table : datajoint.Table
        The table, or its class.
    key : mapping
        The whole primary key of the row; other attributes are ignored.
    attribute : str
        The ``file`` attribute.
    name : str
        The directory's original name, such as ``"movie.zarr"``.
    title : str or None
        What people call it, as of a `Directory`.

    Yields
    ------
    NewDirectory
        With ``fsmap`` and ``fs`` to write with zarr, xarray, Dask; ``open(path, "wb")``; and ``path``, a directory for
        programs that know only paths. ``value`` after the block.

    Raises
    ------
    UnsupportedValueError
        If *attribute* is no ``file`` attribute of *table*; at the end, if a file was opened to be written by this
        process and not closed.
    WorkerError
        At the end, if a worker or a thread that was writing a file again, or removing one, has not finished.
    InvalidKeyError
        If the key is incomplete.
    UnsafeNameError
        If *name* could not be stored, or a file is called so.
    QuotaExceededError
        At the end, if a quota leaves no room for what was written. It goes to the collector.
    StorageError
        If the store fails; at the end also if a file has gone that nobody has removed by `NewDirectory.fs`.

    Warns
    -----
    EmptyDirectoryWarning
        If the block has written no file.

    Examples
    --------
    >>> with datajoint_file.create(Movie, key, "frames", "movie.zarr") as new:  # doctest: +SKIP
    ...     array = zarr.create_array(new.fsmap, shape=(1000, 512, 512), chunks=(10, 512, 512), dtype="uint16")
    ...     array[:] = frames
    >>> Movie.insert1({**key, "frames": new.value})  # doctest: +SKIP
    """
    table = table() if isinstance(table, type) else table
    check_attribute(table, attribute)
    statement = Statement(table, (attribute,))
    row = row_of(table, attribute, 0, key, NewTree(name, title))
    uploads = statement.begin(row)
    new = NewDirectory(uploads, name_of(table.connection._config))
    try:
        Fence(uploads.pipeline, new._key).begin()
        with _renewed(uploads):
            yield new
            new._end(statement, row)
        if not new.value.metadata.files:
            warn(
                f"{statement.cell(row, attribute)}: no file was written into {printable(name)}, so its value is an "
                "empty directory. Write by new.fs, new.fsmap, new.open or new.path within the block, or insert nothing",
                EmptyDirectoryWarning,
            )
    finally:
        new._close()


@contextmanager
def _renewed(uploads: Uploads) -> Iterator[None]:
    """Keep the lease while the block is at work, in a thread: what that does is not ours."""
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(LEASE_SECONDS / 6):
            try:
                uploads.entries.renew()
            except Exception:
                logger.warning("the lease of a new directory could not be renewed; trying again", exc_info=True)

    thread = threading.Thread(target=renew, name="datajoint-file lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
