"""`Sidecar`, what the store keeps of a row beside its object, for the day when the database is lost.

Values only; where it is kept, `object_keys` says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

from datajoint_file.errors import MetadataError, brief
from datajoint_file.model.metadata import FileMetadata, parse_timestamp

MAX_BYTES = 2**22
"""Of a whole sidecar: values that make it longer are left out."""

_FORMAT = "datajoint-file row 1"
_FIELDS = {"format", "schema", "table", "attribute", "written", "key", "file", "values", "left_out"}


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A row, as the insert of one of its files had it.

    Parameters
    ----------
    schema, table, attribute : str
        Where the file is: as the database calls them.
    key, values : mapping
        The primary key, and other plain values that the insert gave: as JSON has them.
    file : FileMetadata
        What the row records of the file.
    left_out : sequence of str
        The attributes that were given a value which is not here.
    written : datetime
        When, by the clock of who inserted it: of two of a row the later counts.
    """

    schema: str
    table: str
    attribute: str
    key: Mapping[str, Any]
    file: FileMetadata
    values: Mapping[str, Any] = field(default_factory=dict)
    left_out: Sequence[str] = ()
    written: datetime = field(default_factory=lambda: datetime.now(timezone.utc))

    def to_bytes(self) -> bytes:
        """Return its JSON."""
        where = {"format": _FORMAT, "schema": self.schema, "table": self.table, "attribute": self.attribute}
        where["written"] = self.written.isoformat()
        row = {"key": dict(self.key), "file": self.file.to_json(), "values": dict(self.values)}
        text = json.dumps(where | row | {"left_out": list(self.left_out)}, indent=1).encode()
        if len(text) <= MAX_BYTES or not self.values:
            return text
        names = (*self.left_out, *self.values)
        return replace(self, values={}, left_out=names).to_bytes()

    @classmethod
    def from_bytes(cls, text: bytes) -> Sidecar:
        """Read the JSON, which anybody may have written.

        Raises
        ------
        MetadataError
            If it is malformed, or of a newer version.
        """
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise MetadataError(f"it is no JSON ({error!s:.100})") from error
        if not isinstance(row, dict) or row.get("format") != _FORMAT or row.keys() != _FIELDS:
            raise MetadataError("it does not describe a row as this version does")
        left_out = row["left_out"]
        where = [row["schema"], row["table"], row["attribute"], *(left_out if isinstance(left_out, list) else [None])]
        if not all(isinstance(name, str) and 0 < len(name) <= 255 for name in where):
            raise MetadataError(f"it names {brief(where)}")
        if not (isinstance(row["key"], dict) and isinstance(row["values"], dict) and row["key"]):
            raise MetadataError("its key or values are no JSON objects")
        file = FileMetadata.from_json(row["file"])
        schema, table, attribute, *left_out = where
        written = parse_timestamp(str(row["written"]))
        return cls(schema, table, attribute, row["key"], file, row["values"], tuple(left_out), written)
