"""Atomic file creation: written beside its target, flushed, then given its name; many are flushed together.

By one call where the system has one, else the first flush makes the file system commit its journal, and the others find
little left to do. What files are for, and which errors they raise, is decided by subclasses of `Draft`.
"""

from __future__ import annotations

import errno
import io
import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from operator import methodcaller
from typing import ClassVar

from datajoint_file.concurrency.descriptors import affordable
from datajoint_file.errors import DataJointFileError
from datajoint_file.storage.backend import HashedReader
from datajoint_file.storage.disk import syncfs
from datajoint_file.storage.disk.kernel_copy import KernelCopy, start_writing
from datajoint_file.storage.disk.rename import rename_new

MOST_FILES = 128
MOST_BYTES = 64 * 2**20
"""So much waits for the disk at most. Each file that waits is open: an error is forgotten with the last descriptor."""

LARGE = 4 * 2**20
"""Such a file waits for no others; and the disk is handed what is written in steps of this."""

_WRITE_SOON = 2**17
"""Smaller files are better written together, in the order of the disk."""

_LOOK_EVERY = 4
"""After so many files it is looked how many descriptors are left."""

_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)

_READ_BACK = 2**16
"""What the C library allocates anew each time, and the system clears, is larger."""

_order = itertools.count()


class Draft:
    """A file that is written beside its target, and gets its name when it is complete.

    What the system says of it is raised as this package's errors.
    """

    may_go: ClassVar[bool] = True
    """Whether nobody else can count on what has its name already."""

    def __init__(
        self,
        path: str,  # what it is going to be called
        partial: str,  # what it is called meanwhile: a new file in the same directory
        translated: Callable[[], AbstractContextManager[None]],  # turns errors of the system into this package's
        *,
        within: Callable[[], AbstractContextManager[int | None]] = nullcontext,  # opens that directory, if it must not
        # be found by its path: then only the last part of either name is used
        mode: int = 0o666,  # less those of the umask
        replaces: bool = False,  # take the place of what has the name then; if not, that is an error
        flushes: bool = True,  # it is going to be flushed: then the disk can begin while it is written
        directories: tuple[str, ...] = (),  # to flush once it is named: its own, and that in which its own was made
    ) -> None:
        self.path = path
        self.partial = partial
        self.translated = translated
        self.replaces = replaces
        self.directories = directories
        self._flushes = flushes
        self._within = within
        with within() as directory:
            names = (partial, path) if directory is None else (os.path.basename(partial), os.path.basename(path))
            self._partial, self._name = names
            # Unbuffered: a buffer would fail a second time when it is closed.
            self._file = io.FileIO(
                partial, "r+", opener=lambda *_: os.open(self._partial, _CREATE, mode, dir_fd=directory)
            )
        self.order = next(_order)  # those with a higher one were written to only after this one was opened
        self.status = os.fstat(self.descriptor)

    @property
    def descriptor(self) -> int:
        """That of the open file."""
        return self._file.fileno()

    def write(self, position: int, chunk: bytes | memoryview) -> None:
        """Write *chunk* at *position*. From any thread."""
        view = memoryview(chunk)
        start = position
        with self.translated():
            while view:  # less may be taken, at a signal or when the disk fills
                count = os.pwrite(self.descriptor, view, position)
                view, position = view[count:], position + count
            done = start // LARGE * LARGE
            if self._flushes and position // LARGE * LARGE > done:  # if a writer goes from front to back
                start_writing(self.descriptor, done, position // LARGE * LARGE - done)

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        """Give what has been written there, a piece at a time. From any thread."""
        with self.translated():
            while start < stop:
                chunk = os.pread(self.descriptor, min(_READ_BACK, stop - start), start)
                if not chunk:
                    raise OSError("it was cut short by somebody else")
                yield chunk
                start += len(chunk)

    def copy(self, source: int, reader: HashedReader) -> int:
        """Have the system copy another file into this one, which is empty; tell *reader* of the bytes as they are here.

        Returns how many it has copied, which may be none: *source* stands behind them then, and the rest is to be read.
        """
        copied = 0
        with closing(KernelCopy(source, self.descriptor, flushes=self._flushes).chunks()) as chunks:
            while chunk := self._next(chunks):
                reader.copied(chunk)
                copied += len(chunk)
        os.lseek(source, copied, os.SEEK_SET)
        return copied

    def _next(self, chunks: Iterator[memoryview]) -> memoryview | None:
        with self.translated():
            return next(chunks, None)

    def clear(self) -> None:
        """Make it empty again."""
        with self.translated():
            os.ftruncate(self.descriptor, 0)

    def flush(self) -> None:
        """Wait until the disk has all that was written."""
        with self.translated():
            os.fsync(self.descriptor)

    def publish(self) -> None:
        """Give the file its name."""
        with self.translated(), self._within() as directory:
            (_replace if self.replaces else _link)(self._partial, self._name, directory)

    def fail(self, error: OSError) -> None:
        """Raise what the system has said, in this package's words."""
        with self.translated():
            raise error

    def close(self) -> None:
        """Let go of a file that has its name."""
        self._file.close()

    def remove(self) -> None:
        """Remove the file, unless it is closed; also under its name, if it got that far, and that *may_go*."""
        if self._file.closed:
            return
        self._file.close()
        with suppress(OSError), self._within() as directory:
            with suppress(OSError):
                os.unlink(self._partial, dir_fd=directory)
            if self.may_go and not self.replaces and os.path.samestat(_status(self._name, directory), self.status):
                os.unlink(self._name, dir_fd=directory)


class Batch:
    """Complete files that wait for their names until the disk has them all. A block that uses it ends by naming all.

    Each name appears when its bytes are on the disk, as if each had been flushed alone; what cannot be flushed or named
    vanishes, and the others do not suffer. If the block is interrupted, all that wait vanish. Where waiting gains
    nothing, each but the first gets its name at once; each, if nothing is flushed.
    """

    def __init__(self, *, flushes: bool = True) -> None:
        self._flushes = flushes
        self._lock = threading.Lock()
        self._waiting: list[Draft] = []
        self._errors: list[Exception] = []
        self._size = 0

    def __enter__(self) -> Batch:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        if kind is None:
            self.publish()
        elif issubclass(kind, Exception):
            with suppress(DataJointFileError):  # the first error is the one to tell
                self.publish()
        else:
            self.discard()

    def add(self, draft: Draft) -> None:
        """Give a complete file its name: at once, or when enough wait. From any thread.

        What is raised is about this one; what becomes of those that wait, `publish` tells.
        """
        size = os.fstat(draft.descriptor).st_size
        if size >= LARGE or not self._flushes or (self._waiting and not syncfs.has_journal(draft.descriptor)):
            publish_all([draft], flushes=self._flushes)
            return
        if size >= _WRITE_SOON:
            start_writing(draft.descriptor, 0, size)
        with self._lock:
            self._waiting.append(draft)
            self._size += size
            some = self._emptied() if self._is_full() else []
        try:
            publish_all(some)
        except DataJointFileError as error:
            self._errors.append(error)

    def publish(self) -> None:
        """Flush all files and give each its name; raise the first error, after all of that."""
        with self._lock:
            some, errors = self._emptied(), self._errors
            self._errors = []
        publish_all(some, errors=errors)

    def discard(self) -> None:
        """Remove the files that have not their names yet."""
        with self._lock:
            some = self._emptied()
        for draft in some:
            draft.remove()

    def _is_full(self) -> bool:
        count = len(self._waiting)
        is_looked_at = count % _LOOK_EVERY == 0
        return count >= MOST_FILES or self._size >= MOST_BYTES or (is_looked_at and affordable(count) < count)

    def _emptied(self) -> list[Draft]:
        some, self._waiting, self._size = self._waiting, [], 0
        return some


def publish_all(drafts: Sequence[Draft], *, flushes: bool = True, errors: Sequence[Exception] = ()) -> None:
    """Flush complete files, give each its name, and flush the directories; raise the first error after all of that."""
    errors, good = list(errors), drafts
    try:
        if flushes and not _flush_together(good):
            for draft in good if len(good) > 1 else ():
                start_writing(draft.descriptor, 0, 0)
            good = _succeeded(methodcaller("flush"), good, errors)
        good = _succeeded(methodcaller("publish"), good, errors)
        made = (name for draft in drafts for name in draft.directories[1:])
        directories = dict.fromkeys([*(name for draft in good for name in draft.directories), *made])
        if flushes and directories and not _flush_together(good):
            good = _flush_directories(directories, good, errors)
    except BaseException:
        for draft in drafts:
            draft.remove()
        raise
    for draft in good:
        draft.close()
    if errors:
        raise errors[0]


def _flush_together(drafts: Sequence[Draft]) -> bool:
    """Flush all of *drafts*, and the directories they are in, by one call. Tell whether that was done.

    The witness is the one that was opened first: before a byte of the others was written, and before any had its name.
    """
    if len(drafts) < syncfs.ENOUGH_FILES or len({draft.status.st_dev for draft in drafts}) > 1:  # parts may be mounted
        return False
    witness = min(drafts, key=lambda draft: draft.order).descriptor
    return syncfs.flush_together(witness, len(drafts), sum(os.fstat(draft.descriptor).st_size for draft in drafts))


def _flush_directories(directories: Iterable[str], drafts: Sequence[Draft], errors: list[Exception]) -> Sequence[Draft]:
    """Flush the directories of new names; what is below one that cannot be flushed is removed. Return the others."""
    for directory in directories:
        try:
            flush_directory(directory)
        except OSError as error:
            below = [draft for draft in drafts if draft.path.startswith(os.path.join(directory, ""))]
            _succeeded(methodcaller("fail", error), below, errors)
            drafts = [draft for draft in drafts if draft not in below]
    return drafts


def _succeeded(step: Callable[[Draft], None], drafts: Sequence[Draft], errors: list[Exception]) -> Sequence[Draft]:
    """Take a step with each, and return those with which it could be taken; the others are removed."""
    good = []
    for draft in drafts:
        try:
            step(draft)
            good.append(draft)
        except Exception as error:  # noqa: BLE001 - the first is raised at the end
            errors.append(error)
            draft.remove()
    return good


NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV})
_NO_DIRECTORY_FLUSH = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


def flush_directory(directory: str) -> None:
    """Flush the names in *directory* to the disk, where the file system can."""
    _flush_and_close(os.open(directory, os.O_RDONLY))


def flush_within(directory: int) -> None:
    """Flush the names in a directory that is open, for whatever, as `flush_directory` does."""
    _flush_and_close(os.open(".", os.O_RDONLY, dir_fd=directory))


def _flush_and_close(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_DIRECTORY_FLUSH:  # SMB and others: the server alone decides
            raise
    finally:
        os.close(descriptor)


def _replace(partial: str, name: str, directory: int | None) -> None:
    os.replace(partial, name, src_dir_fd=directory, dst_dir_fd=directory)


def _link(partial: str, name: str, directory: int | None) -> None:
    move_new(partial, name, directory, directory)


def move_new(partial: str, name: str, origin: int | None, directory: int | None) -> None:
    """Give *partial*, which is in *origin*, its final name in *directory*, unless that is taken."""
    try:
        os.link(partial, name, src_dir_fd=origin, dst_dir_fd=directory, follow_symlinks=False)
    except FileExistsError:
        # Over NFS the reply to a link that was made can be lost, and the repetition finds it.
        if not os.path.samestat(_status(partial, origin), _status(name, directory)):
            raise
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        if rename_new(partial, name, origin, directory):  # here are no hard links
            return
        # The check leaves a gap: two that store a file of one directory, and end in the same moment, may both succeed.
        if _is_taken(name, directory):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name) from error
        os.rename(partial, name, src_dir_fd=origin, dst_dir_fd=directory)
        return
    os.unlink(partial, dir_fd=origin)


def _status(name: str, directory: int | None) -> os.stat_result:
    return os.stat(name, dir_fd=directory, follow_symlinks=False)


def _is_taken(name: str, directory: int | None) -> bool:
    try:
        _status(name, directory)
    except OSError:
        return False
    return True
