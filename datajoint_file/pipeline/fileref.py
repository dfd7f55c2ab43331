"""`FileRef`, the lazy handle of a stored file: a value that describes it and reads it on request.

It holds what its row says, which is checked at the first use, and the name of its pipeline; stores, credentials and
caches are looked up when bytes are asked for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from datajoint_file.errors import MetadataError, brief_traceback, printable
from datajoint_file.model.metadata import FileMetadata, check_is_object, format_timestamp

if TYPE_CHECKING:
    from datajoint_file.pipeline.pipeline import Pipeline


class _Unread:
    """The part of a reference that is no part of its value: the row's JSON, as long as nobody has asked what it says.

    In a class of its own, because libraries that take a value for its ``__slots__`` (deepdiff, by which DataJoint tells
    whether the inputs of a ``make`` have changed) must find the same before and after use.
    """

    __slots__ = ("_row",)

    _row: Mapping[str, Any] | None


@dataclass(frozen=True, repr=False, eq=False, init=False)
class FileRef(_Unread):
    """A stored file.

    Frozen, hashable, equal by what it describes, and picklable into another process, which then reads through its own
    configuration. Fetching one does no I/O, and needs neither the store nor its credentials. It has no length, items or
    array form, so NumPy and pandas keep it whole.

    What the row says is checked at the first use and kept. Whatever asks for it is a use, comparing and pickling
    included, and raises a `MetadataError` if the row is not sound, before anything else happens. Only showing one
    never raises.

    Parameters
    ----------
    metadata : FileMetadata
        What the row records.
    pipeline : str
        The name of the pipeline that reads it.

    Examples
    --------
    >>> ref = (Recording & {"subject_id": 123}).fetch1("raw_data")  # doctest: +SKIP
    >>> ref.original_name, ref.size  # doctest: +SKIP
    ('recording.dat', 12345)
    >>> path = ref.download("/local/destination/")  # doctest: +SKIP
    """

    __slots__ = ("metadata", "pipeline")  # by hand: with slots=True, setting a property fails by a TypeError of its own

    metadata: FileMetadata
    pipeline: str

    def __init__(self, metadata: FileMetadata, pipeline: str) -> None:
        _set_metadata(self, metadata)
        _set_pipeline(self, pipeline)
        _set_row(self, None)

    if not TYPE_CHECKING:  # for type checkers there are the attributes above, and no others

        def __getattr__(self, name: str) -> Any:
            """Read the row: Python comes here for ``metadata`` as long as that slot is empty."""
            if name != "metadata":
                raise AttributeError(f"a FileRef has no attribute {name!r}", name=name, obj=self)
            # No lock: if two threads read one row, either result will do. The row is dropped last, so a thread that
            # does not find it finds what it says.
            row = self._row
            if row is not None:
                _set_metadata(self, FileMetadata.from_json(row))
                _set_row(self, None)
            return _metadata_of(self)

    def __eq__(self, other: object) -> bool:
        return self.metadata == other.metadata if isinstance(other, FileRef) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.metadata)

    def __reduce__(self) -> tuple[type[FileRef], tuple[FileMetadata, str]]:
        return FileRef, (self.metadata, self.pipeline)

    @classmethod
    def from_row(cls, row: object, pipeline: str) -> FileRef:
        """Make a reference of a row's JSON, which nobody may change any more; it is checked at the first use.

        Raises
        ------
        MetadataError
            If the JSON is no object.
        """
        if type(row) is not dict:  # what a fetch gives is one: no call for it
            check_is_object(row)
        ref: FileRef = _new(cls)
        _set_row(ref, row)
        _set_pipeline(ref, pipeline)
        return ref

    @property
    def path(self) -> str:
        """The object key, project first. Where the project is, ``datajoint.toml`` says."""
        return self.metadata.path

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self.metadata.size

    @property
    def hash(self) -> str:
        """``sha256:`` and 64 hexadecimal digits."""
        return self.metadata.hash

    @property
    def original_name(self) -> str:
        """The file's name when it was inserted."""
        return self.metadata.original_name

    @property
    def timestamp(self) -> datetime:
        """When its upload finished: aware, in UTC."""
        return self.metadata.timestamp

    @property
    def mime_type(self) -> str | None:
        """Its media type, advisory."""
        return self.metadata.mime_type

    @property
    @brief_traceback
    def url(self) -> str:
        """Its address in the store, such as ``s3://bucket/key``, without credentials. No I/O on the store."""
        return self._pipeline().url(self.metadata)

    @brief_traceback
    def read(self) -> bytes:
        """Return the file's bytes, verified against its hash, all in memory.

        Raises
        ------
        VerificationError
            If the stored bytes are not those that were inserted. None of them is returned.
        ObjectNotFoundError
            If the object is not in the store.
        StorageError
            If the store cannot be reached, or refuses.
        """
        return self._pipeline().read(self.metadata)

    @brief_traceback
    def open(
        self,
        mode: str = "rb",
        *,
        block_size: int | None = None,
        cache_type: str | None = None,
        cache_options: dict[str, Any] | None = None,
    ) -> BinaryIO:
        """Open the file for reading: binary, seekable, fetching only what is read. The caller closes it.

        What is read this way is *not* verified, beyond the file's size; `read` and `download` verify. The file can be
        copied and pickled: the copy is opened anew, in another process through that one's configuration.

        Parameters
        ----------
        mode : str
            ``"rb"``; files are never written in place.
        block_size : int or None
            Bytes fetched at a time from a bucket. By default 64 KiB at a new place, and up to 4 MiB where reading goes
            on.
        cache_type, cache_options
            Caching of what is read from a bucket, as fsspec has it: ``"readahead"``, ``"blockcache"``, ``"bytes"``,
            ``"all"``, ``"none"``, …

        Raises
        ------
        ObjectNotFoundError
            If the object is not in the store.
        SizeMismatchError
            If it has not the recorded size.
        ValueError
            If the mode is another, or fsspec has no such caches.
        """
        if mode not in ("rb", "br"):
            raise ValueError(
                f"mode = {mode!r}: a stored file is opened with 'rb'; for text, wrap it in io.TextIOWrapper"
            )
        options = {"block_size": block_size, "cache_type": cache_type, "cache_options": cache_options}
        from datajoint_file.pipeline.open_file import reopening  # for its cost, as below

        return reopening(self._pipeline().open(self.metadata, **options), self, options)

    @brief_traceback
    def download(
        self, destination: str | os.PathLike[str], *, overwrite: bool = False, progress: bool | None = None
    ) -> Path:
        """Write the file's verified bytes to *destination* and return the path written.

        They go to a temporary file beside the target, which takes its name when all are there and match: at every
        moment the target is absent, what it was, or complete.

        Parameters
        ----------
        destination : path
            A directory (existing, or ending in a slash), which receives the file under its original name; or a file's
            path. Missing directories are made.
        overwrite : bool
            Replace a different file at the target. An equal one is kept in any case, and nothing is transferred.
        progress : bool or None
            Show a progress bar: always, never, or (``None``) on a terminal or in a notebook after a second.

        Raises
        ------
        DestinationExistsError
            If a different file is there.
        DestinationError
            If the target cannot be written.
        UnsafeNameError
            If *destination* is a directory, and a shell or DataJoint would read a file of the original name in it: one
            that begins with a dot, ``datajoint.toml``, ``datajoint.json``. As a file's path any is taken.
        VerificationError
            If the stored bytes are not those that were inserted. Nothing is left at the target.
        ObjectNotFoundError, StorageError
            If the object is gone, or the store fails.
        """
        return self._pipeline().download(self.metadata, destination, overwrite=overwrite, progress=progress)

    @brief_traceback
    def exists(self) -> bool:
        """Tell whether the object is in the store.

        Raises
        ------
        StorageError
            If the store cannot be asked (no network, no permission, disk not mounted), or has nothing of the project at
            all. That is not "no".
        """
        return self._pipeline().exists(self.metadata)

    @brief_traceback
    def verify(self, *, progress: bool | None = None) -> None:
        """Read the stored bytes to their end and raise unless they are those that were inserted.

        Raises
        ------
        VerificationError
            If size or hash differ.
        ObjectNotFoundError, StorageError
            If the object is gone, or the store fails.
        """
        self._pipeline().verify(self.metadata, progress)

    def to_dict(self) -> dict[str, Any]:
        """Return the row's JSON object: plain values, for tables and other programs."""
        return self.metadata.to_json()

    def __repr__(self) -> str:
        try:
            name = ascii(self.original_name) if not self.original_name.isprintable() else repr(self.original_name)
        except MetadataError as error:  # tables are shown whole, whatever one of their rows holds
            return f"FileRef(<{printable(str(error))}>)"
        return f"FileRef({name}, {format_size(self.size)}, {self.hash[:15]}..., {self.path!r})"

    def _repr_html_(self) -> str:
        """Show a card in notebooks. No I/O: what is shown is what the row says, if that is sound."""
        try:
            return self._card()
        except MetadataError:
            return f"<code>{escape(repr(self))}</code>"

    def _card(self) -> str:
        rows = {
            "size": f"{format_size(self.size)} ({self.size:,} bytes)",
            "type": self.mime_type or "",
            "stored": format_timestamp(self.timestamp),
            "hash": self.hash,
            "path": self.path,
        }
        cells = "".join(
            f'<tr><th style="text-align:left;padding:0 1em 0 0">{name}</th>'
            f'<td style="text-align:left"><code>{escape(printable(value))}</code></td></tr>'
            for name, value in rows.items()
        )
        return (
            '<div style="border:1px solid #8886;border-radius:6px;padding:.5em 1em;display:inline-block">'
            f"<strong>{escape(printable(self.original_name))}</strong><table>{cells}</table></div>"
        )

    def _pipeline(self) -> Pipeline:
        # For its cost: stores are not needed to hold a reference.
        from datajoint_file.pipeline.lookup import pipeline_named

        return pipeline_named(self.pipeline, self.metadata.project)


# Past `__setattr__`, which refuses. A fetch makes one for each row, of a hundred thousand: these are the cheapest way.
_new = object.__new__
_set_row = _Unread.__dict__["_row"].__set__
_set_metadata, _metadata_of = FileRef.__dict__["metadata"].__set__, FileRef.__dict__["metadata"].__get__
_set_pipeline = FileRef.__dict__["pipeline"].__set__

_UNITS = ("kB", "MB", "GB", "TB", "PB")


def format_size(size: int) -> str:
    """Return *size* bytes for people: ``12.3 MB``, in powers of 1000.

    Examples
    --------
    >>> format_size(12_345_678), format_size(999), format_size(0)
    ('12.3 MB', '999 B', '0 B')
    """
    if size < 1000:
        return f"{size} B"
    power = next((power for power in range(1, len(_UNITS)) if size < 999.95 * 1000**power), len(_UNITS))
    return f"{size / 1000**power:.1f} {_UNITS[power - 1]}"
