"""`FileRef`, the lazy handle of a stored file: a value that describes it and reads it on request."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from datajoint_file.errors import UnsupportedValueError, brief_traceback
from datajoint_file.pipeline.stored_ref import Answer, StoredRef, with_slots

if TYPE_CHECKING:
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
    def read(self, size: None = None, /) -> bytes:
        """Return the file's bytes, verified against its hash, all in memory: no part of them, which `open` is for.

        Raises
        ------
        UnsupportedValueError
            If a *size* is given, as libraries do with an open file, which this is not.
        VerificationError
            If the stored bytes are not those that were inserted. None of them is returned.
        ObjectNotFoundError
            If the object is not in the store.
        StorageError
            If the store cannot be reached, or refuses.
        """
        if size is not None:
            raise UnsupportedValueError(f"a FileRef is read as a whole, and is no open file; {self._way_on}")
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

        No more is read than that takes, at most 32 MiB, and it is *not* verified. Nothing of the file is run, unpickled
        or shown as markup. What is damaged, too large or of no known kind is shown by its first bytes, and so is what
        needs a library that is missing; the preview says which.

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

    def read_bytes(self) -> bytes:
        """Return the file's verified bytes, as `read` does: ``importlib.resources.abc.Traversable`` has it so."""
        return self.read()

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        """Return the file's verified bytes as text, by default UTF-8."""
        return self.read().decode(encoding or "utf-8", errors or "strict")

    @brief_traceback
    def load(self, *, format: str | None = None) -> Any:  # noqa: A002 - as others call it
        """Return the object that the file holds: a data frame of a ``.parquet``, an array of a ``.npy``, text.

        The suffix of its name says which format it is, else its media type. The bytes are verified before they are
        looked at. A file may come from anybody: what would run code, read other files, or fill the memory is refused.

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

    def is_file(self) -> bool:
        """Tell that this is a file."""
        return True

    is_dir = Answer(False)
    """That this is no directory: to be called, or asked as it is."""
