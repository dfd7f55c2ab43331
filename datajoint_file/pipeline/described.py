"""Attributes of stored files and directories: what their rows record of them, in words of people.

How their bytes are read is the business of `stored_ref`.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from datajoint_file.model.metadata import FileMetadata, format_timestamp
from datajoint_file.model.wording import format_size


class Described:
    """What there is to say of something that is stored: its metadata, as attributes of its own."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def metadata(self) -> FileMetadata:
            """What its row records."""

    @property
    def path(self) -> str:
        """The object key, project first; of a directory that of its members, up to the slash before their paths.

        Where the project is, ``datajoint.toml`` says.
        """
        return self.metadata.path

    @property
    def size(self) -> int:
        """Number of bytes; of a directory that of all its files."""
        return self.metadata.size

    @property
    def hash(self) -> str:
        """``sha256:`` and 64 hexadecimal digits; of a directory that of its manifest."""
        return self.metadata.hash

    @property
    def original_name(self) -> str:
        """Its name when it was inserted."""
        return self.metadata.original_name

    @property
    def name(self) -> str:
        """Its name when it was inserted."""
        return self.metadata.original_name

    @property
    def title(self) -> str | None:
        """What people call it, if whoever inserted it has given it a title."""
        return self.metadata.title

    @property
    def stem(self) -> str:
        """Its name without the last suffix, as `pathlib` has it: ``movie.ome`` of ``movie.ome.tif``."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The last suffix of its name with the dot, as `pathlib` has it: ``.tif``; empty if there is none."""
        return PurePosixPath(self.name).suffix

    @property
    def suffixes(self) -> list[str]:
        """All suffixes of its name, as `pathlib` has them: ``[".ome", ".tif"]``."""
        return PurePosixPath(self.name).suffixes

    @property
    def ext(self) -> str | None:
        """The suffix of its name, with the dot, if it has one."""
        return self.suffix or None

    @property
    def linked(self) -> str:
        """Where it is, if it stays where it is: the name of a root, and the path below it; empty of what is stored."""
        return self.metadata.linked

    @property
    def timestamp(self) -> datetime:
        """When its upload finished, or it was linked: aware, in UTC."""
        return self.metadata.timestamp

    @property
    def mime_type(self) -> str | None:
        """Its media type, advisory."""
        return self.metadata.mime_type

    def to_dict(self) -> dict[str, Any]:
        """Return the row's JSON object: plain values, for tables and other programs."""
        return self.metadata.to_json()

    to_json = to_dict

    def facts(self) -> dict[str, str]:
        """Return what there is to say of it as people read it, each by a word.

        Examples
        --------
        >>> {what: ref.facts()[what] for what in ("name", "size")}  # doctest: +SKIP
        {'name': 'recording.dat', 'size': '1.2 GB (1,200,000,000 bytes)'}
        """
        files = self.metadata.files
        said = {
            "name": self.name,
            "title": self.title,
            "size": f"{format_size(self.size)} ({self.size:,} bytes)",
            "files": None if files is None else f"{files:,}",
            "type": self.mime_type,
            "stored": format_timestamp(self.timestamp),
            "hash": self.hash,
            "path": self.path,
            "linked": self.linked or None,
        }
        return {what: value for what, value in said.items() if value is not None}
