"""Source readers: a file that must not change meanwhile, and a stream that is the user's.

What they read for, and under which name, is the business of `sources`.
"""

from __future__ import annotations

import inspect
import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datajoint_file.errors import (
    DataJointFileError,
    SourceAccessError,
    SourceChangedError,
    SourceError,
    SourceIsDirectoryError,
    SourceNotFoundError,
    SourceNotRegularError,
    SourceWarning,
    UnsupportedValueError,
    printable,
    reason_of,
    warn,
)
from datajoint_file.model.media_types import HEAD_SIZE
from datajoint_file.storage.backend import CHUNK_SIZE
from datajoint_file.storage.disk.walk import LinkOnTheWayError
from datajoint_file.storage.remote.client_errors import presentable, scrubbed


def look_at(path: str) -> os.stat_result:
    """Describe *path*, a file or directory, or say why it cannot be stored. Nothing is read.

    Raises
    ------
    SourceNotFoundError, SourceAccessError, SourceNotRegularError
        If it is missing, unreadable, or a FIFO, socket or device.
    SourceError
        If the system cannot say.
    """
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SourceNotFoundError(f"{printable(path)} does not exist") from error
    except PermissionError as error:
        raise SourceAccessError(f"{printable(path)} may not be looked at by this user") from error
    except (OSError, ValueError) as error:
        raise SourceError(f"{printable(path)} cannot be looked at: {reason_of(error)}") from error
    if not stat.S_ISDIR(status.st_mode):
        _require_regular(path, status)
    if not os.access(path, os.R_OK):
        raise SourceAccessError(f"{printable(path)} may not be read by this user")
    return status


def _require_regular(path: str, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise SourceIsDirectoryError(
            f"{printable(path)} was a file when the insert began, and is a directory now; try again"
        )
    if not stat.S_ISREG(status.st_mode):
        raise SourceNotRegularError(
            f"{printable(path)} is a FIFO, socket or device, not a regular file; give it as a stream"
        )


def open_file(path: str | Path, opener: Callable[[str, int], int] = os.open) -> _UnchangingReader:
    """Open *path*, as *opener* does, and look at what was opened, not at what is called so: the two can differ.

    The reader raises `SourceChangedError` at the end if the file is not the one it was at the start, by size, time and
    inode. That says nothing of stores through a mapping: of those the system notes no time but the first of a page
    (mmap(2)); a lease would tell of a writer, but not whether he writes, and keep him waiting. It is also the context
    manager that closes it.
    """
    path = str(path)
    try:
        descriptor = opener(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except LinkOnTheWayError as error:
        raise SourceChangedError(
            f"{printable(path)} has become a symbolic link, or a directory on its way has, since it was listed; "
            "nothing was stored. Insert it when nobody changes it"
        ) from error
    except DataJointFileError:
        raise
    except FileNotFoundError as error:
        raise SourceNotFoundError(f"{printable(path)} has disappeared since the insert began") from error
    except PermissionError as error:
        raise SourceAccessError(f"{printable(path)} may not be read by this user") from error
    except OSError as error:
        raise SourceError(f"{printable(path)} cannot be opened: {reason_of(error)}") from error
    try:
        before = os.fstat(descriptor)
        _require_regular(path, before)
    except BaseException:
        os.close(descriptor)
        raise
    return _UnchangingReader(path, io.FileIO(descriptor), before, opener)


def head_of(path: str | Path, opener: Callable[[str, int], int] = os.open) -> bytes:
    """Return the first bytes of the file at *path*."""
    with open_file(path, opener) as reader:
        return reader.read(HEAD_SIZE)


class _UnchangingReader:
    """Reads a file and, at its end, raises if it is not the file it was at the start.

    At the end of reading nothing has been published yet, so a changed source leaves no object.
    """

    def __init__(self, path: str, file: io.FileIO, before: os.stat_result, opener: Callable[[str, int], int]) -> None:
        self._path = path
        self._file = file
        self._before = before
        self._opener = opener
        self._count = 0

    @property
    def _name(self) -> str:
        return printable(self._path)

    def __enter__(self) -> _UnchangingReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def size(self) -> int:
        """Bytes that it had when it was opened."""
        return self._before.st_size

    def read(self, size: int = -1, /) -> bytes:
        try:
            chunk = self._file.read(size)
        except OSError as error:
            raise SourceError(f"{self._name} cannot be read: {reason_of(error)}; nothing was stored") from error
        self._count += len(chunk)
        if not chunk or size < 0 or self._count > self._before.st_size:
            self._check()
        return chunk

    @property
    def descriptor(self) -> int:
        return self._file.fileno()

    def copied(self, chunk: bytes | memoryview) -> None:
        self._count += len(chunk)
        if self._count > self._before.st_size:
            self._check()

    def _check(self) -> None:
        before, after = self._before, os.fstat(self._file.fileno())
        is_touched = (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)
        if self._count != before.st_size and not is_touched:
            raise SourceNotRegularError(
                f"{self._name} gave {self._count} bytes, and the system says that it has {before.st_size}: it "
                "makes up such files (/proc, /sys) as they are read; nothing was stored. Give it as a stream: "
                "open(path, 'rb')"
            )
        if is_touched:
            raise SourceChangedError(
                f"{self._name} changed while it was read: {before.st_size} bytes at the start, {after.st_size} "
                f"at the end, {self._count} read; nothing was stored. Insert it when its writer has finished"
            )
        if self._is_replaced():
            raise SourceChangedError(
                f"{self._name} was replaced by another file while it was read; nothing was stored. "
                "Insert it when its writer has finished"
            )

    def _is_replaced(self) -> bool:
        """Tell whether the path means another file now. One that is only gone was read whole, as it was."""
        try:
            descriptor = self._opener(self._path, _LOOK)
        except LinkOnTheWayError:
            return True
        except OSError:
            return False
        try:
            return not os.path.samestat(self._before, os.fstat(descriptor))
        finally:
            os.close(descriptor)


_LOOK = getattr(os, "O_PATH", os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)) | getattr(os, "O_CLOEXEC", 0)


class StreamReader:
    """Reads a user's stream from its position, never closes it, and can look at its first bytes beforehand.

    It is anything with a ``read``; what that raises becomes a `SourceError`.

    Raises
    ------
    UnsupportedValueError
        If its ``read`` is asynchronous.
    SourceError
        If it stands at its end and is not empty. Where it stands behind its start, a `SourceWarning` is given.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._ahead = b""
        self._count = 0  # bytes read since it stood at its start
        if inspect.iscoroutinefunction(stream.read):
            raise _asynchronous(stream)
        self._start = _position(stream)
        if self._start:
            self._check_start(self._start)

    def _check_start(self, start: int) -> None:
        self._ahead = self._read(1)
        if self._ahead:
            warn(
                f"the stream stands at byte {start}: what precedes is not stored; seek(0) before if it shall be",
                SourceWarning,
            )
            if _position(self._stream) == start + 1:
                self.rewind()
            else:
                self._start = None  # what its `tell` says is not where it stands
        elif not _is_empty(self._stream):
            raise SourceError(
                f"the stream stands at its end, after {start} bytes, so that nothing would be stored: put it back with "
                "seek(0) after writing to it"
            )

    @property
    def can_rewind(self) -> bool:
        """Whether the stream says that it can be put back."""
        return self._start is not None

    def rewind(self) -> None:
        """Put the stream back to where it stood: what failed can then be tried again.

        Raises
        ------
        SourceError
            If it cannot be put back, or says that it is elsewhere afterwards.
        """
        if self._start is None:
            raise SourceError("the stream cannot be put back to where it stood")
        try:
            self._stream.seek(self._start)
            found = self._stream.tell()
        except Exception as error:  # noqa: BLE001 - a stream raises what it likes
            said = printable(scrubbed(error)[:200])
            raise SourceError(f"the stream cannot be put back: {said}") from presentable(error)
        if found != self._start:
            raise SourceError(f"the stream cannot be put back: it stands at {found}, expected {self._start}")
        self._ahead, self._count = b"", 0

    def head(self) -> bytes:
        """Return the first bytes, which a later `read` gives again."""
        while len(self._ahead) < HEAD_SIZE and (chunk := self._read(HEAD_SIZE - len(self._ahead))):
            self._ahead += chunk
        return self._ahead[:HEAD_SIZE]

    def read(self, size: int = -1, /) -> bytes:
        """Return at most *size* bytes; none at the end."""
        if size < 0:  # some streams do not take -1, and others no call without a size
            return b"".join(iter(lambda: self.read(CHUNK_SIZE), b""))
        if not self._ahead:
            return self._read(size)
        chunk, self._ahead = self._ahead[:size], self._ahead[size:]
        return chunk

    def _read(self, size: int) -> bytes:
        if self._start is not None and not self._count:
            self._check_unmoved(self._start)
        chunk = self._read_chunk(size)
        self._count += len(chunk)
        if not chunk and self._count and _position(self._stream) == self._start:
            self._start = None  # it says the same wherever it stands
        return chunk

    def _check_unmoved(self, start: int) -> None:
        """Raise if the stream is not where it was when it was given: another stream over the same file moves it too."""
        found = _position(self._stream)
        if found != start:
            raise SourceError(
                f"the stream stands at {found}, and stood at {start} when it was given: something else has moved it. "
                "Nothing was stored; give streams that are independent of each other, or paths"
            )

    def _read_chunk(self, size: int) -> bytes:
        try:
            chunk = self._stream.read(size)
        except DataJointFileError:
            raise
        except Exception as error:  # noqa: BLE001 - a stream raises what it likes
            # What reads over a network says its signed URL: neither the message nor the cause may show it.
            said = printable(scrubbed(error)[:200])
            raise SourceError(f"the stream cannot be read: {said}; nothing was stored") from presentable(error)
        if isinstance(chunk, bytes):
            return chunk
        if isinstance(chunk, str):
            raise UnsupportedValueError("the stream gives text, not bytes; open the file in binary mode ('rb')")
        if chunk is None:
            raise SourceError("the stream is non-blocking and had no data; nothing was stored")
        if inspect.isawaitable(chunk):
            getattr(chunk, "close", getattr(chunk, "cancel", lambda: None))()
            raise _asynchronous(self._stream)
        try:
            return bytes(memoryview(chunk))
        except TypeError:
            raise UnsupportedValueError(f"the stream's read() gives {type(chunk).__name__}, not bytes") from None


def moved_by(stream: Any) -> Any:
    """Return what reading *stream* moves: the innermost of the streams that it wraps.

    Members of an archive put it back before they read, and are their own.
    """
    seen = [stream]
    while not isinstance(stream, tarfile.ExFileObject | zipfile.ZipExtFile):
        inner = (getattr(stream, name, None) for name in _WRAPPED)
        stream = next((found for found in inner if callable(getattr(found, "read", None))), None)
        if stream is None or any(stream is known for known in seen):
            break
        seen.append(stream)
    return seen[-1]


_WRAPPED = ("raw", "stream", "fileobj", "_fp", "file")
"""Where wrappers keep what they wrap: buffers; codecs and uploads; gzip; bz2 and lzma; temporary files."""


def _asynchronous(stream: Any) -> UnsupportedValueError:
    has_file = callable(getattr(getattr(stream, "file", None), "read", None))
    return UnsupportedValueError(
        f"read() of {type(stream).__name__} is asynchronous, and an insert is not: give "
        + ("the file in it, upload.file" if has_file else "the path, or (name, await stream.read())")
    )


def _position(stream: Any) -> int | None:
    """Return where *stream* stands, if it can be put back there."""
    try:
        if not hasattr(stream, "seekable"):  # as temporary files before Python 3.11
            stream.seek(stream.tell())
        elif not stream.seekable():
            return None
        return int(stream.tell())
    except Exception:  # noqa: BLE001 - a stream need not have these methods, and may raise what it likes
        return None


def _is_empty(stream: Any) -> bool:
    """Tell whether *stream*, which stands behind all that it has, has nothing; also if it cannot be put back."""
    try:
        end = stream.tell()
        stream.seek(0)
        first = stream.read(1)
        stream.seek(end)
    except Exception:  # noqa: BLE001 - as above
        return True
    return not first
