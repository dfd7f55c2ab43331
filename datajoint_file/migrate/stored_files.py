"""Kinds of attributes that name files and folders of a DataJoint store: filepath, object and npy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from datajoint_file.errors import SourceChangedError
from datajoint_file.migrate.dj_stores import DataJointStoreReader, DataJointStores
from datajoint_file.migrate.originals import REMAINS, OldValue, Original, remains_of
from datajoint_file.migrate.row_values import document, number_in, store_in, text_in
from datajoint_file.transfer.directories import Directory
from datajoint_file.transfer.sources import File, as_source


@dataclass(frozen=True, slots=True)
class StoredKind:
    """A row says in which store a file or folder is, and how large it was."""

    title: str
    attribute: str
    store: str | None
    stores: DataJointStores
    suffix: str = ""  # of files whose row names none
    is_filepath: bool = False  # files that people have put there, and named

    @property
    def remains(self) -> str:
        """What becomes of the old bytes when the attribute is dropped."""
        return REMAINS if self.is_filepath else remains_of(self.title)

    def original(self, old: OldValue) -> Original:
        """Return the file or folder."""
        row = document(old, self.title)
        path, size = text_in(row, "path"), number_in(row, "size")
        store = self.stores.named(store_in(row, self.store), is_filepath=self.is_filepath)
        found = store.size(path)
        if row.get("is_dir") or found is None:
            return self._directory(store, path, size, number_in(row, "item_count"))
        ext = row.get("ext")
        name = f"{self.attribute}{ext if isinstance(ext, str) else self.suffix}"
        if self.is_filepath:
            name = PurePosixPath(path).name
        if size is not None and found != size:
            raise SourceChangedError(f"{store.place(path)} should have {size} bytes, and has {found}")
        if store.is_local:
            full = store.full_path(path)
            return Original(File(full, name=name), full, store.place(path))
        file = store.file(path, name, size=found)
        return Original(file, place=store.place(path), address=lambda storage: store.address_in(storage, path))

    def _directory(self, store: DataJointStoreReader, path: str, size: int | None, count: int | None) -> Original:
        name = PurePosixPath(path).name if self.is_filepath else self.attribute
        if store.is_local:
            full = store.full_path(path)
            original = Original(Directory(full, name=name), full, store.place(path))
            listing = as_source(original.value).listed().tree.listing  # type: ignore[union-attr]
        else:
            directory = store.directory(path, name)
            original = Original(
                directory, place=store.place(path), address=lambda storage: store.address_in(storage, path)
            )
            listing = directory.listing
        there = listing.size, len(listing.names)
        said = there[0] if size is None else size, there[1] if count is None else count
        if there != said:
            raise SourceChangedError(
                f"{store.place(path)} should have {said[1]} files of {said[0]} bytes, and has {there[1]} of {there[0]}"
            )
        return original
