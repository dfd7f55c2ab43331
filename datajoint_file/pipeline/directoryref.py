"""`DirectoryRef`, the lazy handle of a stored directory: a value that describes it and reads its members on request."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from datajoint_file.errors import (
    DataJointFileError,
    MemberNotFoundError,
    SigningError,
    UnsafeNameError,
    UnsupportedValueError,
    brief,
    brief_traceback,
    printable,
)
from datajoint_file.model.manifest import Manifest, Member, decode_path, encode_path
from datajoint_file.model.metadata import FileMetadata, is_directory_row
from datajoint_file.model.wording import counted, format_size
from datajoint_file.pipeline.fileref import FileRef
from datajoint_file.pipeline.stored_ref import Answer, Readable, StoredRef, no_attribute, path_over, with_slots

if TYPE_CHECKING:
    from upath import UPath

    from datajoint_file.pipeline.filesystem import DirectoryFileSystem
    from datajoint_file.pipeline.pipeline import Pipeline
    from datajoint_file.pipeline.stored_tree import StoredTree
    from datajoint_file.preview import Preview

_SHOWN = 12
"""Entries of the tree in a notebook."""

_SHOWN_FILES = 10_000
"""The manifest of a directory with more files is not fetched to show it."""


class _Browsing(Readable):
    """The verbs of a directory, and of a part of one: names are paths within it, with slashes."""

    __slots__ = ()

    _way_on = (
        "give .cache(), the path of a verified directory on this machine, what .open('a/b.npy') returns, or, to zarr "
        "and xarray, .fsmap"
    )

    def _place(self) -> tuple[DirectoryRef, str]:
        """Return the stored directory, and what the store calls this part of it; nothing for the whole."""
        raise NotImplementedError

    def _spot(self) -> tuple[FileMetadata, str]:
        whole, below = self._place()
        return whole.metadata, below

    def _manifest(self) -> Manifest:
        from datajoint_file.pipeline.manifests import (
            manifest_of,
        )  # for its cost: stores are not needed to hold a reference

        whole = self._place()[0]
        return manifest_of(whole._pipeline(), whole.metadata)

    def _inner(self, path: str | os.PathLike[str]) -> str | None:
        """Return what the store calls a path within this directory; None if nothing can be called so."""
        text, below = os.fspath(path), self._place()[1]
        parts = [part for part in text.split("/") if part not in ("", ".")]
        if text.startswith("/") or ".." in parts:
            raise UnsupportedValueError(f"{brief(text)} leaves the directory: give a path within it, such as 'a/b.npy'")
        with suppress(UnsafeNameError):
            return "/".join(filter(None, (below, encode_path("/".join(parts)) if parts else "")))
        return None

    def _absent(self, path: str) -> MemberNotFoundError:
        whole, below = self._place()
        inside = f"/{printable(decode_path(below))}" if below else ""
        from datajoint_file.pipeline.near_names import near  # for its cost: no fetch needs it

        told = near(self._manifest(), below, path)
        return MemberNotFoundError(f"{printable(whole.name)}{inside} has no {brief(path)}; {told}")

    @brief_traceback
    def joinpath(self, *paths: str | os.PathLike[str]) -> FileRef | Subdirectory | DirectoryRef:
        """Return what is at a path within this directory, as ``/`` does. Looks into the manifest, and asks no store.

        Returns
        -------
        FileRef, or Subdirectory
            What reads it; the directory itself for the path ``"."``.

        Raises
        ------
        MemberNotFoundError
            If there is no such file or directory.
        UnsupportedValueError
            If the path leaves the directory.

        Examples
        --------
        >>> (ref / "raw/day1.csv").size, ref.joinpath("raw", "day1.csv") == ref / "raw/day1.csv"
        (4, True)
        """
        path = "/".join([os.fspath(part) for part in paths])
        found = self._found(path)
        if found is None:
            raise self._absent(path)
        return found

    def _found(self, path: str) -> FileRef | DirectoryRef | Subdirectory | None:
        whole, (name, manifest) = self._place()[0], (self._inner(path), self._manifest())
        if name is None:
            return None
        if not name:
            return whole
        if (member := manifest.find(name)) is not None:
            return _file(whole, member)
        return Subdirectory(whole, name) if manifest.is_directory(name) else None

    def __truediv__(self, path: str | os.PathLike[str]) -> FileRef | Subdirectory | DirectoryRef:
        return self.joinpath(path)

    @brief_traceback
    def iterdir(self) -> Iterator[FileRef | Subdirectory]:
        """Give what is in this directory, in the order of the manifest, which is looked into at the first step.

        Examples
        --------
        >>> [entry.name for entry in ref.iterdir()]
        ['params.py', 'raw']
        """
        whole, below = self._place()
        manifest = self._manifest()
        for name, is_directory in manifest.children(below):
            inner = f"{below}/{name}" if below else name
            member = None if is_directory else manifest.find(inner)
            yield Subdirectory(whole, inner) if member is None else _file(whole, member)

    def listdir(self, subpath: str | os.PathLike[str] | None = None) -> list[str]:
        """Return the names of what is in this directory, or in one below it. Raises as `joinpath` does, and of a file.

        Examples
        --------
        >>> ref.listdir("raw")
        ['day1.csv', 'day2.csv']
        """
        place = self.joinpath(subpath) if subpath else self
        if isinstance(place, FileRef):
            raise UnsupportedValueError(f"{brief(os.fspath(subpath or ''))} is a file")
        return [entry.name for entry in place.iterdir()]

    @brief_traceback
    def files(self) -> Iterator[FileRef]:
        """Give all files, at any depth, sorted by path. Looks into the manifest at once.

        Examples
        --------
        >>> [(file.name, file.size) for file in ref.files()]
        [('params.py', 7), ('day1.csv', 4), ('day2.csv', 4)]
        """
        whole, below = self._place()
        return (_file(whole, member) for member in self._manifest().below(below))

    @brief_traceback
    def glob(self, pattern: str) -> Iterator[FileRef]:
        """Give the files whose paths within this directory match, as `pathlib.Path.glob` does: ``*.npy``, ``**/*.npy``.

        The manifest is looked into at the first step.

        Raises
        ------
        UnsupportedValueError
            If the pattern leaves the directory.

        Examples
        --------
        >>> [file.name for file in ref.glob("**/*.csv")]
        ['day1.csv', 'day2.csv']
        """
        if pattern.startswith("/") or ".." in pattern.split("/") or not pattern:
            raise UnsupportedValueError(f"{brief(pattern)}: give a pattern of paths within the directory")
        from datajoint_file.pipeline.filesystem import glob_matcher  # for its cost, as below

        whole, below = self._place()
        matches, start = glob_matcher(pattern), len(below) + 1 if below else 0
        for member in self._manifest().below(below):
            if matches(decode_path(member.name[start:])):
                yield _file(whole, member)

    @brief_traceback
    def walk(self) -> Iterator[tuple[str, list[str], list[str]]]:
        """Give, for each directory, its path within this one, and the names of directories and files in it.

        As `os.walk` does; the first path is empty. The manifest is looked into at the first step.

        Examples
        --------
        >>> list(ref.walk())
        [('', ['raw'], ['params.py']), ('raw', [], ['day1.csv', 'day2.csv'])]
        """
        _, below = self._place()
        manifest, waiting = self._manifest(), [""]
        while waiting:
            inner = waiting.pop()
            directories: list[str] = []
            files: list[str] = []
            for name, is_directory in manifest.children("/".join(filter(None, (below, inner)))):
                (directories if is_directory else files).append(name)
            waiting += [f"{inner}/{name}" if inner else name for name in reversed(directories)]
            yield (
                decode_path(inner) if inner else "",
                list(map(decode_path, directories)),
                list(map(decode_path, files)),
            )

    @brief_traceback
    def open(self, subpath: str | os.PathLike[str] | None = None, mode: str = "rb", **options: Any) -> Any:
        """Open a member for reading, as `FileRef.open` does: bytes or text, not verified, fetching what is read.

        Raises
        ------
        IsADirectoryError
            If it is a directory. Else as `joinpath` and `FileRef.open` do.

        Examples
        --------
        >>> with ref.open("raw/day1.csv") as file:
        ...     file.read(2)
        b'1,'
        """
        return self._member(subpath).open(mode, **options)

    @brief_traceback
    def read(
        self,
        subpath: str | os.PathLike[str] | None = None,
        *,
        start: int | None = None,
        stop: int | None = None,
        verify: str | None = None,
    ) -> bytes:
        """Return the bytes of a member, or a range of them, as `FileRef.read` does. Raises as `open` and that do.

        Examples
        --------
        >>> ref.read("raw/day1.csv"), ref.read("raw/day1.csv", start=-1)
        (b'1, 2', b'2')
        """
        return self._member(subpath).read(start=start, stop=stop, verify=verify)

    @brief_traceback
    def load(self, subpath: str | os.PathLike[str] | None = None, *, format: str | None = None) -> Any:  # noqa: A002 - as of files
        """Return the object that the directory holds: a dataset of xarray or an array of a ``.zarr``, read when used.

        Or what a file or directory in it holds. *format* is the suffix of the format to take it for, if its name does
        not say it. Raises as `FileRef.load` does.
        """
        if subpath is not None:
            return self.joinpath(subpath).load(format=format)
        from datajoint_file.pipeline.loading import load_directory  # for its cost, as below

        return load_directory(self.original_name, self.path, self.fsmap, format)

    def sign(self, *_: object, **__: object) -> str:
        """Refuse: a link is for one file. Raises `SigningError`, and says which to give."""
        raise SigningError(
            f"{printable(self.name)} is a directory, and a link is for one file: (ref / 'a/b.npy').sign('1 day'), or "
            "store an archive of it"
        )

    def _member(self, subpath: str | os.PathLike[str] | None) -> FileRef:
        if isinstance(subpath, int):
            raise UnsupportedValueError(f"{brief(subpath)} is no path of a file in the directory; {self._way_on}")
        found = self.joinpath(subpath or "")
        if not isinstance(found, FileRef):
            name = printable(found.name)
            raise IsADirectoryError(
                f"{name} is a directory: give the path of a file in it, or use iterdir(), download(), fs"
            )
        return found

    def __contains__(self, path: object) -> bool:
        try:
            return self._found(path if isinstance(path, str) else os.fspath(path)) is not None  # type: ignore[call-overload]
        except TypeError:
            return False

    is_dir = Answer(True)
    """That this is a directory: to be called, or asked as it is. No I/O."""

    def is_file(self) -> bool:
        """Tell that this is no file. No I/O."""
        return False

    @brief_traceback
    def download(
        self,
        destination: str | os.PathLike[str],
        subpath: str | os.PathLike[str] | None = None,
        *,
        overwrite: bool = False,
        progress: bool | None = None,
        verify: str | None = None,
    ) -> Path:
        """Write the verified files to a directory and return its path.

        They go to a temporary directory beside the target, which takes its name when all are there and match. If the
        target is there already, that is within it, and files are moved one by one then; what it has besides is left.

        Parameters
        ----------
        destination : path
            A directory (existing, or ending in a slash), which receives this one under its original name; or the path
            of the new directory. Missing directories are made.
        subpath : path, optional
            What of it, if not all: a file, which goes where `FileRef.download` would write it, or a directory.
        overwrite : bool
            Replace different files. Equal ones are kept in any case, and not transferred.
        progress : bool or None
            Show a progress bar: always, never, or (``None``) on a terminal or in a notebook after a second.
        verify : {"always", "first", "size", "never"}, optional
            How much of each file is checked, if not as ``[object_storage] verify`` says; see `FileRef.read`. The list
            of the files is verified in any case.

        Raises
        ------
        DestinationExistsError
            If a different file is there, or a directory, which would get a file that DataJoint reads where it lies
            (``datajoint.toml``, ``datajoint.json``, ``.secrets``). Nothing was changed, unless somebody else has put
            the file there during the call: then the error names what was placed before.
        DestinationError
            If the target cannot be written.
        VerificationError
            If stored bytes are not those that were inserted. Nothing is left at the target.
        ObjectNotFoundError, StorageError
            If a member is gone, or the store fails. Nothing is left at the target.

        Examples
        --------
        >>> sorted(path.name for path in ref.download("copies/").iterdir())
        ['params.py', 'raw']
        """
        how: dict[str, Any] = {"overwrite": overwrite, "progress": progress, "verify": verify}
        if subpath:
            return self.joinpath(subpath).download(destination, **how)
        from datajoint_file.pipeline.directory_download import download  # for its cost, as a fetch needs none

        whole, below = self._place()
        pipeline, metadata = whole._pipeline(), whole.metadata
        return download(pipeline, metadata, destination, **how, below=below)

    @brief_traceback
    def exists(self, subpath: str | os.PathLike[str] | None = None) -> bool:
        """Tell whether it is in the store: its manifest is, which is stored last and deleted first.

        With *subpath*, whether that is in it, and in the store. Asks the store, once or twice, each time.

        Raises
        ------
        StorageError
            If the store cannot be asked.

        Examples
        --------
        >>> ref.exists(), ref.exists("raw/day1.csv"), ref.exists("raw/day3.csv")
        (True, True, False)
        """
        whole, _ = self._place()
        if not whole._pipeline().exists(whole.metadata):
            return False
        return not subpath or (subpath in self and self.joinpath(subpath).exists())

    @brief_traceback
    def verify(self, *, progress: bool | None = None) -> Literal[True]:
        """Read all members to their end, and return true if they are what was inserted; else raise.

        Raises
        ------
        VerificationError
            If size or hash of one differ, or of the manifest.
        ObjectNotFoundError, StorageError
            If one is gone, or the store fails.

        Examples
        --------
        >>> ref.verify()
        True
        """
        from datajoint_file.pipeline.directory_download import verify

        whole, below = self._place()
        verify(whole._pipeline(), whole.metadata, progress, below)
        return True

    @brief_traceback
    def preview(self, subpath: str | os.PathLike[str] | None = None) -> Preview:
        """Return what there is to see of it: the first of its files, as a tree; of a Zarr its groups and arrays.

        With *subpath*, of what is there, as `FileRef.preview` has it. Looks into the manifest; of a Zarr, reads the
        metadata of what is shown. Raises as `joinpath` and `FileRef.preview` do.

        Examples
        --------
        >>> print(ref.preview("raw"))
        raw/: 2 files, 8 B
          day1.csv  4 B
          day2.csv  4 B
        """
        if subpath:
            return self.joinpath(subpath).preview()
        from datajoint_file.preview import preview_directory  # for its cost, as a fetch needs none

        return preview_directory(self).with_facts(counted(self.file_count, "file"), format_size(self.size))

    @property
    def file_count(self) -> int:
        """How many files it has. The row says it: no I/O, but for a part of a directory, which looks into the manifest.

        Examples
        --------
        >>> ref.file_count, (ref / "raw").file_count
        (3, 2)
        """
        return self.metadata.files or 0

    @property
    def item_count(self) -> int:
        """How many files it has, as DataJoint's ``ObjectRef`` calls it."""
        return self.file_count

    @property
    def fs(self) -> DirectoryFileSystem:
        """Its files as an fsspec filesystem, read-only; paths are those within the directory. No I/O.

        A file that is read whole, at once, is verified, and so is all of one of up to 16 MiB; a range of a larger one
        is not, nor is what ``fs.open`` gives of it.
        What the store has lost is an error, and never taken for a chunk that nobody has written.

        Examples
        --------
        >>> ref.fs.glob("**/*.csv")
        ['raw/day1.csv', 'raw/day2.csv']
        >>> pandas.read_parquet("year=2020", filesystem=ref.fs)  # doctest: +SKIP
        """
        from datajoint_file.pipeline.filesystem import DirectoryFileSystem  # for its cost: fsspec

        whole, below = self._place()
        return DirectoryFileSystem(json.dumps(whole.to_dict()), whole.pipeline, below)

    @property
    def fsmap(self) -> Any:
        """Its files as a read-only mapping of paths to verified bytes, as zarr and xarray take it. No I/O.

        Examples
        --------
        >>> ref.fsmap["raw/day1.csv"]
        b'1, 2'
        >>> group = zarr.open(ref.fsmap, mode="r")  # doctest: +SKIP
        >>> dataset = xarray.open_zarr(ref.fsmap)  # doctest: +SKIP
        """
        return self.fs.get_mapper("")

    @property
    def upath(self) -> UPath:
        """Its files as paths of `universal_pathlib <https://pypi.org/project/universal-pathlib/>`_, read-only. No I/O.

        Raises
        ------
        ModuleNotFoundError
            If universal-pathlib is not installed.

        Examples
        --------
        >>> (ref.upath / "raw" / "day1.csv").read_bytes(), [path.name for path in ref.upath.iterdir()]
        (b'1, 2', ['params.py', 'raw'])
        """
        return path_over(self.fs)

    def as_tree(self) -> StoredTree:
        """Return the members, as what is to be stored: an insert takes a directory, and a part of one."""
        from datajoint_file.pipeline.stored_tree import StoredTree  # for its cost, as above

        return StoredTree(*self._place())


@with_slots
class DirectoryRef(_Browsing, StoredRef):
    """A stored directory.

    A value like `FileRef`: frozen, hashable, equal by what it describes, picklable, and fetched without I/O.

    What is in it the manifest says. The first look into it in a process reads all of it, some 80 bytes a file and the
    paths, and verifies it; it is then kept in memory, for all references to equal directories, until 200 MB of
    manifests have been used since, those of two million files. Every look may raise an `ObjectNotFoundError` (the
    manifest, and so the directory, is not in the store), a `VerificationError` (it is not the one of the row), a
    `MetadataError` (it is malformed), or a `StorageError` (the store fails).

    A member is a `FileRef`, whose bytes are verified as those of any file; what is read through ``open`` is not.

    Parameters
    ----------
    metadata : FileMetadata
        What the row records.
    pipeline : str
        The name of the pipeline that reads it.

    Examples
    --------
    >>> ref = (Sorting & key).fetch1("result")  # doctest: +SKIP
    >>> templates = (ref / "templates.npy").read()  # doctest: +SKIP
    >>> [file.name for file in ref.glob("**/*.csv")]  # doctest: +SKIP
    ['cluster_group.csv']
    >>> path = ref.download("/scratch/")  # doctest: +SKIP
    """

    __slots__ = ()

    def _place(self) -> tuple[DirectoryRef, str]:
        return self, ""

    def _amount(self) -> str:
        return f"{counted(self.file_count, 'file')}, {format_size(self.size)}"

    def _card(self, *within: str) -> str:
        """Show what is in it as well, if that is known or can be had."""
        if self.file_count <= _SHOWN_FILES:
            with suppress(DataJointFileError):
                within += tuple(_tree(self))
        return super()._card(*within)


def ref_of(row: object, pipeline: str) -> FileRef | DirectoryRef:
    """Make a reference of a row's JSON: of a file or of a directory, as it says; see `StoredRef.from_row`."""
    if type(row) is dict and "files" in row and is_directory_row(row):
        return DirectoryRef.from_row(row, pipeline)
    return FileRef.from_row(row, pipeline)


@dataclass(frozen=True, slots=True)
class Subdirectory(_Browsing):
    """A directory within a stored one, which has the verbs of the whole, and says what that does. Made without I/O.

    Parameters
    ----------
    whole : DirectoryRef
        The stored directory.
    inner : str
        Its path within that, as the store has it: components percent-encoded.

    Examples
    --------
    >>> raw = ref / "raw"
    >>> raw.name, raw.metadata.files, raw.listdir()
    ('raw', 2, ['day1.csv', 'day2.csv'])
    """

    whole: DirectoryRef
    inner: str

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Say what to give in its place to who takes it for an open file."""
            raise no_attribute(self, name)

    def _place(self) -> tuple[DirectoryRef, str]:
        return self.whole, self.inner

    @property
    def metadata(self) -> FileMetadata:
        """What a row would record of it, if it were stored by itself, and its path. Looks into the manifest.

        The manifest that it would have is made for that, once for each of the last directories that were asked.
        """
        from datajoint_file.pipeline.manifests import part_metadata  # for its cost, as above

        return part_metadata(self.whole.metadata, self._manifest(), self.inner)

    @property
    def path(self) -> str:
        """The object key that its files begin with. Reads nothing."""
        return f"{self.whole.path}{self.inner}/"

    @property
    def linked(self) -> str:
        """Where its files are, if they stay where they are."""
        return f"{self.whole.linked}{self.inner}/" if self.whole.linked else ""

    @property
    def pipeline(self) -> str:
        """The name of the pipeline that reads it."""
        return self.whole.pipeline

    @property
    def name(self) -> str:
        """The last part of its path. Reads nothing."""
        return decode_path(self.inner.rpartition("/")[2])

    @property
    def original_name(self) -> str:
        """The last part of its path. Reads nothing."""
        return self.name

    title = None
    """A part of a directory has no title of its own."""

    def _pipeline(self) -> Pipeline:
        return self.whole._pipeline()

    def __repr__(self) -> str:
        return f"<{decode_path(self.inner)!a} in {self.whole!r}>"


def _file(whole: DirectoryRef, member: Member) -> FileRef:
    from datajoint_file.pipeline.manifests import member_metadata  # for its cost: media types

    return FileRef(member_metadata(whole.metadata, member), whole.pipeline)


def _tree(ref: _Browsing) -> list[str]:
    """Return the first entries of a directory, each on a line."""
    lines = [f"{entry.name}{'/' if entry.is_dir() else ''}" for entry in islice(ref.iterdir(), _SHOWN + 1)]
    return [*lines[:_SHOWN], "…"] if len(lines) > _SHOWN else lines
