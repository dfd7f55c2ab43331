"""Open file that pickles as what opens it again: the reference of its row, and the position.

Neither a descriptor nor a connection nor a secret travels. How bytes are read is the store's business.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO, cast

from datajoint_file.storage.remote.readahead import ReadAheadFile

if TYPE_CHECKING:
    from datajoint_file.pipeline.fileref import FileRef


def reopening(file: BinaryIO, ref: FileRef, options: dict[str, Any]) -> BinaryIO:
    """Return *file*, just opened from *ref* with *options*, as one that can be pickled and copied.

    Each copy is a file of its own. What a store has opened in a way of its own is returned as it is.
    """
    made: _BufferedFile | _RangedFile
    if isinstance(file, io.BufferedReader):
        raw = file.detach()
        made = _BufferedFile(raw, getattr(raw, "_blksize", io.DEFAULT_BUFFER_SIZE))
    elif isinstance(file, ReadAheadFile):
        made = _RangedFile(file.cache, file.size)
    else:
        return file
    made.origin = ref, options
    return cast("BinaryIO", made)


def text_of(file: BinaryIO, ref: FileRef, options: dict[str, Any], text: dict[str, str | None]) -> TextIO:
    """Return *file*, just opened from *ref* with *options*, as a text, which can be pickled and copied likewise."""
    try:
        made = _TextFile(file, text["encoding"] or "utf-8", text["errors"], text["newline"])
    except BaseException:
        file.close()
        raise
    made.origin = ref, {**options, **text}
    return made


class _Reopening:
    origin: tuple[FileRef, dict[str, Any]]
    is_copy = False

    @property
    def original_name(self) -> str:
        """That of the stored file, by which it is stored again; a store has names of its own."""
        return self.origin[0].original_name

    def __reduce_ex__(self, _protocol: Any) -> tuple[Any, ...]:
        return _reopened, (*self.origin, cast("BinaryIO", self).tell())


class _BufferedFile(_Reopening, io.BufferedReader):
    """A file of a disk, or one that fsspec reads."""

    def __del__(self) -> None:
        if self.is_copy:  # nobody has opened it by hand, and who copies graphs and datasets closes no copies
            self.close()


class _RangedFile(_Reopening, ReadAheadFile):
    """A file that is read in ranges."""


class _TextFile(io.TextIOWrapper):
    """A text file; its position is told as Python does, in a number of its own for what it has read ahead."""

    origin: tuple[FileRef, dict[str, Any]]
    is_copy = False

    @property
    def original_name(self) -> str:
        """That of the stored file."""
        return self.origin[0].original_name

    def __reduce_ex__(self, _protocol: Any) -> tuple[Any, ...]:
        return _reopened, (*self.origin, self.tell(), "r")

    def __del__(self) -> None:
        if self.is_copy:
            self.close()


def _reopened(ref: FileRef, options: dict[str, Any], position: int, mode: str = "rb") -> BinaryIO | TextIO:
    file: BinaryIO | TextIO = ref.open(mode, **options)
    file.seek(position)
    cast("_Reopening", file).is_copy = True
    return file
