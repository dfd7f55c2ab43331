"""`StoredRef`, what the lazy handles of stored files and directories have in common.

It holds what its row says, which is checked at the first use, and the name of its pipeline; stores, credentials and
caches are looked up when bytes are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from datajoint_file.errors import MetadataError, brief_traceback, printable
from datajoint_file.model.metadata import FileMetadata, check_is_object
from datajoint_file.model.wording import format_size
from datajoint_file.pipeline.described import Described
from datajoint_file.pipeline.read_watchers import note_read

if TYPE_CHECKING:
    from upath import UPath

    from datajoint_file.pipeline.filesystem import DirectoryFileSystem
    from datajoint_file.pipeline.pipeline import Pipeline

_Ref = TypeVar("_Ref", bound="StoredRef")


class Readable(Described):
    """Something stored that is read through a pipeline."""

    __slots__ = ()

    _way_on: ClassVar[str] = "give .cache(), the path of a verified file on this machine, or what .open() returns"
    """What to give to a library that wants an open file or a path."""

    @property
    @brief_traceback
    def url(self) -> str:
        """Its address in the store, such as ``s3://bucket/key``, without credentials. No I/O on the store."""
        return self._pipeline().url(self.metadata)

    @property
    def full_path(self) -> str:
        """Its path on this machine if the store is a disk, else its `url`: as of DataJoint's ``ObjectRef``. No I/O."""
        from datajoint_file.config.urls import file_path  # for its cost, as below

        return file_path(self.url) if self.url.startswith("file:") else self.url

    @brief_traceback
    def cache(self, *, progress: bool | None = None) -> Path:
        """Return a path of this machine that has the verified bytes, under the original name. To be read only.

        What moves or removes it acts on the file itself, which on a disk is the stored one: `FileRef.download` copies.

        If the store is a disk, that is the object itself, verified at the first use in a process, and again if it looks
        changed since; nothing is copied. (Where the store calls it by another name, it is a link, in the cache.) Of
        other stores it is a copy in the cache, which is brought if it is not there, by one of all processes and threads
        that ask. It stays as long as it is among the last that this process was given, and after that until the cache
        needs room, and this was used longest ago: call this again for the next use. What goes by the path of a
        directory that has gone cannot open its files, by an `OSError`. The path of a directory has its whole tree; one
        of its members or parts, if that is there, has its path in it.

        `os.fspath` gives the same path, so what takes a path takes this.

        Parameters
        ----------
        progress : bool or None
            Show a progress bar: always, never, or (``None``) on a terminal or in a notebook after a second.

        Raises
        ------
        VerificationError
            If the stored bytes are not those that were inserted.
        CacheError
            If the cache cannot be written to, is a directory with other things in it, or its disk is full.
        UnsafeNameError
            If a shell or DataJoint would read a file of the original name: see `FileRef.download`.
        ObjectNotFoundError, StorageError
            If the object is gone, or the store fails.

        Examples
        --------
        >>> array = numpy.load(ref.cache())  # doctest: +SKIP
        >>> h5py.File(ref), pandas.read_csv(ref), subprocess.run(["sorter", ref])  # doctest: +SKIP
        """
        from datajoint_file.pipeline.local_paths import local_path  # for its cost: stores

        return local_path(self._pipeline(), *self._spot(), progress=progress)

    def __fspath__(self) -> str:
        return str(self.cache())

    def _spot(self) -> tuple[FileMetadata, str]:
        """Return what is stored, and the part of it that this is, as the store calls it; nothing for the whole."""
        return self.metadata, ""

    def _pipeline(self) -> Pipeline:
        raise NotImplementedError


def path_over(filesystem: DirectoryFileSystem, path: str = "") -> UPath:
    """Return a path of ``universal_pathlib`` within a filesystem; its top, if none is given."""
    try:
        from datajoint_file.pipeline import universal_path  # not all have it
    except ModuleNotFoundError as error:
        if error.name != "upath":
            raise
        raise ModuleNotFoundError(f"upath: {error}; `pip install universal-pathlib`", name="upath") from error
    return universal_path.path_over(filesystem, path)


class Answer:
    """A truth value that may be called: a question is a method of `pathlib.Path`, and an attribute of ``ObjectRef``."""

    __slots__ = ("_is_so",)

    def __init__(self, is_so: bool) -> None:
        self._is_so = is_so

    def __bool__(self) -> bool:
        return self._is_so

    def __call__(self) -> bool:
        """Return it as it is."""
        return self._is_so

    def __repr__(self) -> str:
        return repr(self._is_so)


_OF_FILES = frozenset(
    ("closed", "fileno", "flush", "readable", "readinto", "readline", "readlines", "seek", "seekable", "tell", "write")
)
"""What libraries ask of what they take for an open file."""


def no_attribute(thing: Readable, name: str) -> AttributeError:
    """Return the error of an attribute that *thing* does not have; with what to give where an open file is wanted."""
    way_on = f": it is no open file; {thing._way_on}" if name in _OF_FILES else ""
    return AttributeError(f"a {type(thing).__name__} has no attribute {name!r}{way_on}", name=name, obj=thing)


class _Unread:
    """The part of a reference that is no part of its value: the row's JSON, as long as nobody has asked what it says.

    In a class of its own, because libraries that take a value for its ``__slots__`` (deepdiff, by which DataJoint tells
    whether the inputs of a ``make`` have changed) must find the same before and after use.
    """

    __slots__ = ("_row",)

    _row: Mapping[str, Any] | None


@dataclass(frozen=True, repr=False, eq=False, init=False)
class StoredRef(_Unread, Readable):
    """What a row says of something that is stored, and where to read it."""

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
                raise no_attribute(self, name)
            # No lock: if two threads read one row, either result will do. The row is dropped last, so a thread that
            # does not find it finds what it says.
            row = self._row
            if row is not None:
                _set_metadata(self, FileMetadata.from_json(row))
                _set_row(self, None)
            return _metadata_of(self)

    def __eq__(self, other: object) -> bool:
        return self.metadata == other.metadata if isinstance(other, StoredRef) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.metadata)

    def __reduce__(self) -> tuple[type[StoredRef], tuple[FileMetadata, str]]:
        return type(self), (self.metadata, self.pipeline)

    @classmethod
    def from_row(cls: type[_Ref], row: object, pipeline: str) -> _Ref:
        """Make a reference of a row's JSON, which nobody may change any more; it is checked at the first use.

        Raises
        ------
        MetadataError
            If the JSON is no object.
        """
        if type(row) is not dict:  # what a fetch gives is one: no call for it
            check_is_object(row)
        ref: _Ref = _new(cls)
        _set_row(ref, row)
        _set_pipeline(ref, pipeline)
        return ref

    def __repr__(self) -> str:
        kind = type(self).__name__
        try:
            name = ascii(self.original_name) if not self.original_name.isprintable() else repr(self.original_name)
        except MetadataError as error:  # tables are shown whole, whatever one of their rows holds
            return f"{kind}(<{printable(str(error))}>)"
        linked = self.metadata.linked
        place = f"linked {linked!r}" if linked else repr(self.path)
        return f"{kind}({name}, {self._amount()}, {self.hash[:15]}..., {place})"

    def _amount(self) -> str:
        """Say how much it is."""
        return format_size(self.size)

    def _repr_html_(self) -> str:
        """Show a card in notebooks, whatever the row holds."""
        try:
            return self._card()
        except MetadataError:
            return f"<code>{escape(repr(self))}</code>"

    def _card(self, *within: str) -> str:
        """Return a card with what there is to say of it; *within* are the lines of a tree."""
        rows = {what: (value,) for what, value in self.facts().items()} | ({"": within} if within else {})
        name = rows.pop("name")
        cells = "".join(
            f'<tr><th style="text-align:left;vertical-align:top;padding:0 1em 0 0">{what}</th>'
            f'<td style="text-align:left;white-space:pre-line"><code>{_escaped(*lines)}</code></td></tr>'
            for what, lines in rows.items()
        )
        return (
            '<div style="border:1px solid #8886;border-radius:6px;padding:.5em 1em;display:inline-block">'
            f"<strong>{_escaped(*name)}</strong><table>{cells}</table>"
            "<small><code>.preview()</code> shows what is in it</small></div>"
        )

    def _pipeline(self) -> Pipeline:
        # For its cost: stores are not needed to hold a reference.
        from datajoint_file.pipeline.lookup import pipeline_named

        note_read(self.metadata)
        return pipeline_named(self.pipeline, self.metadata.project)


# Past `__setattr__`, which refuses. A fetch makes one for each row, of a hundred thousand: these are the cheapest way.
_new = object.__new__
_set_row = _Unread.__dict__["_row"].__set__
_set_metadata, _metadata_of = StoredRef.__dict__["metadata"].__set__, StoredRef.__dict__["metadata"].__get__
_set_pipeline = StoredRef.__dict__["pipeline"].__set__


def _escaped(*lines: str) -> str:
    return escape("\n".join(map(printable, lines)))


def with_slots(kind: type[_Ref]) -> type[_Ref]:
    """Decorate a subclass that has no slots of its own: deepdiff takes a value for the ``__slots__`` of its class."""
    kind.__slots__ = StoredRef.__slots__
    return kind
