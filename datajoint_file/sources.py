"""What the user gave for a ``file`` attribute, normalised: a path, a stream, bytes or a `FileRef` becomes a `Source`.

Recognising a value reads nothing but the file system's description of a path; the bytes are read once, later.
"""

from __future__ import annotations

import codecs
import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeGuard, cast, runtime_checkable

from datajoint_file.errors import (
    DataJointFileError,
    SourceAccessError,
    SourceChangedError,
    SourceError,
    SourceIsDirectoryError,
    SourceNotFoundError,
    SourceNotRegularError,
    UnsafeNameError,
    UnsupportedValueError,
    brief,
    printable,
)
from datajoint_file.keys import check_name
from datajoint_file.metadata import FileMetadata, is_mime_type
from datajoint_file.mime import HEAD_SIZE
from datajoint_file.storage.backend import Reader

ACCEPTED = "a path, a binary stream, (name, stream), (name, bytes), a File, a FileRef, or None where nullable"


@dataclass(frozen=True, slots=True)
class File:
    """A path, stream or bytes to insert, under another name or with a known media type.

    Parameters
    ----------
    content : str, os.PathLike, binary stream or bytes
        What to store.
    name : str or None
        The original name to record; that of the path or stream if not given.
    mime_type : str or None
        The media type to record; guessed if not given.

    Examples
    --------
    >>> File(b"GIF89a", name="movie.gif", mime_type="image/gif").name
    'movie.gif'
    """

    content: Any
    name: str | None = None
    mime_type: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Bytes to store: where they come from, and what is known of them beforehand.

    Parameters
    ----------
    name : str
        The original name; empty if nobody gave one.
    open : callable
        Gives a context manager for the reader of the bytes. Called once.
    head : callable
        Gives the first bytes without consuming them.
    size : int or None
        Their number, if known.
    mime_type : str or None
        Their media type, if the caller gave it.
    hash : str or None
        Their hash, if they are a stored file's.
    """

    name: str
    open: Callable[[], AbstractContextManager[Reader]]
    head: Callable[[], bytes]
    size: int | None = None
    mime_type: str | None = None
    hash: str | None = None


@runtime_checkable
class StoredFile(Protocol):
    """A file that is stored already, as `FileRef` is."""

    @property
    def metadata(self) -> FileMetadata:
        """What its row records."""
        ...

    def open(self, mode: str = "rb") -> BinaryIO:
        """Open its bytes."""
        ...


def as_source(value: object) -> Source:
    """Return *value* as a source of bytes. A path is looked at, nothing is read.

    Raises
    ------
    UnsupportedValueError
        If *value* is none of the kinds accepted, or a text stream.
    SourceError
        If a stream is closed, or open for writing only.
    UnsafeNameError
        If its name could not be stored.
    SourceNotFoundError, SourceAccessError, SourceIsDirectoryError, SourceNotRegularError
        If a path is missing, unreadable, a directory, or a FIFO, socket or device.

    Examples
    --------
    >>> source = as_source(("notes.txt", b"12 spikes"))
    >>> source.name, source.size
    ('notes.txt', 9)
    """
    if isinstance(value, File):
        return _from_file(value)
    if _is_path(value):
        return _from_path(value)
    if isinstance(value, tuple):
        return _from_pair(value)
    if isinstance(value, StoredFile) and isinstance(value.metadata, FileMetadata):
        return _from_stored(value)
    if callable(getattr(value, "read", None)):
        return _from_stream(value)
    if isinstance(value, bytes | bytearray | memoryview):
        raise UnsupportedValueError(f"bytes need a name: give (name, bytes); accepted: {ACCEPTED}")
    raise UnsupportedValueError(f"a value of type {type(value).__name__} is not a file; accepted: {ACCEPTED}")


def _is_path(value: object) -> TypeGuard[str | os.PathLike[Any]]:
    """Tell whether *value* names a file. fsspec's open local files know their path, and are streams none the less."""
    return isinstance(value, str | os.PathLike) and not isinstance(value, io.IOBase)


def _from_file(value: File) -> Source:
    if value.mime_type is not None and not is_mime_type(str(value.mime_type)):
        raise UnsupportedValueError(f"mime_type = {brief(value.mime_type)} is not of the form type/subtype")
    if isinstance(value.content, File | tuple):
        raise UnsupportedValueError("the content of a File is a path, a binary stream or bytes")
    if isinstance(value.content, bytes | bytearray | memoryview):
        source = _from_bytes(value.content)
    elif value.name is not None and _is_path(value.content):
        source = _from_path(value.content, value.name)
    else:
        source = as_source(value.content)
    name = source.name if value.name is None else _checked_name(value.name)
    return replace(source, name=name, mime_type=value.mime_type or source.mime_type)


def _from_pair(value: tuple[object, ...]) -> Source:
    if len(value) != 2 or not isinstance(value[0], str):
        raise UnsupportedValueError(f"a tuple must be (name, stream) or (name, bytes); accepted: {ACCEPTED}")
    name, content = value
    if isinstance(content, bytes | bytearray | memoryview):
        return replace(_from_bytes(content), name=_checked_name(name))
    if callable(getattr(content, "read", None)) and not isinstance(content, StoredFile):
        return replace(_from_stream(content), name=_checked_name(name))
    raise UnsupportedValueError(
        f"({brief(name)}, {type(content).__name__}) is neither (name, stream) nor (name, bytes); "
        "to store a path under another name give File(path, name=…)"
    )


def _from_bytes(content: bytes | bytearray | memoryview) -> Source:
    fixed = bytes(content)
    return Source("", lambda: nullcontext(io.BytesIO(fixed)), lambda: fixed[:HEAD_SIZE], len(fixed))


def _from_stored(stored: StoredFile) -> Source:
    metadata = stored.metadata

    @contextmanager
    def opened() -> Iterator[Reader]:
        with stored.open() as file:
            yield file

    name = _checked_name(metadata.original_name)
    return Source(name, opened, lambda: b"", metadata.size, metadata.mime_type, metadata.hash)


def _from_path(given: str | os.PathLike[Any], name: str | None = None) -> Source:
    text = os.fsdecode(given)
    if not text:
        raise SourceNotFoundError("the path is empty")
    path = Path(text).absolute()
    if "://" in text and not os.path.lexists(path):
        raise SourceNotFoundError(
            f"{printable(text)} is a URL, not the path of a file here; open it and give the stream"
        )
    status = _looked_at(path)
    checked = _checked_name(path.name if name is None else name)
    return Source(checked, lambda: _opened(path), lambda: _head_of(path), status.st_size)


def _checked_name(name: object) -> str:
    if not isinstance(name, str):
        raise UnsupportedValueError(f"a file's name is text, not {type(name).__name__}")
    try:
        return check_name(name)
    except UnsafeNameError as error:
        raise UnsafeNameError(f"{error}. Give it another name with File(path, name=…) or (name, stream)") from error


def _looked_at(path: Path) -> os.stat_result:
    """Describe *path*, or say why it cannot be stored."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SourceNotFoundError(f"{_shown(path)} does not exist") from error
    except PermissionError as error:
        raise SourceAccessError(f"{_shown(path)} may not be looked at by this user") from error
    except (OSError, ValueError) as error:
        raise SourceError(f"{_shown(path)} cannot be looked at: {_reason(error)}") from error
    _require_regular(path, status)
    if not os.access(path, os.R_OK):
        raise SourceAccessError(f"{_shown(path)} may not be read by this user")
    return status


def _require_regular(path: Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise SourceIsDirectoryError(
            f"{_shown(path)} is a directory; a `file` attribute holds one file: pack it (zip, tar), "
            "or insert its files as rows"
        )
    if not stat.S_ISREG(status.st_mode):
        raise SourceNotRegularError(
            f"{_shown(path)} is a FIFO, socket or device, not a regular file; give it as a stream"
        )


@contextmanager
def _opened(path: Path) -> Iterator[Reader]:
    """Open *path* and look at what was opened, not at what is called so: the two can differ."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError as error:
        raise SourceNotFoundError(f"{_shown(path)} has disappeared since the insert began") from error
    except PermissionError as error:
        raise SourceAccessError(f"{_shown(path)} may not be read by this user") from error
    except OSError as error:
        raise SourceError(f"{_shown(path)} cannot be opened: {_reason(error)}") from error
    try:
        before = os.fstat(descriptor)
        _require_regular(path, before)
    except BaseException:
        os.close(descriptor)
        raise
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        yield _UnchangingReader(path, cast("BinaryIO", file), before)


def _shown(path: Path) -> str:
    return printable(str(path))


def _reason(error: Exception) -> str:
    """Return what *error* says, without the path that the operating system puts behind it."""
    return str(getattr(error, "strerror", None) or error)


def _head_of(path: Path) -> bytes:
    with _opened(path) as reader:
        return reader.read(HEAD_SIZE)


class _UnchangingReader:
    """Reads a file and, at its end, raises if it is not the file it was at the start.

    At the end of reading nothing has been published yet, so a changed source leaves no object.
    """

    def __init__(self, path: Path, file: BinaryIO, before: os.stat_result) -> None:
        self._path = path
        self._file = file
        self._before = before
        self._count = 0

    def read(self, size: int = -1, /) -> bytes:
        try:
            chunk = self._file.read(size)
        except OSError as error:
            raise SourceError(f"{_shown(self._path)} cannot be read: {_reason(error)}; nothing was stored") from error
        self._count += len(chunk)
        if not chunk or size < 0:
            self._check()
        return chunk

    def _check(self) -> None:
        before, after = self._before, os.fstat(self._file.fileno())
        if self._count != before.st_size or (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise SourceChangedError(
                f"{_shown(self._path)} changed while it was read: {before.st_size} bytes at the start, {after.st_size} "
                f"at the end, {self._count} read; nothing was stored. Insert it when its writer has finished"
            )
        if self._is_replaced():
            raise SourceChangedError(
                f"{_shown(self._path)} was replaced by another file while it was read; nothing was stored. "
                "Insert it when its writer has finished"
            )

    def _is_replaced(self) -> bool:
        """Tell whether the path means another file now. One that is only gone was read whole, as it was."""
        try:
            return not os.path.samestat(self._before, self._path.stat())
        except OSError:
            return False


def _from_stream(stream: Any) -> Source:
    if _is_text(stream):
        raise UnsupportedValueError("the stream is a text stream; open the file in binary mode ('rb')")
    if isinstance(stream, io.RawIOBase | io.BufferedIOBase) and stream.closed:
        raise SourceError("the stream is closed; give it open, or give the path")
    if isinstance(stream, io.RawIOBase | io.BufferedIOBase) and not stream.readable():
        raise SourceError("the stream is open for writing only; open the file in mode 'rb'")
    reader = _StreamReader(stream)
    return Source(_name_of(stream), lambda: nullcontext(reader), reader.head)


def _is_text(stream: Any) -> bool:
    if isinstance(stream, io.TextIOBase | codecs.StreamReader | codecs.StreamReaderWriter):
        return True
    mode = getattr(stream, "mode", "b")
    return isinstance(mode, str) and "b" not in mode and hasattr(stream, "encoding")


def _name_of(stream: Any) -> str:
    """Return the last part of the stream's name, if it has one that is a path's and can be stored."""
    name = getattr(stream, "name", None)
    name = os.fsdecode(name) if isinstance(name, bytes) else name
    if not isinstance(name, str) or name.startswith("<"):
        return ""
    try:
        return check_name(Path(name).name)
    except UnsafeNameError:
        return ""


class _StreamReader:
    """Reads the user's stream from its position; never closes it. Its first bytes can be looked at beforehand."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._ahead = b""

    def head(self) -> bytes:
        while len(self._ahead) < HEAD_SIZE and (chunk := self._read(HEAD_SIZE - len(self._ahead))):
            self._ahead += chunk
        return self._ahead[:HEAD_SIZE]

    def read(self, size: int = -1, /) -> bytes:
        if not self._ahead:
            return self._read(size)
        if size < 0:
            chunk, self._ahead = self._ahead + self._read(-1), b""
        else:
            chunk, self._ahead = self._ahead[:size], self._ahead[size:]
        return chunk

    def _read(self, size: int) -> bytes:
        try:
            chunk = self._stream.read(size)
        except DataJointFileError:
            raise
        except Exception as error:
            raise SourceError(
                f"the stream cannot be read: {type(error).__name__}: {error}; nothing was stored"
            ) from error
        if isinstance(chunk, str):
            raise UnsupportedValueError("the stream gives text, not bytes; open the file in binary mode ('rb')")
        if chunk is None:
            raise SourceError("the stream is non-blocking and had no data; nothing was stored")
        if not isinstance(chunk, bytes | bytearray | memoryview):
            raise UnsupportedValueError(f"the stream's read() gives {type(chunk).__name__}, not bytes")
        return bytes(chunk)
