"""DataJoint's stores, as their configuration has them: what is in one, and how it is read. Nothing is changed there.

DataJoint's own filesystem is used, so that whatever credentials it has are used as it uses them.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from datajoint.errors import DataJointError
from datajoint.storage import StorageBackend as DataJointStore

from datajoint_file.errors import (
    ConfigurationError,
    SourceAccessError,
    SourceError,
    SourceNotFoundError,
    StorageUnavailableError,
    UnsupportedValueError,
    printable,
    reason_of,
)
from datajoint_file.migrate.originals import CheckedReader
from datajoint_file.model.manifest import decode_path
from datajoint_file.model.names import encode_member
from datajoint_file.storage.backend import Reader
from datajoint_file.storage.remote.client_errors import presentable
from datajoint_file.transfer.directories import Listing
from datajoint_file.transfer.links import Elsewhere


class DataJointStores:
    """The stores of a connection's configuration, by name."""

    def __init__(self, config: Any) -> None:
        self._config = config
        self._opened: dict[tuple[str | None, bool], DataJointStoreReader] = {}

    def named(self, name: str | None, *, is_filepath: bool = False) -> DataJointStoreReader:
        """Return a store; the default one, or that of ``<filepath@>``, if it has no name.

        Raises
        ------
        ConfigurationError
            If there is none of this name.
        StorageUnavailableError
            If it is not there.
        """
        if (name, is_filepath) not in self._opened:
            try:
                spec = self._config.get_store_spec(name or None, use_filepath_default=is_filepath)
                store = DataJointStore(spec)
            except DataJointError as error:
                raise ConfigurationError(
                    f"DataJoint's store {name or 'default'!r} cannot be used: {str(error).rstrip('.')}; it has to be "
                    "in datajoint.json as the programs have it that wrote there"
                ) from error
            except OSError as error:
                raise StorageUnavailableError(
                    f"DataJoint's store {name or 'default'!r} is not there: {reason_of(error)}; is its disk mounted?"
                ) from error
            self._opened[name, is_filepath] = DataJointStoreReader(store, name or "default")
        return self._opened[name, is_filepath]


class DataJointStoreReader:
    """One store."""

    def __init__(self, store: Any, name: str) -> None:
        self._store = store
        self.name = name

    def address_in(self, storage: Any, path: str) -> str:
        """Return where the project's store has something of this one as well; empty if it is another bucket.

        *storage* are the project's settings.
        """
        spec = self._store.spec
        bucket = spec.get("bucket") or spec.get("container")
        if self._store.protocol != storage.backend or not bucket or bucket != (storage.bucket or storage.container):
            return ""
        if storage.backend == "s3" and _host(spec.get("endpoint")) != _host(storage.endpoint_url):
            return ""
        return self.full_path(path)

    @property
    def is_local(self) -> bool:
        """Whether it is a directory of this machine."""
        return bool(self._store.protocol == "file")

    @property
    def folders(self) -> tuple[int, ...]:
        """How many letters the names of folders have, in which objects are by their hash; empty if it does not say."""
        return tuple(self._store.spec.get("subfolding") or ())

    def full_path(self, path: str) -> str:
        """Return where something is, as the store's filesystem has it.

        Raises
        ------
        UnsupportedValueError
            If the path leaves the store.
        """
        full = str(self._store._full_path(path))
        top = str(self._store._full_path(""))
        if ".." in Path(path).parts or "\0" in path or not path or not full.startswith(f"{top.rstrip('/')}/"):
            raise UnsupportedValueError(f"{printable(path)} is no path within the store {self.name!r}")
        return full

    def place(self, path: str) -> str:
        """Return what messages call something in it."""
        return printable(self.full_path(path) if self.is_local else f"{path} in the store {self.name!r}")

    def size(self, path: str) -> int | None:
        """Return how many bytes a file has; None if it is a directory.

        Raises
        ------
        SourceNotFoundError, SourceAccessError
            If it is not there, or may not be read.
        """
        with self._met(path):
            self._store.fs.invalidate_cache()  # which would tell what was there
            found = self._store.fs.info(self.full_path(path))
            return None if found["type"] == "directory" else int(found["size"])

    def file(
        self,
        path: str,
        name: str,
        *,
        skipped: bytes = b"",
        size: int | None = None,
        md5: str = "",
        head: bytes = b"",
    ) -> Elsewhere:
        """Return a file of it under a name: *size* bytes, but for what is *skipped*.

        If an MD5 is given, it is that of all its bytes, with *head* before them.
        """
        opened = partial(self._opened, path, len(skipped), size, md5, head + skipped)
        return Elsewhere(name, opened, None if size is None else size - len(skipped))

    def head(self, path: str, count: int) -> bytes:
        """Return the first bytes of a file."""
        with self._opened(path) as reader:
            return reader.read(count)

    def content(self, path: str, size: int | None, md5: str) -> bytes:
        """Return all bytes of a file, checked."""
        with self._opened(path, 0, size, md5) as reader:
            return reader.read()

    @contextmanager
    def _opened(
        self, path: str, skip: int = 0, size: int | None = None, md5: str = "", head: bytes = b""
    ) -> Iterator[Reader]:
        with self._met(path), self._store.fs.open(self.full_path(path), "rb") as file:
            if skip:
                file.seek(skip)
            if size is None and not md5:
                yield file
            else:
                yield CheckedReader(file, self.place(path), None if size is None else size - skip, md5, head)

    def directory(self, path: str, name: str) -> StoreDirectory:
        """Return a directory of it, under a name."""
        return StoreDirectory(name, self, path.rstrip("/"))

    def listed(self, path: str) -> Listing:
        """List the files of a directory, in the order of a manifest."""
        top = self.full_path(path).rstrip("/")
        with self._met(path):
            self._store.fs.invalidate_cache()
            found = self._store.fs.find(top, detail=True)
        files = sorted(
            ("/".join(map(encode_member, full[len(top) + 1 :].split("/"))), int(found[full]["size"]))
            for full in found
            if full.rstrip("/") != top
        )
        if not files:
            raise SourceNotFoundError(f"{self.place(path)} is not there, or has no files")
        return Listing([one for one, _ in files], array("Q", [size for _, size in files]))

    @contextmanager
    def _met(self, path: str) -> Iterator[None]:
        """Put what a filesystem says into this package's words."""
        try:
            yield
        except FileNotFoundError as error:
            if isinstance(error, DataJointError):
                raise
            raise SourceNotFoundError(f"{self.place(path)} is not there") from error
        except PermissionError as error:
            if isinstance(error, DataJointError):
                raise
            raise SourceAccessError(f"{self.place(path)} may not be read by this user") from presentable(error)
        except OSError as error:
            if isinstance(error, DataJointError):
                raise
            raise SourceError(f"{self.place(path)} cannot be read ({type(error).__name__})") from presentable(error)


def _host(endpoint: str | None) -> str:
    """Return host and port of a server of S3: Amazon's, if none is said."""
    host = (endpoint or "s3.amazonaws.com").partition("://")[2] or endpoint or "s3.amazonaws.com"
    return "amazonaws.com" if host.rstrip("/").endswith("amazonaws.com") else host.rstrip("/")


@dataclass(frozen=True)
class StoreDirectory:
    """A directory in a store that is no directory of this machine."""

    original_name: str
    store: DataJointStoreReader
    path: str
    title: str | None = None

    def as_tree(self) -> StoreDirectory:
        """Return itself: it has what is to be stored."""
        return self

    @cached_property
    def listing(self) -> Listing:
        """What is in it."""
        return self.store.listed(self.path)

    def value(self, name: str) -> Elsewhere:
        """Return a member, as the store calls it."""
        path = decode_path(name)
        return self.store.file(f"{self.path}/{path}", path.rpartition("/")[2], size=self._sizes[name])

    @cached_property
    def _sizes(self) -> dict[str, int]:
        return dict(zip(self.listing.names, self.listing.sizes, strict=True))
