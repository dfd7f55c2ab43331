"""Kinds of attributes that DataJoint before version 2 keeps in a store: a row has 16 bytes, a hidden table the rest.

That is the table ``~external_STORE`` of the schema. DataJoint 2 reads neither. What the bytes are, and where
an object is, follows `datajoint.external` of version 0.14.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

from datajoint_file.errors import MetadataError, SourceNotFoundError, UnsupportedValueError, brief
from datajoint_file.journal.second_connection import second_connection_of
from datajoint_file.migrate.dj_stores import DataJointStoreReader, DataJointStores
from datajoint_file.migrate.hashed import BlobKind, FoundBytes, found_in
from datajoint_file.migrate.originals import REMAINS, OldValue, Original, dj_hash
from datajoint_file.migrate.row_values import document
from datajoint_file.sql import dialect_of

HIDDEN = "~external_"
"""What the names of the hidden tables begin with."""

_FOLDERS = (2, 2)
"""How many letters the names of folders have, where a store's configuration does not say so."""


@dataclass(frozen=True, slots=True)
class Tracked:
    """What the hidden table says of an object."""

    uuid: UUID  # the MD5 of its bytes; of an attachment, of its name, a zero and these; of a ``filepath``, of its path
    size: int
    name: str  # of an attachment
    path: str  # in the store, if people have put it there, or version 0.11 has
    content: UUID | None  # the MD5 of what is at the path

    @property
    def content_md5(self) -> str:
        """The MD5 of what is at the path, if it is known."""
        return dj_hash(self.content.bytes) if self.content else ""


@dataclass(frozen=True, slots=True)
class ExternalTable:
    """The hidden table of a schema for one store."""

    connection: Any
    database: str
    store: str

    def require(self, title: str) -> None:
        """Raise `UnsupportedValueError` unless it is a table, which runs nothing with the rights of who looks."""
        second = second_connection_of(self.connection)
        if not dialect_of(self.connection).tables_named(second.query, [f"{HIDDEN}{self.store}"], self.database):
            raise UnsupportedValueError(
                f"{title}: {self.database} has no table {HIDDEN}{self.store}, which says where its bytes are"
            )

    @property
    def remains(self) -> str:
        """What becomes of its objects when an attribute that named them is dropped."""
        return (
            f"the bytes are where they were, and {HIDDEN}{self.store} lists them: DataJoint 0.14 removes those that "
            f"no row refers to, by schema.external['{self.store}'].delete(delete_external_files=True)"
        )

    def tracked(self, old: OldValue, title: str) -> Tracked:
        """Return what there is to say of a value. Safe to call from several threads.

        Raises
        ------
        MetadataError
            If the value is no UUID, or the table does not know it, or has of it what DataJoint never writes.
        """
        uuid = _uuid(old, title)
        quoted = dialect_of(self.connection).quoted
        table = f"{quoted(self.database)}.{quoted(f'{HIDDEN}{self.store}')}".replace("%", "%%")
        sql = f"SELECT size, attachment_name, filepath, contents_hash FROM {table} WHERE hash = %s"
        found: Sequence[Any] = second_connection_of(self.connection).query(sql, (uuid.bytes,))
        if not found:
            raise MetadataError(f"{HIDDEN}{self.store} has no object {uuid.hex}, which the row names")
        size, name, path, content = found[0]
        try:
            known = UUID(bytes=bytes(content)) if content else None
            return Tracked(uuid, int(size), str(name or ""), str(path or ""), known)
        except (TypeError, ValueError) as error:
            raise MetadataError(f"{HIDDEN}{self.store} says of the object {uuid.hex} what is not understood") from error


def _uuid(old: OldValue, title: str) -> UUID:
    try:
        if old.text is None:
            return UUID(bytes=old.head)
        return UUID(hex=str(document(old, title)["hash"]))  # what DataJoint's `migrate_external` makes of it
    except (LookupError, ValueError) as error:
        raise MetadataError(f"{brief(old.text or old.head)} is not what {title} writes") from error


def _object_path(table: ExternalTable, store: DataJointStoreReader, tracked: Tracked) -> str:
    """Return where a blob or an attachment is."""
    letters, folders = tracked.uuid.hex, list[str]()
    for count in store.folders or _FOLDERS:
        folders.append(letters[:count])
        letters = letters[count:]
    ending = f".{tracked.name}" if tracked.name else ""
    return "/".join([table.database, *folders, f"{tracked.uuid.hex}{ending}"])


@dataclass(frozen=True, slots=True)
class ExternalFileKind:
    """``attach@store`` and ``filepath@store``: files, with their names."""

    title: str
    table: ExternalTable
    stores: DataJointStores
    is_filepath: bool

    @property
    def remains(self) -> str:
        """What becomes of the old bytes when the attribute is dropped."""
        return REMAINS if self.is_filepath else self.table.remains

    def original(self, old: OldValue) -> Original:
        """Return the file."""
        tracked, store = self.table.tracked(old, self.title), self.stores.named(self.table.store)
        if self.is_filepath:
            path, name, head = tracked.path, PurePosixPath(tracked.path).name, b""
            md5 = tracked.content_md5
        else:
            path, name = _object_path(self.table, store, tracked), tracked.name
            md5, head = dj_hash(tracked.uuid.bytes), f"{name}\0".encode()
        if not name:
            raise MetadataError(f"{HIDDEN}{self.table.store} has no name for the object {tracked.uuid.hex}")
        found = found_in(store, path, tracked.size, md5)
        return Original(
            store.file(path, name, size=tracked.size, md5=md5, head=head),
            store.full_path(path) if self.is_filepath and store.is_local else "",
            found.place,
            found.address,
        )


@dataclass(frozen=True, slots=True)
class ExternalBlobKind(BlobKind):
    """``blob@store``: what DataJoint has made of an object."""

    table: ExternalTable = field(kw_only=True)

    @property
    def remains(self) -> str:
        """What becomes of the old bytes when the attribute is dropped."""
        return self.table.remains

    def found(self, old: OldValue) -> FoundBytes:
        """Return the bytes of a value."""
        tracked, store = self.table.tracked(old, self.title), self.stores.named(self.table.store)
        try:
            path = _object_path(self.table, store, tracked)
            return found_in(store, path, tracked.size, dj_hash(tracked.uuid.bytes))
        except SourceNotFoundError:
            if not tracked.path:
                raise
            return found_in(store, tracked.path, tracked.size, tracked.content_md5)
