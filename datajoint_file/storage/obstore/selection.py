"""Engine selection: obstore where it can do what the settings ask for, fsspec everywhere else."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import weakref
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from typing import Any, BinaryIO, TypeVar

from datajoint_file.config.settings import StorageSettings
from datajoint_file.errors import StorageError
from datajoint_file.storage.backend import NO_HEADERS, ContentHeaders, ObjectStat, Reader, StorageBackend
from datajoint_file.storage.obstore.backend import OBSTORE, Counted
from datajoint_file.storage.obstore.unsuited import Unsuited, unsuited
from datajoint_file.storage.remote.readahead import opened
from datajoint_file.storage.shared import DelegatingBackend, Resumed

logger = logging.getLogger(__name__)

_HOME = os.getpid()
"""The process that imported this module. obstore's threads do not survive a fork, and its calls in a child hang."""

Answer = TypeVar("Answer")

_opened: weakref.WeakSet[EngineBackend] = weakref.WeakSet()


class EngineBackend(DelegatingBackend):
    """A bucket through obstore; through fsspec in forked children, and when obstore turns out not to suit the store.

    That raises if it is *required_by* a table of the settings.
    """

    def __init__(self, obstore: StorageBackend, fsspec: StorageBackend, *, required_by: str | None) -> None:
        super().__init__(obstore)
        self._fsspec = fsspec
        self._required_by = required_by
        _opened.add(self)

    def upload(self, key: str, reader: Reader, size: int | None = None, headers: ContentHeaders = NO_HEADERS) -> int:
        if self.inner is self._fsspec:
            return self._fsspec.upload(key, reader, size, headers)
        counted = Counted(reader)
        try:
            return self.inner.upload(key, counted, size, headers)
        except Unsuited as error:
            fsspec = self._instead(error)
            if counted.count > len(error.taken):
                raise _too_late(key, error).of(key) from None
            return fsspec.upload(key, Resumed(error.taken, reader), size, headers)

    def open(self, key: str, **options: Any) -> BinaryIO:
        """Open an object as buckets do, but read it through whichever engine is used by then."""
        return opened(key, partial(self.read, key), self.stat(key).size, **options)

    def stat(self, key: str) -> ObjectStat:
        return self._asked(lambda backend: backend.stat(key))

    def read(self, key: str, start: int, stop: int) -> bytes | memoryview:
        return self._asked(lambda backend: backend.read(key, start, stop))

    def iter_range(self, key: str, start: int, stop: int) -> Generator[bytes | memoryview, None, None]:
        try:
            yield from self.inner.iter_range(key, start, stop)
        except Unsuited as error:
            yield from self._instead(error).iter_range(key, start, stop)

    def _asked(self, verb: Callable[[StorageBackend], Answer]) -> Answer:
        try:
            return verb(self.inner)
        except Unsuited as error:
            return verb(self._instead(error))

    def _instead(self, error: Unsuited) -> StorageBackend:
        """Return what to use from now on. Raises *error* if it is to be obstore or nothing."""
        if self._required_by is not None:
            raise error.within(self._required_by) from None
        logger.warning("through fsspec from now on: %s", error)
        self.inner = self._fsspec
        return self.inner


def _too_late(key: str, error: Unsuited) -> StorageError:
    return StorageError(
        f"{key}: obstore gave up when part of the file was sent; nothing was stored. Store it again: fsspec is used "
        f'from now on, and in other processes with engine = "fsspec" in datajoint.toml ({error})'
    )


def _leave_obstore() -> None:
    for backend in tuple(_opened):
        backend.inner = backend._fsspec


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_obstore)


def engine_of(storage: StorageSettings) -> str:
    """Return the engine for *storage* in this process: ``"obstore"`` or ``"fsspec"``. No I/O.

    If obstore is asked for and cannot do what the settings say, a `ConfigurationError` names what, and what can.
    """
    if storage.engine == "fsspec" or storage.backend not in OBSTORE or os.getpid() != _HOME:
        return "fsspec"
    hindrance = next(_hindrances(storage), None)
    if hindrance is not None and storage.engine == "obstore":
        raise unsuited(hindrance).within(storage.where)
    return "obstore" if hindrance is None else "fsspec"


def _hindrances(storage: StorageSettings) -> Iterator[str]:
    """Give what keeps obstore from doing what *storage* says."""
    if sys.version_info < (3, 11):
        yield "obstore needs Python 3.11 or later"
    if not _is_installed():
        yield "obstore is not installed: `pip install obstore`"
    for option in _unknown(storage.options, OBSTORE[storage.backend].known_options):
        yield f"only fsspec knows [storage.options] {option}"
    if storage.backend == "gcs" and storage.endpoint_url and storage.engine == "auto":
        yield "obstore speaks Google's XML interface, which other servers at an endpoint_url seldom have"


def _is_installed() -> bool:
    return importlib.util.find_spec("obstore") is not None


def _unknown(options: Mapping[str, Any], known: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        if name not in known:
            yield name
        elif known[name]:
            below = _unknown(value, known[name]) if isinstance(value, Mapping) else ["as it is given"]
            yield from (f"{name}.{option}" for option in below)
