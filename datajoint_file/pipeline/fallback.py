"""Fallback of reads to the mirror: what the first place cannot give, the second does, checked alike.

How bytes are fetched and verified is told by who reads; which places there are, by `stores`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from datajoint_file.errors import (
    DataJointFileError,
    MetadataError,
    MirrorWarning,
    ObjectNotFoundError,
    StorageError,
    StorageUnavailableError,
    VerificationError,
    warn,
)
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.pipeline.stores import Stores
from datajoint_file.storage import StorageBackend

AGAIN_SECONDS = 30.0
"""A store that could not be reached is asked second for so long: each read would wait for it."""

_T = TypeVar("_T")

_UNUSABLE = (StorageError, VerificationError, MetadataError)


class Fallback:
    """Reads of some stores from one place, or the other."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    def read(
        self, metadata: FileMetadata, take: Callable[[StorageBackend], _T], anew: Callable[[], object] = lambda: None
    ) -> _T:
        """Return what *take* makes of the place that has an object; of the mirror, if it fails with the first.

        Before it is called again, *anew* is: what has come so far is worthless.

        Raises
        ------
        StorageError, VerificationError, MetadataError
            If it fails with both, or there is but one: what was wrong with the first; but that an object is missing
            only if the mirror has answered as well.
        """
        first, mirror = self._stores.of_object(metadata), self._stores.mirror_of(metadata)
        if mirror is None:
            return take(first)
        if self._stores.known.is_down(metadata.project):
            try:
                return take(mirror)
            except _UNUSABLE as second:
                anew()
                try:
                    return take(first)
                except _UNUSABLE as error:
                    raise _of_both(error, second) from error
        try:
            return take(first)
        except _UNUSABLE as error:
            anew()
            try:
                found = take(mirror)
            except _UNUSABLE as second:
                raise _of_both(error, second) from error
            if isinstance(error, StorageUnavailableError):
                self._stores.known.note_down(metadata.project, AGAIN_SECONDS)
            self._tell(metadata, error)
            return found

    def _tell(self, metadata: FileMetadata, error: Exception) -> None:
        """Warn that the mirror was needed, once a process and store."""
        told = str(error) if metadata.path in str(error) else f"{metadata.path}: {error}"
        tell_once(
            self._stores,
            f"{told}. The bytes were taken from the mirror, and checked as always. This is said once: "
            "`datajoint-file verify --all` tells what is wrong, and with --repair mends it",
            f"read {metadata.project}",
        )


def _of_both(error: DataJointFileError, second: DataJointFileError) -> DataJointFileError:
    """Return what to raise: *error*, of the store; but who could not ask the mirror does not know that it has not."""
    is_known = isinstance(second, ObjectNotFoundError) or not isinstance(second, StorageError)
    if isinstance(error, ObjectNotFoundError) and not is_known:
        return second.within("the store has not got it, and its mirror cannot be asked")
    return error.within(f"its mirror has not got it either ({second})")


def tell_once(stores: Stores, message: str, about: str) -> None:
    """Warn, unless it has been warned of the same of these stores; of several threads at once, one does."""
    own = object()
    if stores.known.told.setdefault(about, own) is own:
        warn(message, MirrorWarning)
