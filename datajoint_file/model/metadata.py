"""`FileMetadata`, what a row records of a file, and its JSON form.

Values only. Where bytes live and how they are read is the pipeline's business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any

from datajoint_file.errors import MetadataError, UnsafeNameError, UnsafePathError, brief
from datajoint_file.model.names import check_name
from datajoint_file.model.object_keys import (
    check_link,
    check_object_key,
    check_value_key,
    is_directory,
    value_key,
    write_id_of,
)

FORMAT = 2
"""The newest form of the row's JSON that this version reads: that of a directory. A file's is 1, and has no field."""

DIRECTORY_TYPE = "inode/directory"
"""The media type of a directory, as freedesktop.org's shared MIME-info has it."""

MAX_SIZE = 2**63 - 1

MAX_TITLE = 255
"""Characters of a title."""

_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII)
_MIME_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(;.*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class FileMetadata:
    """The description of one stored file or directory, as the row holds it.

    Parameters
    ----------
    path : str
        Object key, project first. A directory's ends in a slash: with it begin the keys of its members.
    size : int
        Number of bytes the user gave; of a directory that of all its files.
    hash : str
        ``sha256:`` and 64 hexadecimal digits, of the bytes the user gave; of a directory, of its manifest.
    original_name : str
        Its name when it was inserted.
    timestamp : datetime
        When the upload finished, aware, in UTC, to the second. Of a link, since when its original is known to be what
        was linked: when it was read; or when it was last written to, if its hash was given; of a directory when the
        first of its files was.
    mime_type : str or None
        Advisory media type; ``inode/directory`` of a directory.
    files : int or None
        How many files a directory has; None of a file.
    title : str or None
        What people call it, if somebody has given it a title.
    linked : str
        Where the bytes are, if they stay where they are: the name of a root first, then the path below it,
        percent-encoded. Of a file that is its *path*; of a directory, whose manifest is stored under its *path*, where
        its members' begin. Empty of what is stored.
    whole : FileMetadata or None
        The directory of which it is a member or a part, where that is known: no part of the value, and in no row.

    Examples
    --------
    >>> row = {
    ...     "path": "lab/ephys/objects/Recording-raw_data/k7/recording.dat",
    ...     "size": 3,
    ...     "hash": "sha256:" + "0" * 64,
    ...     "original_name": "recording.dat",
    ...     "timestamp": "2025-01-15T10:30:00Z",
    ... }
    >>> metadata = FileMetadata.from_json(row)
    >>> metadata.size, metadata.timestamp.year, metadata.mime_type
    (3, 2025, None)
    >>> metadata.to_json() == row
    True
    """

    path: str
    size: int
    hash: str
    original_name: str
    timestamp: datetime
    mime_type: str | None = None
    files: int | None = None
    title: str | None = None
    linked: str = ""
    whole: FileMetadata | None = field(default=None, compare=False, repr=False)

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return is_directory(self.path)

    @property
    def is_link(self) -> bool:
        """Whether nothing of it is stored: a file that stays where it is."""
        return bool(self.linked) and not self.is_directory

    @property
    def project(self) -> str:
        """The project whose store has it: the first part of its path; nothing, if nothing of it is stored."""
        return "" if self.is_link else self.path.split("/", 1)[0]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of the row. It holds no secret and nothing of this machine."""
        row: dict[str, Any] = {
            "path": self.path,
            "size": self.size,
            "hash": self.hash,
            "original_name": self.original_name,
            "timestamp": format_timestamp(self.timestamp),
        }
        if self.mime_type is not None:
            row["mime_type"] = self.mime_type
        if self.files is not None:
            row |= {"files": self.files, "format": 2}
        if self.title is not None:
            row["title"] = self.title
        if self.linked:
            row["linked"] = self.linked if self.is_directory else True
        return row

    @classmethod
    def from_json(cls, row: object) -> FileMetadata:
        """Read the JSON object of a row, which may have been written by anyone.

        Fields that are not known are ignored.

        Raises
        ------
        MetadataError
            If a field is missing or malformed, or the row was written in a newer format.
        UnsafePathError
            If ``path`` is not an object key inside a project.
        """
        row = check_is_object(row)
        _check_format(row)
        return cls(
            path=_path(row),
            size=_size(row),
            hash=_hash(row),
            original_name=_original_name(row),
            timestamp=parse_timestamp(_field(row, "timestamp", str)),
            mime_type=_mime_type(row),
            files=_size(row, "files") if is_directory_row(row) else None,
            title=_title(row),
            linked=_linked(row),
        )


def is_directory_row(row: Mapping[str, Any]) -> bool:
    """Tell whether a row's JSON, whatever else is in it, is that of a directory."""
    return row.get("format") == 2


def is_link_row(row: Mapping[str, Any]) -> bool:
    """Tell whether a row's JSON, whatever else is in it, is that of a file that stays where it is."""
    return row.get("linked") is True and not is_directory_row(row)


def object_named(row: Mapping[str, Any], path: str) -> str:
    """Return the key of the object that a row's JSON names by its *path*; nothing, if it is a link.

    What an insert may have made is an object, whatever else the row says.

    Raises
    ------
    UnsafePathError
        If it cannot be one.
    """
    if is_link_row(row) and not write_id_of(path):
        check_link(path)
        return ""
    return value_key(check_value_key(path))


def path_in(document: object) -> str | None:
    """Return the ``path`` of a row's JSON, whatever else is in it; None if it names none."""
    path = document.get("path") if isinstance(document, Mapping) else None
    return path if isinstance(path, str) else None


def check_is_object(row: object) -> Mapping[str, Any]:
    """Return *row* if it is a JSON object, whatever is in it; raise a `MetadataError` if it is a list, text, number."""
    if not isinstance(row, Mapping):
        raise MetadataError(f"the row holds {brief(row)} where a `file` attribute has a JSON object")
    return row


@lru_cache(maxsize=64)
def format_timestamp(moment: datetime) -> str:
    """Return *moment* in the row's form, ``2025-01-15T10:30:00Z``."""
    return f"{moment.astimezone(timezone.utc).replace(microsecond=0, tzinfo=None).isoformat()}Z"


def parse_timestamp(text: str) -> datetime:
    """Return the aware moment that *text* (ISO 8601 with an offset or ``Z``) stands for, else raise `MetadataError`."""
    match = _MOMENT.fullmatch(text)
    if match is None:
        raise MetadataError(f"timestamp = {brief(text)}; expected the form 2025-01-15T10:30:00Z, with a time zone")
    day, clock, fraction, zone = match.groups(default="")
    iso = f"{day}T{clock}{fraction and fraction.ljust(7, '0')}{zone.replace('Z', '+00:00')}"
    try:
        return datetime.fromisoformat(iso).astimezone(timezone.utc)
    except (ValueError, OverflowError) as error:
        raise MetadataError(f"timestamp = {brief(text)} is no moment there is") from error


def _check_format(row: Mapping[Any, Any]) -> None:
    version = row.get("format", 1)
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise MetadataError(f"format = {brief(version)} is not a version number")
    if version > FORMAT:
        raise MetadataError(
            f"the row was written in format {brief(version)}, newer than format {FORMAT} of this version; "
            "upgrade datajoint-file"
        )


def _field(row: Mapping[Any, Any], name: str, kind: type) -> Any:
    value = row.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise MetadataError(f"{name} = {brief(value)} in the row's JSON; expected {kind.__name__}")
    return value


def _path(row: Mapping[Any, Any]) -> str:
    path: str = _field(row, "path", str)
    if is_link_row(row):
        return check_file_link(path)
    if not is_directory_row(row):
        return check_object_key(path)
    if not is_directory(path):
        raise MetadataError(f"path = {brief(path)}; expected that of a directory, with a slash at its end, in format 2")
    return check_value_key(path)


def check_file_link(path: str) -> str:
    """Return *path* if it is that of a linked file, else raise `UnsafePathError`."""
    if is_directory(path):
        raise UnsafePathError(f"path = {brief(path, 200)} is that of a directory, and the row that of a file")
    return check_link(path)


def _linked(row: Mapping[Any, Any]) -> str:
    """Return where the bytes are, if they are not in the project's store."""
    linked = row.get("linked")
    if linked is None or linked is False:
        return ""
    if not is_directory_row(row):
        if linked is not True:
            raise MetadataError(f"linked = {brief(linked)} in the row of a file; expected true")
        return str(row["path"])
    if not isinstance(linked, str) or not is_directory(linked):
        raise MetadataError(
            f"linked = {brief(linked)} in the row of a directory; expected where its files are, and a /"
        )
    return check_link(linked)


def _size(row: Mapping[Any, Any], name: str = "size") -> int:
    size: int = _field(row, name, int)
    if not 0 <= size <= MAX_SIZE:
        raise MetadataError(f"{name} = {brief(size)} is not a number of {'bytes' if name == 'size' else name}")
    return size


def _hash(row: Mapping[Any, Any]) -> str:
    digest: str = _field(row, "hash", str)
    if not is_hash(digest):
        raise MetadataError(f"hash = {brief(digest)}; expected sha256: and 64 hexadecimal digits")
    return digest


def _original_name(row: Mapping[Any, Any]) -> str:
    name: str = _field(row, "original_name", str)
    try:
        return check_name(name)
    except UnsafeNameError as error:
        raise MetadataError(f"original_name in the row: {error}") from error


def _mime_type(row: Mapping[Any, Any]) -> str | None:
    if row.get("mime_type") is None:
        return DIRECTORY_TYPE if is_directory_row(row) else None
    mime_type: str = _field(row, "mime_type", str)
    if not is_mime_type(mime_type):
        raise MetadataError(f"mime_type = {brief(mime_type)} is not of the form type/subtype")
    return mime_type


def is_hash(text: str) -> bool:
    """Tell whether *text* is a digest as rows have it: ``sha256:`` and 64 hexadecimal digits."""
    return _HASH.fullmatch(text) is not None


def is_mime_type(text: str) -> bool:
    """Tell whether *text* has the form ``type/subtype``, with optional parameters on the same line."""
    return len(text) <= 255 and text.isprintable() and _MIME_TYPE.fullmatch(text) is not None


def _title(row: Mapping[Any, Any]) -> str | None:
    if row.get("title") is None:
        return None
    title: str = _field(row, "title", str)
    if not is_title(title):
        raise MetadataError(f"title = {brief(title)} is not {TITLE_FORM}")
    return title


TITLE_FORM = f"a line of 1 to {MAX_TITLE} printable characters"


def is_title(text: str) -> bool:
    r"""Tell whether *text* can be a title: one line, not blank, without control characters.

    Examples
    --------
    >>> is_title("Anderson's Iris flower dataset"), is_title(" "), is_title("two\nlines")
    (True, False, False)
    """
    return len(text) <= MAX_TITLE and bool(text.strip()) and text.isprintable()
