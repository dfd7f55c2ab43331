"""Rows to verify, and their values, as a protocol.

Values and a protocol; how they are read from a database is the caller's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from datajoint_file.model.metadata import FileMetadata
from datajoint_file.pipeline.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class FileValue:
    """A value of a ``file`` attribute, as its row has it.

    Parameters
    ----------
    table, attribute : str
        Whose value it is, for people.
    name : str
        What the query calls the attribute.
    path : str
        The object key; for what cannot be used, whatever stands there, shortened.
    metadata : FileMetadata or None
        What the row says; None if it cannot be used.
    fault : str
        Why it cannot be used.
    """

    table: str
    attribute: str
    name: str
    path: str
    metadata: FileMetadata | None
    fault: str = ""


class ListedRow(Protocol):
    """A row to check, as `subjects` lists it. Used in the thread that lists, never by workers."""

    @property
    def pipeline(self) -> Pipeline:
        """Where its objects are."""
        ...

    @property
    def values(self) -> tuple[FileValue, ...]:
        """Its files; none for an attribute that is NULL."""
        ...

    def key(self) -> dict[str, Any]:
        """Return its primary key."""
        ...

    def position(self) -> str:
        """Return where a later run goes on if this row is the last that was checked."""
        ...

    def still_names(self, value: FileValue) -> bool:
        """Ask the database whether the row is there yet and still names the object of *value*."""
        ...
