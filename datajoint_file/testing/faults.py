"""A store that fails when it is told to: `FaultyBackend`, a wrapper around any other.

It says when which verb fails and what was stored then; what must hold afterwards is for the tests that use it.
"""

from __future__ import annotations

import io
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, BinaryIO, Literal, TypeVar, cast

from datajoint_file.errors import StorageUnavailableError
from datajoint_file.storage.backend import (
    NO_HEADERS,
    ContentHeaders,
    ObjectStat,
    Reader,
    StorageBackend,
    UnfinishedUpload,
    receipt_of,
)
from datajoint_file.storage.shared import DelegatingBackend, ForwardedFile
from datajoint_file.testing.lies import CutShort
from datajoint_file.testing.readers import LimitedReader

Verb = Literal["upload", "copy", "take", "open", "read", "stat", "delete", "list", "unfinished", "discard"]
Action = Callable[[str], object]
Item = TypeVar("Item")

_LISTINGS = ("list", "unfinished")


def fail(key: str) -> None:
    """Raise a `StorageUnavailableError`: what a fault does unless told otherwise."""
    raise StorageUnavailableError(f"{key}: injected fault").of(key)


def kill(key: str) -> None:
    """End this process at once, as ``kill -9`` and power cuts do: no handler, no cleanup."""
    os.kill(os.getpid(), signal.SIGKILL)


def raising(error: BaseException) -> Action:
    """Return the action that raises *error*, this very object."""

    def action(key: str) -> None:
        raise error

    return action


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    Parameters
    ----------
    verb : str or None
        ``upload``, ``copy``, ``take``, ``open``, ``read`` (of an opened object), ``stat``, ``delete``, ``list``,
        ``unfinished`` or ``discard``; None for any of them. ``exists`` is a ``stat``.
    call : int
        At which call, counted from 1 since the backend was made: calls of *verb*, or of all verbs together.
    moment : str
        ``before`` the verb has any effect; ``after`` it took effect, as when the store's reply is lost; ``during`` an
        upload, which the store can clean up after, or a listing, of which some has been given; ``torn``: an upload
        that stores what it took so far as if it were all, which no store may do.
    after_bytes : int
        How much of an upload is taken first (``during`` and ``torn``).
    action : callable
        What happens: called with the object key, it raises (`fail`, `raising`), ends the process (`kill`), or does
        something else (waits, deletes, counts) and returns; then the verb goes on.
    lasting : bool
        Whether the fault stays from then on, or is over after that one call.
    after_items : int
        How much of a listing is given first (``during``).

    Examples
    --------
    The third upload is stored, but nobody hears of it:

    >>> fault = Fault("upload", call=3, moment="after")
    """

    verb: Verb | None
    call: int = 1
    moment: Literal["before", "during", "after", "torn"] = "before"
    after_bytes: int = 0
    action: Action = fail
    lasting: bool = False
    after_items: int = 0

    def __post_init__(self) -> None:
        if self.moment == "torn" and self.verb not in ("upload", None):
            raise ValueError(f'moment = "torn": only an upload has one, not {self.verb}')
        if self.moment == "during" and self.verb not in ("upload", *_LISTINGS, None):
            raise ValueError(f'moment = "during": only an upload or a listing has one, not {self.verb}')

    def hits(self, verb: Verb, call_of_verb: int, call_of_any: int) -> bool:
        """Tell whether this fault is due at a call."""
        number = call_of_any if self.verb is None else call_of_verb
        return self.verb in (verb, None) and (number == self.call or (self.lasting and number > self.call))


class FaultyBackend(DelegatingBackend):
    """Passes every verb on, counts, and fails as told.

    Parameters
    ----------
    inner : StorageBackend
        The backend that does the work.
    *faults : Fault
        What goes wrong, and when.

    Attributes
    ----------
    calls : Counter
        Calls so far, by verb.
    history : list of (str, str)
        Verb and key of each call but the reads, in order.
    uploaded_bytes, downloaded_bytes : int
        Payload that went in and came out.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from datajoint_file.storage.disk.backend import LocalBackend
    >>> with TemporaryDirectory() as root:
    ...     faulty = FaultyBackend(LocalBackend(Path(root), "lab"), Fault("upload", moment="during", after_bytes=3))
    ...     faulty.upload("lab/recording.dat", io.BytesIO(b"recording"))
    Traceback (most recent call last):
        ...
    datajoint_file.errors.StorageUnavailableError: lab/recording.dat: injected fault
    """

    def __init__(self, inner: StorageBackend, *faults: Fault) -> None:
        super().__init__(inner)
        self.faults = list(faults)
        self.calls: Counter[str] = Counter()
        self.history: list[tuple[str, str]] = []
        self.uploaded_bytes = 0
        self.downloaded_bytes = 0
        self._lock = threading.Lock()

    def upload(self, key: str, reader: Reader, size: int | None = None, headers: ContentHeaders = NO_HEADERS) -> int:
        """Upload, unless a fault is due."""
        with self._call("upload", key) as due:
            counted: Reader = _CountingReader(reader, self._count_upload)
            for fault in due:
                if fault.moment == "torn":
                    stored = CutShort(self.inner, fault.after_bytes).upload(key, counted, size, headers)
                    fault.action(key)
                    return stored
                if fault.moment == "during":
                    counted = _BreakingReader(counted, key, fault)
            return self.inner.upload(key, counted, size, headers)

    def copy(self, source: str, key: str, headers: ContentHeaders = NO_HEADERS) -> None:
        """Copy, unless a fault is due."""
        with self._call("copy", key):
            self.inner.copy(source, key, headers)

    def take(self, address: str, size: int, key: str, headers: ContentHeaders = NO_HEADERS) -> bool:
        """Take, unless a fault is due."""
        with self._call("take", key):
            return self.inner.take(address, size, key, headers)

    def open(self, key: str, **options: Any) -> BinaryIO:
        """Open, unless a fault is due; faults of ``read`` are met later."""
        with self._call("open", key):
            file = _WatchedFile(self.inner.open(key, **options), self, key)
            return cast("BinaryIO", io.BufferedReader(file))

    def stat(self, key: str) -> ObjectStat:
        """Describe, unless a fault is due."""
        with self._call("stat", key):
            return self.inner.stat(key)

    def delete(self, key: str) -> None:
        """Delete, unless a fault is due."""
        with self._call("delete", key):
            self.inner.delete(key)

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        """List, unless a fault is due; one that comes after it is met when all has been given."""
        with self._call("list", prefix) as due:
            yield from _breaking(self.inner.list(prefix), prefix, due)

    def unfinished(self, prefix: str = "") -> Iterator[UnfinishedUpload]:
        """List unfinished uploads, unless a fault is due."""
        with self._call("unfinished", prefix) as due:
            yield from _breaking(self.inner.unfinished(prefix), prefix, due)

    def discard(self, upload: UnfinishedUpload) -> None:
        """Discard, unless a fault is due; its key is the upload's."""
        with self._call("discard", upload.key):
            self.inner.discard(upload)

    @contextmanager
    def _call(self, verb: Verb, key: str) -> Iterator[Sequence[Fault]]:
        """Count a call, act before it and after it, and give the faults that are due."""
        due = self._due(verb, key)
        for fault in due:
            if fault.moment == "before":
                fault.action(key)
        yield due
        for fault in due:
            if fault.moment == "after":
                fault.action(key)

    def _due(self, verb: Verb, key: str) -> Sequence[Fault]:
        with self._lock:
            self.calls[verb] += 1
            if verb != "read":
                self.history.append((verb, key))
            numbers = self.calls[verb], self.calls.total()
            return [fault for fault in self.faults if fault.hits(verb, *numbers)]

    def _count_upload(self, size: int) -> None:
        with self._lock:
            self.uploaded_bytes += size

    def _count_download(self, size: int) -> None:
        with self._lock:
            self.downloaded_bytes += size


def _breaking(items: Iterator[Item], key: str, due: Sequence[Fault]) -> Iterator[Item]:
    """Give *items*, and let the faults that are due act in their midst."""
    for fault in due:
        if fault.moment == "during":
            yield from islice(items, fault.after_items)
            fault.action(key)
    yield from items


class _CountingReader:
    def __init__(self, reader: Reader, count: Callable[[int], None]) -> None:
        self.receipt = receipt_of(reader)
        self._reader = reader
        self._count = count

    def read(self, size: int = -1, /) -> bytes:
        chunk = self._reader.read(size)
        self._count(len(chunk))
        return chunk


class _BreakingReader:
    """Gives a number of bytes, then lets a fault act, then goes on if the fault lets it."""

    def __init__(self, reader: Reader, key: str, fault: Fault) -> None:
        self._beginning = LimitedReader(reader, fault.after_bytes)
        self._reader = reader
        self._act: Callable[[], object] | None = partial(fault.action, key)

    def read(self, size: int = -1, /) -> bytes:
        if self._act is not None:
            chunk = self._beginning.read(size)
            if chunk or size == 0:
                return chunk
            act, self._act = self._act, None
            act()
        return self._reader.read(size)


class _WatchedFile(ForwardedFile):
    def __init__(self, file: BinaryIO, backend: FaultyBackend, key: str) -> None:
        super().__init__(file)
        self._backend = backend
        self._key = key

    def _read(self, size: int) -> bytes:
        with self._backend._call("read", self._key):
            content = super()._read(size)
        self._backend._count_download(len(content))
        return content
