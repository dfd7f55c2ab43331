"""`FileRef`, the lazy handle of a stored file: a value that describes it and reads it on request."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TextIO, overload

from datajoint_file.errors import UnsupportedValueError, brief_traceback
from datajoint_file.pipeline.stored_ref import Answer, StoredRef, path_over, with_slots

if TYPE_CHECKING:
    from upath import UPath

    from datajoint_file.pipeline.filesystem import DirectoryFileSystem
    from datajoint_file.preview import Preview


@with_slots
class FileRef(StoredRef):
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

    __slots__ = ()

    @brief_traceback
    def read(
        self, size: None = None, /, *, start: int | None = None, stop: int | None = None, verify: str | None = None
    ) -> bytes:
        """Return the file's bytes, or a range of them, in memory; all of them are verified against its hash.

        What the cache has is read there, and hashed all the same.

        A range is verified in files of up to 16 MiB, which are fetched whole for that and kept a while. Of a larger
        file the range alone is fetched: it is *not* verified, beyond the file's size, which is asked for first, and
        whether the original of a link was changed, as by `open`.

        Parameters
        ----------
        start, stop : int or None
            Where the range begins and ends, as in a slice: ``start=-100`` is the last hundred bytes.
        verify : {"always", "first", "size", "never"}, optional
            How much is checked, if not as ``[object_storage] verify`` says: the hash; the hash, unless this process has
            found it right and the store says that the object is the same still, or it comes from the cache, where it
            was verified when it came; the number of bytes; nothing. Too few
            bytes are an error in any case. Of a range, ``"size"`` and ``"never"`` fetch no more than that.

        Raises
        ------
        UnsupportedValueError
            If a *size* is given, as libraries do with an open file, which this is not.
        VerificationError
            If the stored bytes are not those that were inserted. None of them is returned.
        ValueError
            If *verify* is none of these.
        ObjectNotFoundError
            If the object is not in the store.
        StorageError
            If the store cannot be reached, or refuses.

        Examples
        --------
        >>> ref.read(start=1, stop=4), ref.read(start=-2)  # doctest: +SKIP
        (b'bcd', b'yz')
        """
        if size is not None:
            raise UnsupportedValueError(
                f"a FileRef is no open file, of which so many bytes are read; {self._way_on}. A range of its bytes is "
                "read(start=…, stop=…)"
            )
        from datajoint_file.pipeline.checked_reads import read_range  # for its cost, as below

        return read_range(self._pipeline(), self.metadata, start, stop, verify)

    @overload
    def open(
        self,
        mode: Literal["rb", "br"] = "rb",
        *,
        encoding: None = None,
        errors: None = None,
        newline: None = None,
        block_size: int | None = None,
        cache_type: str | None = None,
        cache_options: dict[str, Any] | None = None,
    ) -> BinaryIO: ...

    @overload
    def open(
        self,
        mode: str,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        block_size: int | None = None,
        cache_type: str | None = None,
        cache_options: dict[str, Any] | None = None,
    ) -> Any: ...

    @brief_traceback
    def open(
        self,
        mode: str = "rb",
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        block_size: int | None = None,
        cache_type: str | None = None,
        cache_options: dict[str, Any] | None = None,
    ) -> BinaryIO | TextIO:
        """Open the file for reading: seekable, fetching only what is read. The caller closes it.

        What is read this way is *not* verified, beyond the file's size; `read` and `download` verify. A link is read
        through before, if its original may have been written to since it was linked. What the cache has is opened
        there, and no store is asked. The file can be copied and pickled: the copy is opened anew, in
        another process through that one's configuration. (A text not while a loop goes through its lines: then Python
        does not tell where it is.)

        Parameters
        ----------
        mode : str
            ``"rb"``; or ``"r"`` for text. Files are never written in place.
        encoding, errors, newline : str or None
            Of a text, as the built-in ``open`` has them; but UTF-8, if no encoding is given.
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
        SizeMismatchError, FileChangedError
            If it has not the recorded size; or is the original of a link, and was changed.
        ValueError
            If the mode is another, or fsspec has no such caches.
        LookupError
            If Python has no such encoding.
        """
        from datajoint_file.pipeline.open_file import reopening, text_of  # for its cost, as below

        text = {"encoding": encoding, "errors": errors, "newline": newline}
        options = {"block_size": block_size, "cache_type": cache_type, "cache_options": cache_options}
        is_text = check_mode(mode, text)
        file = reopening(self._pipeline().open(self.metadata, **options), self, options)
        return text_of(file, self, options, text) if is_text else file

    @brief_traceback
    def download(
        self,
        destination: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        progress: bool | None = None,
        verify: str | None = None,
    ) -> Path:
        """Write the file's verified bytes to *destination* and return the path written.

        They go to a temporary file beside the target, which takes its name when all are there and match: at every
        moment the target is absent, what it was, or complete. What the cache has is copied from there.

        Parameters
        ----------
        destination : path
            A directory (existing, or ending in a slash), which receives the file under its original name; or a file's
            path. Missing directories are made.
        overwrite : bool
            Replace a different file at the target. An equal one is kept in any case, and nothing is transferred.
        progress : bool or None
            Show a progress bar: always, never, or (``None``) on a terminal or in a notebook after a second.
        verify : {"always", "first", "size", "never"}, optional
            How much of what comes is checked, if not as ``[object_storage] verify`` says; see `read`. A file that is
            there already is compared as ever.

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
        how: dict[str, Any] = {"overwrite": overwrite, "progress": progress, "verify": verify}
        return self._pipeline().download(self.metadata, destination, **how)

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
    def verify(self, *, progress: bool | None = None) -> Literal[True]:
        """Read the stored bytes to their end, and return true if they are those that were inserted; else raise.

        Raises
        ------
        VerificationError
            If size or hash differ.
        ObjectNotFoundError, StorageError
            If the object is gone, or the store fails.
        """
        self._pipeline().verify(self.metadata, progress)
        return True

    @brief_traceback
    def preview(self) -> Preview:
        """Return what there is to see of the file, for a notebook or ``print``: a picture, first rows, a tree, a shape.

        No more is read than that takes, at most 32 MiB, and it is *not* verified; of a link see `open`. Nothing
        of the file is run, unpickled or shown as markup. What is damaged, too large or of no known kind is shown by its
        first bytes, and so is what needs a library that is missing; the preview says which.

        Raises
        ------
        ObjectNotFoundError, StorageError
            If the object is gone, or the store fails.

        Examples
        --------
        >>> print((Recording & key).fetch1("trials").preview())  # doctest: +SKIP
        trials.csv: 1.2 kB, text/csv, 40 rows of 2 columns
          trial  outcome
          1      hit
        """
        from datajoint_file.preview import Subject, preview_file  # for its cost, as below

        return preview_file(Subject(self.name, self.size, self.mime_type, self.open))

    def sign(self, expires: timedelta | float | str = "1 hour", *, inline: bool = False) -> str:
        """Return a URL by which anybody can get the file from a bucket for a while: a presigned link.

        It is the secret: whoever has it can read the file, without credentials, until it expires; it cannot be taken
        back, and is neither kept nor logged here. The object is looked at before. Temporary credentials take their
        links with them when they end. What is got by one is not verified; `hash` tells.

        Parameters
        ----------
        expires : float, timedelta or str
            How long it is good: seconds, or a text such as ``"30 min"``; at most 7 days.
        inline : bool
            Let a browser show the file, instead of saving it under its original name. HTML that others have made then
            runs as a page of the bucket.

        Raises
        ------
        SigningError
            If the store makes no links (a disk, sftp), or the credentials cannot: an anonymous caller, on Google Cloud
            Storage all but a service account's private key, on Azure all but the account's key.
        ObjectNotFoundError, SizeMismatchError, FileChangedError
            If the object is not in the store, has not the recorded size, or is the original of a link and was changed.
        StorageError
            If the store cannot be asked.
        ValueError, TypeError
            If *expires* is no such time.

        Examples
        --------
        >>> ref.sign("15 min")  # doctest: +SKIP
        'https://s3.eu-central-1.amazonaws.com/…&X-Amz-Expires=900&…'
        """
        from datajoint_file.pipeline.signing import sign  # for its cost, as above

        return sign(self._pipeline(), self.metadata, expires, inline=inline)

    def read_bytes(self) -> bytes:
        """Return the file's verified bytes, as `read` does: ``importlib.resources.abc.Traversable`` has it so."""
        return self.read()

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        """Return the file's verified bytes as text, by default UTF-8."""
        return self.read().decode(encoding or "utf-8", errors or "strict")

    @brief_traceback
    def load(self, *, format: str | None = None) -> Any:  # noqa: A002 - as others call it
        """Return the object that the file holds: a data frame of a ``.parquet``, an array of a ``.npy``, text.

        The suffix of its name says which format it is, else its media type. What `read` verifies is verified before
        it is looked at. A file may be anybody's: what would run code, read other files, or fill the memory is refused.

        Parameters
        ----------
        format : str, optional
            The suffix of the format to take it for: ``".csv"``.

        Raises
        ------
        FormatError
            If no format is known for it, or it is not what its format says.
        UnsafeContentError
            If loading it would run code, or read other files.
        MissingLibraryError
            If the library of its format is not installed.
        UnsupportedValueError
            If there is no such *format*.
        VerificationError, ObjectNotFoundError, StorageError
            As by `read`.

        Examples
        --------
        >>> events = (Session & key).fetch1("events").load()  # doctest: +SKIP
        """
        from datajoint_file.pipeline.loading import load_file  # for its cost: a fetch needs no formats

        return load_file(self, format)

    @property
    def fs(self) -> DirectoryFileSystem:
        """The file in an fsspec filesystem of its own, read-only, under its name. No I/O.

        Verified as `DirectoryRef.fs` says.

        Examples
        --------
        >>> ref.fs.cat_file(ref.name, start=0, end=4)  # doctest: +SKIP
        b'RIFF'
        """
        from datajoint_file.pipeline.file_filesystem import FileFileSystem  # for its cost: fsspec

        return FileFileSystem(json.dumps(self.to_dict()), self.pipeline)

    @property
    def upath(self) -> UPath:
        """The file as a path of `universal_pathlib <https://pypi.org/project/universal-pathlib/>`_, read-only. No I/O.

        Raises
        ------
        ModuleNotFoundError
            If universal-pathlib is not installed.

        Examples
        --------
        >>> ref.upath.suffix, ref.upath.read_bytes()  # doctest: +SKIP
        ('.csv', b'1, 2')
        """
        return path_over(self.fs, self.name)

    def is_file(self) -> bool:
        """Tell that this is a file."""
        return True

    is_dir = Answer(False)
    """That this is no directory: to be called, or asked as it is."""


def check_mode(mode: str, text: Mapping[str, str | None]) -> bool:
    """Tell whether a file is to be opened as text, *text* being what was said of that; raise if that cannot be."""
    if mode in ("r", "rt", "tr"):
        return True
    if mode not in ("rb", "br"):
        raise ValueError(f"mode = {mode!r}: a stored file is opened with 'rb', or as text with 'r'")
    if said := [name for name, value in text.items() if value is not None]:
        raise ValueError(f"{said[0]} = {text[said[0]]!r}: that is of a text: open the file with 'r'")
    return False
