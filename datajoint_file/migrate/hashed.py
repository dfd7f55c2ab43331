"""Kinds of attributes whose bytes DataJoint keeps in the table, or in a store by their MD5: attach, blob and hash."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from datajoint import blob

from datajoint_file.errors import MetadataError, SourceChangedError, UnsupportedValueError
from datajoint_file.formats.registry import format_of
from datajoint_file.migrate.dj_stores import DataJointStoreReader, DataJointStores
from datajoint_file.migrate.originals import CheckedReader, OldValue, Original, remains_of
from datajoint_file.migrate.row_values import document, number_in, store_in, text_in
from datajoint_file.model import media_types
from datajoint_file.model.media_types import HEAD_SIZE
from datajoint_file.transfer.links import Elsewhere

HEAD_BYTES = 1_100
"""So many of the first bytes hold the longest name that an attachment can have, and its end."""


@dataclass(frozen=True, slots=True)
class FoundBytes:
    """The bytes of one value, in the table or in a store."""

    place: str
    size: int | None
    head: Callable[[], bytes]
    content: Callable[[], bytes]
    file: Callable[[str, bytes], Elsewhere]  # under a name, but for bytes that are skipped
    address: Callable[[Any], str] = lambda _: ""  # as of `Original`, of all bytes


def found_in(store: DataJointStoreReader, path: str, size: int | None, md5: str) -> FoundBytes:
    """Return the bytes at a path of a store, which are to have a size and an MD5, if these are known."""
    found = store.size(path)
    if size is not None and found != size:
        raise SourceChangedError(f"{store.place(path)} should have {size} bytes, and has {found}")
    return FoundBytes(
        store.place(path),
        found,
        lambda: store.head(path, HEAD_BYTES),
        lambda: store.content(path, found, md5),
        lambda name, skipped: store.file(path, name, skipped=skipped, size=found, md5=md5),
        lambda storage: store.address_in(storage, path),
    )


@dataclass(frozen=True, slots=True)
class HashedKind:
    """What the three have in common: a row has the bytes, or says in which store they are."""

    title: str
    attribute: str
    store: str | None  # None if they are in the table
    stores: DataJointStores

    @property
    def remains(self) -> str:
        """What becomes of the old bytes when the attribute is dropped."""
        return "what the database held is gone with it" if self.store is None else remains_of(self.title)

    def found(self, old: OldValue) -> FoundBytes:
        """Return the bytes of a value."""
        if self.store is None:
            return self._in_table(old)
        row = document(old, self.title)
        path, size, md5 = text_in(row, "path"), number_in(row, "size"), str(row.get("hash") or "")
        return found_in(self.stores.named(store_in(row, self.store)), path, size, md5)

    def _in_table(self, old: OldValue) -> FoundBytes:
        def file(name: str, skipped: bytes) -> Elsewhere:
            size = old.size - len(skipped)

            def opened() -> Any:
                reader = io.BytesIO(old.content()[len(skipped) :])
                return nullcontext(CheckedReader(reader, "what the row holds", size, ""))

            return Elsewhere(name, opened, size)

        return FoundBytes("what the row holds", old.size, lambda: old.head, old.content, file)


class AttachKind(HashedKind):
    """``<attach>`` and ``<attach@store>``: a name, a zero, and the bytes of the file."""

    def original(self, old: OldValue) -> Original:
        """Return the file behind the name."""
        found = self.found(old)
        name, zero, _ = found.head().partition(b"\0")
        if not zero:
            raise MetadataError(f"{found.place} is no attachment: it does not begin with a name")
        try:
            text = name.decode("utf-8")
        except ValueError as error:
            raise MetadataError(f"{found.place} is no attachment: {error}") from error
        return Original(found.file(text, name + zero), place=found.place)


class HashKind(HashedKind):
    """``<hash@store>``: bytes without a name."""

    def original(self, old: OldValue) -> Original:
        """Return the bytes, under the attribute's name, with the suffix of what they look like."""
        found = self.found(old)
        suffix = media_types.suffix_for(media_types.of_content(found.head()[:HEAD_SIZE]))
        return Original(found.file(f"{self.attribute}{suffix}", b""), place=found.place, address=found.address)


@dataclass(frozen=True, slots=True)
class BlobKind(HashedKind):
    """``<blob>`` and ``<blob@store>``: what DataJoint has made of an object, as it is, or in a format of files."""

    suffix: str = ""

    def original(self, old: OldValue) -> Original:
        """Return the bytes as they are; or the object in them, if a suffix is chosen."""
        found = self.found(old)
        if not self.suffix:
            return Original(found.file(f"{self.attribute}.blob", b""), place=found.place, address=found.address)
        try:
            content = blob.unpack(found.content(), squeeze=False)
        except Exception as error:
            if isinstance(error, SourceChangedError):
                raise
            raise MetadataError(f"{found.place} is no blob of DataJoint's: {error}") from error
        return Original((f"{self.attribute}{self.suffix}", content), place=found.place)


def checked_suffix(suffix: str) -> str:
    """Return the suffix of a format that objects are written in; raise `UnsupportedValueError` if there is none."""
    found = format_of(f"x{suffix}")
    if not suffix.startswith(".") or found is None or found.save is None:
        raise UnsupportedValueError(f"suffix = {suffix!r}: give that of a format of files, such as '.npy', '.parquet'")
    return suffix
