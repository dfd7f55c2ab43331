"""Row lookup: what the database says now of the file that belongs to one primary key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datajoint.table import FreeTable

from datajoint_file.errors import InvalidKeyError, brief
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.hooks.tables import declared_type, table_name
from datajoint_file.model.key_values import KeyValue, key_value
from datajoint_file.model.manifest import Manifest
from datajoint_file.model.object_keys import key_text
from datajoint_file.pipeline.manifests import manifest_of
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.pipeline.stored_ref import StoredRef


@dataclass(frozen=True, slots=True)
class StoredRows:
    """The rows of a table, of which one `file` attribute is asked for."""

    table: Any
    attribute: str

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline that its files are read by."""
        return pipeline_of(self.table.connection, self.table.database)

    def key(self, values: Mapping[str, Any]) -> tuple[KeyValue, ...]:
        """Return the primary key that is among *values*, in canonical form.

        Raises
        ------
        InvalidKeyError
            If some of it is missing or malformed.
        """
        heading = self.table.heading
        return tuple(key_value(name, declared_type(heading[name]), values.get(name)) for name in heading.primary_key)

    def texts(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Return the primary key among *values* as texts, from which `key` makes it again."""
        return {one.name: one.text for one in self.key(values)}

    def where(self, values: Mapping[str, Any]) -> str:
        """Say which cell is meant."""
        name = f"{table_name(self.table)}.{self.attribute}"
        try:
            return f"{name} ({key_text(self.texts(values).items())})"
        except InvalidKeyError:
            return f"{name} ({brief(dict(values))})"

    def value(self, values: Mapping[str, Any]) -> StoredRef | None:
        """Return what the row of the primary key among *values* names, if it names anything.

        Raises
        ------
        LookupError
            If there is no such row.
        """
        restriction = {one.name: bool(one.value) if one.kind == "bool" else one.value for one in self.key(values)}
        rows = FreeTable(self.table.connection, self.table.full_table_name) & restriction
        found = rows.to_arrays(self.attribute)
        if len(found) != 1:
            raise LookupError(f"{self.where(values)}: there is no such row")
        ref: StoredRef | None = found[0]
        return ref

    def manifest(self, ref: StoredRef) -> Manifest | None:
        """Return the manifest of a stored directory; None of a file."""
        return manifest_of(self.pipeline, ref.metadata) if ref.metadata.is_directory else None
