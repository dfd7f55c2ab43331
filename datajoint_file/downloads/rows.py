"""Rows of a query, and where their files go when they are brought here.

How rows are listed is told in `row_listing`; who brings the files, in `download` and `prefetch`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from datajoint_file.downloads.tasks import Layout, Targets, Wanted, path_below
from datajoint_file.errors import (
    DataJointFileError,
    MetadataError,
    UnsafeNameError,
    UnsupportedValueError,
    brief,
    printable,
)
from datajoint_file.hooks.codec import file_attributes
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.hooks.row_listing import Listing, RawRow, query_of
from datajoint_file.hooks.tables import query_name
from datajoint_file.model.key_values import KeyValue, key_value
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.wording import nearest


class Rows:
    """The rows of a query, and where their files go."""

    def __init__(
        self, query: Any, destination: Path = Path(), layout: Layout = "key", attribute: str | None = None
    ) -> None:
        query = query_of(query)
        self.connection = query.connection
        self.pipeline = pipeline_of(query)
        self.names = _chosen(file_attributes(query.heading), attribute)
        self.listing = Listing(query, self.names)
        self.title = query_name(query) or "the files of a query"
        self._types = {name: query.heading[name].type for name in query.primary_key}
        self._destination = destination
        self._layout: Layout = layout
        self._targets = Targets()
        self.refused: UnsafeNameError | None = None  # the first of those that `wanted` has left out
        self.refused_count = 0

    def wanted(self, paths: list[Path]) -> Iterator[Wanted]:
        """Give what to bring, row by row, and add its path to *paths*. What may not be called so is left out."""
        for raw in self.listing.rows():
            key = self._key(raw)
            for name, text in self._texts(raw):
                try:
                    wanted = self._one(raw, key, name, text)
                except UnsafeNameError as error:
                    self.refused, self.refused_count = self.refused or error, self.refused_count + 1
                    continue
                self._targets.take(wanted, self._where(name, key))
                paths.append(Path(wanted.target))
                yield wanted

    def of(self, raw: RawRow) -> dict[str, Wanted]:
        """Return the files of one row by attribute."""
        key = self._key(raw)
        return {name: self._one(raw, key, name, text) for name, text in self._texts(raw)}

    def described(self, raw: RawRow) -> dict[str, FileMetadata | None]:
        """Return what one row says of its files, by attribute."""
        found: dict[str, FileMetadata | None] = dict.fromkeys(self.names)
        for name, text in self._texts(raw):
            found[name] = self._metadata(raw, name, text)
        return found

    def sound(self, raw: RawRow) -> list[FileMetadata]:
        """Return what one row says of its files, without what is no description of one."""
        found = []
        for name, text in self._texts(raw):
            with suppress(DataJointFileError):
                found.append(self._metadata(raw, name, text))
        return found

    def _texts(self, raw: RawRow) -> list[tuple[str, str]]:
        return [(name, text) for name, text in zip(self.names, raw.texts, strict=True) if text is not None]

    def _key(self, raw: RawRow) -> list[KeyValue]:
        values = self.listing.named(raw.key)
        return [key_value(name, type_, values[name]) for name, type_ in self._types.items()]

    def _where(self, name: str, key: list[KeyValue]) -> str:
        return f"{self.title}.{name} ({', '.join(f'{value.name}={printable(value.text)}' for value in key)})"

    def _metadata(self, raw: RawRow, name: str, text: str) -> FileMetadata:
        try:
            return FileMetadata.from_json(json.loads(text))
        except DataJointFileError as error:
            raise error.within(self._where(name, self._key(raw))) from error
        except (ValueError, RecursionError) as error:  # nested deeper than a parser goes, for one
            where = self._where(name, self._key(raw))
            raise MetadataError(f"{where}: the row's JSON cannot be read: {error}") from error

    def _one(self, raw: RawRow, key: list[KeyValue], name: str, text: str) -> Wanted:
        metadata = self._metadata(raw, name, text)
        try:
            below = path_below(self._layout, key, name, metadata, is_alone=len(self.names) == 1)
        except UnsafeNameError as error:
            raise error.within(self._where(name, key)) from error
        return Wanted(metadata, str(self._destination / below))


def _chosen(names: tuple[str, ...], attribute: str | None) -> tuple[str, ...]:
    if attribute is None:
        return names
    if attribute not in names:
        known = nearest(str(attribute), names)
        raise UnsupportedValueError(f"the query has no `file` attribute {brief(attribute)}{known}")
    return (attribute,)
