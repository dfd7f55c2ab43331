"""Removal of local files that are stored: each only after its row and its stored bytes were asked again.

A receipt says where to ask, and proves nothing: whoever may write beside the files may write receipts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from datajoint.table import Table

from datajoint_file.errors import (
    InvalidKeyError,
    MetadataError,
    ObjectNotFoundError,
    SourceError,
    StorageUnavailableError,
    UnknownProjectError,
    VerificationError,
    brief_traceback,
    printable,
)
from datajoint_file.hooks.codec import file_attributes
from datajoint_file.hooks.connections import connection_of
from datajoint_file.hooks.targets import targets_named
from datajoint_file.intake.local_values import LocalValue, Snapshot
from datajoint_file.intake.receipts import SUFFIX, ImportReceipt, NoReceiptError, read_receipt
from datajoint_file.intake.scan import directory_of
from datajoint_file.intake.stored_rows import StoredRows
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.object_keys import is_candidate
from datajoint_file.model.wording import format_size
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.pipeline.stored_ref import StoredRef
from datajoint_file.storage import open_backend
from datajoint_file.transfer.pinned_directory import PinnedDirectory
from datajoint_file.verification.check_object import Level
from datajoint_file.verification.examine import examine

State = Literal["stored", "freed", "gone", "kept"]
"""``stored`` is what can be removed, ``gone`` what has been before; ``kept`` is what a person must look at."""


@dataclass(frozen=True, slots=True)
class Freed:
    """What has become of a file that has a receipt.

    Parameters
    ----------
    state : {"stored", "freed", "gone", "kept"}
        Whether it can be removed, was removed, is not there, or stays.
    path : str
        The file, below the directory.
    size : int
        Its bytes.
    reason : str
        Where it is stored; or why it stays.
    """

    state: State
    path: str
    size: int
    reason: str

    def __str__(self) -> str:
        return f"{self.state}: {printable(self.path)} ({format_size(self.size)}): {self.reason}"


class _Kept(Exception):
    """A file stays, for a reason."""


@brief_traceback
def free(
    root: str | os.PathLike[str],
    connection: Any = None,
    *,
    level: Level = "content",
    execute: bool = False,
) -> list[Freed]:
    """Remove the local files below a directory whose receipt still holds; return what has become of each.

    As ``datajoint-file free``. A receipt holds if the file is what was inserted (size, time and hash, read now), its
    row names that hash, and the stored bytes are these, as far as *level* looks. Rows and stored bytes are never
    changed. Without *execute* nothing is removed. Links are not followed.

    Parameters
    ----------
    root : path
        The directory.
    connection : datajoint.Connection, or what has one, optional
        The database that is asked; DataJoint's default connection if not given.
    level : {"content", "size", "exists"}
        How closely what is stored is looked at.
    execute : bool
        Whether to remove files; else it is only said which could be.

    Returns
    -------
    list of Freed
        One for each file that has a receipt.

    Raises
    ------
    SourceError
        If the directory cannot be listed.
    DataJointError
        If the database or the store cannot be asked: nothing more is removed then.

    Examples
    --------
    >>> for one in datajoint_file.free("rig3"):  # doctest: +SKIP
    ...     print(one)
    """
    return list(freed(root, connection_of(connection), level=level, execute=execute))


def freed(
    root: str | os.PathLike[str], connection: Any, *, level: Level = "content", execute: bool = False
) -> Iterator[Freed]:
    """Give what `free` returns, each when it is done."""
    path = str(directory_of(root))
    freeing = _Freeing(PinnedDirectory.at(path), connection, level, execute)
    for directory, directories, files in os.walk(path):
        directories.sort()
        below = os.path.relpath(directory, path)
        prefix = "" if below == "." else f"{below}/"
        for name in sorted(files):
            if name.endswith(SUFFIX) and name != SUFFIX:
                yield freeing.free(f"{prefix}{name.removesuffix(SUFFIX)}")


@dataclass(slots=True)
class _Freeing:
    root: PinnedDirectory
    connection: Any
    level: Level
    execute: bool
    tables: dict[tuple[str, str], StoredRows] = field(default_factory=dict)

    def free(self, path: str) -> Freed:
        """Remove a file, if it may be."""
        size = 0
        try:
            value = LocalValue(self.root, path, Path(f"{self.root.real}/{path}").is_dir())
            if self.execute:
                value.put_back()
            snapshot = value.snapshot()
            if snapshot is None:
                return Freed("gone", path, 0, "it is not here")
            size = snapshot.size
            ref = self._proven(value, snapshot)
            if self.execute:
                _settle(ref._pipeline(), ref.metadata)
                value.remove(snapshot)
        except (_Kept, NoReceiptError, SourceError, VerificationError, MetadataError, ObjectNotFoundError) as error:
            return Freed("kept", path, size, str(error))
        return Freed("freed" if self.execute else "stored", path, size, ref.path)

    def _proven(self, value: LocalValue, snapshot: Snapshot) -> StoredRef:
        """Return what a row names, if that is stored, and is what the local file is."""
        receipt = read_receipt(self.root, value.path)
        if (receipt.size, receipt.modified) != (snapshot.size, snapshot.modified):
            raise _Kept(
                "it was changed since it was inserted: `datajoint-file watch` compares it again, and renews its "
                "receipt if it has the same bytes"
            )
        if value.has_writer():
            raise _Kept("somebody has it open for writing")
        rows = self._rows(receipt.table, receipt.attribute)
        ref = self._row_value(rows, receipt)
        _require_own_object(ref, value)
        manifest = rows.manifest(ref)
        different = value.difference(ref.metadata, manifest)
        if different:
            raise _Kept(f"it is not what its row names: {different}")
        problem = examine(rows.pipeline, ref.metadata, self.level, lambda _: None)
        if problem is not None and problem.is_unreachable:
            raise StorageUnavailableError(f"{rows.where(receipt.key)}: {problem.found}; nothing more was removed")
        if problem is not None:
            raise _Kept(f"what is stored is not sound: expected {problem.expected}, found {problem.found}")
        again = self._row_value(rows, receipt)  # that reading may have taken hours
        if again.metadata != ref.metadata:
            raise _Kept("its row was changed while it was looked at")
        return ref

    def _row_value(self, rows: StoredRows, receipt: ImportReceipt) -> StoredRef:
        try:
            if set(receipt.key) != set(rows.table.primary_key):
                raise _Kept("its receipt has no key of its table")
            ref = rows.value(receipt.key)
        except (LookupError, InvalidKeyError) as error:
            raise _Kept(str(error)) from error
        if ref is None or (ref.hash, ref.size) != (receipt.hash, receipt.size):
            raise _Kept(f"{rows.where(receipt.key)} names another file, or none")
        return ref

    def _rows(self, table: str, attribute: str) -> StoredRows:
        known = self.tables.get((table, attribute))
        if known is not None:
            return known
        try:
            (target,) = targets_named([table], self.connection)
        except LookupError as error:
            raise _Kept(f"its receipt names a table that is not there: {error}") from error
        if not isinstance(target, Table) or attribute not in file_attributes(target.heading):
            raise _Kept(f"its receipt names what is no `file` attribute: {printable(f'{table}.{attribute}')}")
        self.tables[table, attribute] = StoredRows(target, attribute)
        return self.tables[table, attribute]


def _settle(pipeline: Pipeline, metadata: FileMetadata) -> None:
    """Have the disk of a store take what is stored, also where an insert leaves that to the system."""
    storage, project = pipeline.settings.places[metadata.project], metadata.project
    if storage.backend == "file":
        flushing = storage.model_copy(update={"durability": "full"})
        open_backend(flushing, project, pipeline.settings.directory).settle(metadata.path)


def _require_own_object(ref: StoredRef, value: LocalValue) -> None:
    """Raise unless the row names an object of the store's own, which is not the local file itself."""
    if ref.linked or not is_candidate(ref.metadata.project, ref.path):  # of a linked directory the list is stored
        raise _Kept("its row names no object that an insert has made: this may be the only copy")
    try:
        stored = Path(ref.full_path)
    except UnknownProjectError as error:
        raise _Kept(str(error)) from error
    local = Path(f"{value.root.real}/{value.path}")
    with suppress(OSError):  # it is in a bucket, or not there, which is found out later
        if stored.samefile(local) or stored.resolve().is_relative_to(local.resolve()):
            raise _Kept("it is the stored object itself, or has it in it")
