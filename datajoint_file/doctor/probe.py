"""The probe: one object of random bytes, stored, read and removed as the package stores, reads and removes.

It is the doctor's alone, under a key that no row has, and is gone afterwards whatever fails.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from datajoint_file.doctor.check import Check
from datajoint_file.errors import DataJointFileError, ObjectExistsError, StorageError
from datajoint_file.keys import PartitionPattern, Place, new_object_key
from datajoint_file.storage import StorageBackend
from datajoint_file.storage.foreign import translation

PLACE = Place("datajoint-file-doctor", "Probe", "probe", ())
"""Where probes are: in the place of a schema that no database has."""

SIZE = 2**20
RANGE = slice(700_001, 704_097)

MAX_SKEW = timedelta(minutes=5)
"""More than this between two clocks, and what goes by time goes wrong; S3 refuses requests at 15 minutes."""

Advise = Callable[[DataJointFileError], str]
"""Says what to do about an error."""


def probe_key(project: str) -> str:
    """Return the key of a new probe of a project."""
    return new_object_key(project, PartitionPattern(), PLACE, "probe.bin")


@dataclass(frozen=True, slots=True)
class Span:
    """The time that something took, by this machine's clock."""

    start: datetime
    end: datetime

    def distance(self, moment: datetime) -> timedelta:
        """Return how far *moment* is outside: positive if later, negative if earlier, zero if inside."""
        return max(moment - self.end, timedelta()) - max(self.start - moment, timedelta())


class Probe:
    """One object, and the looks at it.

    Parameters
    ----------
    backend : StorageBackend
        The store.
    key : str
        Its key, from `probe_key`.
    advise : callable
        Says what to do about an error of the store.
    """

    def __init__(self, backend: StorageBackend, key: str, advise: Advise) -> None:
        self.backend = backend
        self.key = key
        self._advise = advise
        self._content = os.urandom(SIZE)
        self._written: Span | None = None

    def examine(self) -> Generator[Check, None, None]:
        """Store the object, look at it in every way, remove it. A look that fails does not stop the others."""
        try:
            yield (written := self._taken("write", self._write))
            if written.status == "failed":
                return
            looks = {
                "read": self._read,
                "ranged read": self._read_range,
                "list": self._list,
                "size": self._size,
                "clock": self._clock,
                "exclusive create": self._write_again,
                "delete": self._delete,
            }
            for name, look in looks.items():
                if name != "clock" or self.backend.capabilities.protocol != "file":
                    yield self._taken(name, look)
        finally:
            self.discard()

    def discard(self) -> None:
        """Remove the object, if it is there and can be removed."""
        with suppress(StorageError):
            self.backend.delete(self.key)

    def _taken(self, name: str, look: Callable[[], Check]) -> Check:
        try:
            return look()
        except DataJointFileError as error:
            return self._failed(name, error)
        except Exception as error:  # noqa: BLE001 - in the middle of reading, whatever the client below raises
            return self._failed(name, translation(self.key, error))

    def _failed(self, name: str, error: DataJointFileError) -> Check:
        return Check(name, "failed", reason(error), self._advise(error))

    def _write(self) -> Check:
        start = datetime.now(timezone.utc)
        count = self.backend.upload(self.key, io.BytesIO(self._content), SIZE)
        self._written = Span(start, datetime.now(timezone.utc))
        if count != SIZE:
            return Check("write", "failed", f"{SIZE} bytes were sent, and {count} stored", _UNSOUND)
        return Check("write", "ok", f"1 MiB under {self.key.split('/')[1]}/")

    def _read(self) -> Check:
        if self._stored() != self._content:
            return Check("read", "failed", "the bytes read are not the bytes written", _UNSOUND)
        return Check("read", "ok", "the bytes that were written")

    def _read_range(self) -> Check:
        with self.backend.open(self.key, block_size=RANGE.stop - RANGE.start, cache_type="none") as file:
            file.seek(RANGE.start)
            found = file.read(RANGE.stop - RANGE.start)
        if found != self._content[RANGE]:
            detail = f"bytes {RANGE.start} to {RANGE.stop - 1} are not those written there"
            return Check("ranged read", "failed", detail, _UNSOUND)
        return Check("ranged read", "ok", "a part, without reading the rest")

    def _list(self) -> Check:
        if not self._is_listed():
            return Check("list", "failed", "the listing does not show the object", _UNSOUND)
        return Check("list", "ok", "the listing shows the object")

    def _size(self) -> Check:
        found = self.backend.stat(self.key).size
        if found != SIZE:
            return Check("size", "failed", f"{SIZE} bytes were written, and the store says {found}", _UNSOUND)
        return Check("size", "ok", f"{SIZE:,} bytes, as written")

    def _clock(self) -> Check:
        modified = self.backend.stat(self.key).modified
        if modified is None or self._written is None:
            return Check("clock", "ok", "the store does not tell its time")
        skew = self._written.distance(modified)
        if abs(skew) <= MAX_SKEW:
            return Check("clock", "ok", f"within {max(1, round(abs(skew).total_seconds()))} s of this machine's")
        direction = "ahead of" if skew > timedelta() else "behind"
        return Check(
            "clock",
            "warning",
            f"the store's clock is {timedelta(seconds=round(abs(skew).total_seconds()))} {direction} this machine's",
            "set the clock that is wrong (NTP): stores refuse requests of another time, and timestamps mislead",
        )

    def _write_again(self) -> Check:
        """Try to replace the object, which must be refused, and see that it is what it was."""
        refused = False
        try:
            self.backend.upload(self.key, io.BytesIO(b"another object"), 14)
        except ObjectExistsError:
            refused = True
        kept = self._stored() == self._content
        if refused and not kept:
            return Check("exclusive create", "failed", "a second write was refused, and changed the object", _UNSOUND)
        if not refused:
            return Check("exclusive create", "warning", _UNREPORTED if kept else _REPLACED, _LOOK_FIRST)
        by = "by the store" if self.backend.capabilities.atomic_create else "after looking, not by the store itself"
        return Check("exclusive create", "ok", f"a second write is refused {by}")

    def _delete(self) -> Check:
        left = f"{self.backend.url(self.key)} is left there"
        try:
            self.backend.delete(self.key)
        except DataJointFileError as error:
            return Check("delete", "failed", f"{left}: {reason(error)}", self._advise(error))
        if self.backend.exists(self.key) or self._is_listed():
            return Check("delete", "failed", f"{left} after its deletion", f"delete it by hand, and {_UNSOUND}")
        return Check("delete", "ok", "the object is gone")

    def _is_listed(self) -> bool:
        directory = self.key.rpartition("/")[0]
        return any(found.key == self.key for found in self.backend.list(directory))

    def _stored(self) -> bytes:
        with self.backend.open(self.key) as file:
            return file.read()


def reason(error: DataJointFileError) -> str:
    """Return an error's message without the probe's key, which tells nobody anything, and without advice."""
    return str(error).removeprefix(f"{getattr(error, 'key', '')}: ").partition(". Check ")[0]


_UNSOUND = "do not keep data in this store before its administrator has explained this"
_REPLACED = "the store ignores conditional writes: a second write replaced the object. Keys are unique anyway"
_UNREPORTED = "the store ignores conditional writes: a second write was not refused. Keys are unique anyway"
_LOOK_FIRST = "set exclusive_create = false in [storage]: then this package looks before it writes"
