"""Codec ``<file>``: what DataJoint calls to write a value into a row and to read it back.

Thin: bytes are stored before DataJoint's own insert begins (`statement`), the codec only passes their metadata on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import datajoint as dj

from datajoint_file.config import binding_of
from datajoint_file.errors import DeclarationError
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.pipeline.directoryref import DirectoryRef, ref_of
from datajoint_file.pipeline.fileref import FileRef
from datajoint_file.pipeline.stored_ref import StoredRef


@dataclass(frozen=True, slots=True)
class Ingested:
    """A value whose bytes are in the store. Only `statement` makes one; a user's dict is never taken for it."""

    metadata: FileMetadata


class Checked(dict):  # type: ignore[type-arg]
    """Stands for a value that has been found acceptable, where DataJoint goes on to serialise it as JSON."""


class FileCodec(dj.Codec):
    """The ``file`` attribute: a JSON column that describes a stored file.

    Declared as ``file`` once ``datajoint_file`` has been imported, and as ``<file>`` always.
    """

    name = "file"

    def get_dtype(self, is_store: bool) -> str:
        """Return the column's type.

        Raises
        ------
        DeclarationError
            If a store is named: storage belongs to the pipeline.
        """
        if is_store:
            raise DeclarationError("<file@…>: storage belongs to the pipeline (datajoint.toml); declare `file`")
        return "json"

    def validate(self, value: Any) -> None:
        """Raise unless *value* could be stored. Looks at the path of a file; reads nothing."""
        if not isinstance(value, Ingested | Checked):
            from datajoint_file.formats.objects import object_in  # for its cost: programs that only read need none
            from datajoint_file.transfer.sources import as_source

            if object_in(value, "file", dict) is None:
                as_source(value)

    def encode(
        self,
        value: Any,
        *,
        key: dict[str, Any] | None = None,
        context: dict[str, Any] | None = None,
        store_name: str | None = None,
    ) -> dict[str, Any]:
        """Return the row's JSON of a value that has been stored; store it first if the hooks came too late for it."""
        if isinstance(value, Ingested):
            return value.metadata.to_json()
        from datajoint_file.hooks import unhooked  # for its cost, as it is hardly ever needed

        return unhooked.store(value, key, context).to_json()

    def decode(
        self, stored: Any, *, key: dict[str, Any] | None = None, context: dict[str, Any] | None = None
    ) -> FileRef | DirectoryRef | None:
        """Return the reference for a row's JSON, which is checked when it is used. No I/O.

        Called once for each row of a fetch: what is done here is what a hundred thousand rows wait for.
        """
        if stored is None:
            return None
        config = context.get("config") if context else None
        return ref_of(stored, "" if config is None else binding_of(config).name)

    def referenced_paths(self, stored: Any) -> list[tuple[str, str | None]]:
        """Return nothing: no object of this package lies in a store of DataJoint."""
        return []

    def to_spark(self, decoded: StoredRef | None, *, key: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """Return plain values for Spark. No I/O."""
        return None if decoded is None else decoded.to_dict()


def file_attributes(heading: Any) -> tuple[str, ...]:
    """Return the names of a heading's ``file`` attributes."""
    return tuple(name for name, attribute in heading.attributes.items() if is_file(attribute))


def is_file(attribute: Any) -> bool:
    """Tell whether an attribute of a heading, or none, is a ``file``."""
    return attribute is not None and isinstance(attribute.codec, FileCodec)
