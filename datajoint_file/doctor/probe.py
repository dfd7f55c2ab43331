"""Probe objects: random bytes, stored, read and removed as the package stores, reads and removes.

They are the doctor's alone, under keys that no row has, and are gone afterwards whatever fails. A store that lies about
one of them may lie about any: each look compares what it says with what was done.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta, timezone

from datajoint_file.doctor.check import Check
from datajoint_file.errors import DataJointFileError, ObjectExistsError, StorageAccessError, StorageError
from datajoint_file.model.object_keys import Cell, new_object_key
from datajoint_file.model.partition import PartitionPattern
from datajoint_file.model.wording import spoken
from datajoint_file.storage import StorageBackend
from datajoint_file.storage.remote.client_errors import translation
from datajoint_file.storage.tuning import MAX_SKEW

CELL = Cell("datajoint-file-doctor", "Probe", "probe", ())
"""Where probes are: in the place of a schema that no database has."""

SIZE = 2**20
RANGE = slice(700_001, 704_097)

PAGE_SIZE = 2
"""Objects of one page, for a backend that is to be probed: fewer than there are probes, so that there are two pages."""

PATIENCE_SECONDS = 10

Advise = Callable[[DataJointFileError, str], str]
"""Says what to do about an error, which came of the look of this name."""


def probe_key(project: str) -> str:
    """Return the key of a new probe of a project."""
    return new_object_key(project, PartitionPattern(), CELL, "probe.bin")


class Probe:
    """One object under *key*, with two small ones beside it, and the looks at them."""

    def __init__(self, backend: StorageBackend, key: str, advise: Advise, *, must_delete: bool = False) -> None:
        self.backend = backend
        self.key = key
        self._neighbours = (f"{key}2", f"{key}.old")  # a store that goes by the beginning of a name would find them too
        self._raced = f"{key.rpartition('/')[0]}/race.bin"
        self._advise = advise
        self._must_delete = must_delete  # else it is only a warning that this user may not
        self._content = os.urandom(SIZE)
        self._written: tuple[datetime, datetime] | None = None  # from when to when, by this machine's clock

    def examine(self) -> Generator[Check, None, None]:
        """Store the objects, look at them in every way, remove them. A look that fails does not stop the others."""
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
                check = self._taken(name, look)
                if name != "clock" or check.status == "warning" or self.backend.capabilities.protocol != "file":
                    yield check
        finally:
            self.discard()

    def discard(self) -> None:
        """Remove the objects that are there and can be removed."""
        for key in (self.key, *self._neighbours, self._raced):
            with suppress(StorageError):
                self.backend.delete(key)

    def _taken(self, name: str, look: Callable[[], Check]) -> Check:
        try:
            return look()
        except Exception as error:  # noqa: BLE001 - in the middle of reading, whatever the client below raises
            known = error if isinstance(error, DataJointFileError) else translation(self.key, error)
            return Check(name, "failed", reason(known), self._advise(known, name))

    def _write(self) -> Check:
        start = datetime.now(timezone.utc)
        count = self.backend.upload(self.key, io.BytesIO(self._content), SIZE)
        self._written = start, datetime.now(timezone.utc)
        for neighbour in self._neighbours:
            self.backend.upload(neighbour, io.BytesIO(_SMALL), len(_SMALL))
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
        found = self._listed()
        missing = {self.key, *self._neighbours} - found.keys()
        if self.key in missing:
            return Check("list", "failed", "the listing does not show the object", _UNSOUND)
        if missing:
            detail = f"the listing is not complete: it shows {len(found)} of {1 + len(self._neighbours)} objects"
            return Check("list", "failed", detail, _UNSOUND)
        if found[self.key] != SIZE:
            detail = f"{SIZE} bytes were written, and the listing says {found[self.key]}"
            return Check("list", "failed", detail, _UNSOUND)
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
        start, end = self._written
        skew = max(modified - end, timedelta()) - max(start - modified, timedelta())
        if abs(skew) <= MAX_SKEW:
            return Check("clock", "ok", f"within {max(1, round(abs(skew).total_seconds()))} s of this machine's")
        direction = "ahead of" if skew > timedelta() else "behind"
        return Check(
            "clock",
            "warning",
            f"the store's clock is {spoken(abs(skew))} {direction} this machine's",
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
        if self.backend.capabilities.atomic_create:
            return self._write_at_once()
        return Check("exclusive create", "ok", "a second write is refused after looking, not by the store itself")

    def _write_at_once(self) -> Check:
        """Write two objects under one key at the same moment, of which the store must take one."""
        accepted = race(self.backend, self._raced, (b"one object", b"another one"))
        if len(accepted) == 1 and self._stored(self._raced) != accepted[0]:
            detail = "of two writes at the same moment the one that was refused is stored"
            return Check("exclusive create", "failed", detail, _UNSOUND)
        if len(accepted) != 1:
            detail = f"of two writes at the same moment the store accepts {len(accepted)}. Keys are unique anyway"
            return Check("exclusive create", "warning", detail, _LOOK_FIRST)
        return Check("exclusive create", "ok", "a second write is refused by the store")

    def _delete(self) -> Check:
        left = f"{self.backend.url(self.key)} is left there"
        try:
            self.backend.delete(self.key)
        except DataJointFileError as error:
            detail, advice = f"{left}: {reason(error)}", self._advise(error, "delete")
            if isinstance(error, StorageAccessError) and not self._must_delete:
                return Check("delete", "warning", detail, f"who only writes needs no more; to collect, {advice}")
            return Check("delete", "failed", detail, advice)
        by_hand = f"delete it by hand, and {_UNSOUND}"
        if self.backend.exists(self.key):
            return Check("delete", "failed", f"{left} after its deletion", by_hand)
        if self.key in self._listed():
            return Check("delete", "failed", f"the listing shows {self.key} after its deletion", _UNSOUND)
        if not all(map(self.backend.exists, self._neighbours)):
            return Check("delete", "failed", "with the object others were deleted, whose names begin alike", _UNSOUND)
        return Check("delete", "ok", "the object is gone")

    def _listed(self) -> dict[str, int]:
        """Return the sizes of the objects in the probe's place, as they are listed."""
        return {found.key: found.size for found in self.backend.list(self.key.rpartition("/")[0])}

    def _stored(self, key: str = "") -> bytes:
        with self.backend.open(key or self.key) as file:
            return file.read()


def race(backend: StorageBackend, key: str, contents: Sequence[bytes]) -> list[bytes]:
    """Upload each of *contents* under *key*, all at once, and return those that the backend says it has stored.

    Every upload has looked whatever it looks at before the first one gets its bytes. A backend that takes one upload
    after the other is not waited for longer than `PATIENCE_SECONDS`. Fails as an upload does that fails for another
    reason than that there is an object already.
    """
    start = threading.Barrier(len(contents))

    def upload(content: bytes) -> bytes:
        try:
            backend.upload(key, _Together(content, start), len(content))
        except ObjectExistsError:
            start.abort()
            return b""
        except BaseException:
            start.abort()
            raise
        return content

    with ThreadPoolExecutor(len(contents)) as pool:
        return [stored for stored in pool.map(upload, contents) if stored]


class _Together:
    """A reader that waits for the others before its first byte."""

    def __init__(self, content: bytes, start: threading.Barrier) -> None:
        self._file = io.BytesIO(content)
        self._start = start

    def read(self, size: int = -1, /) -> bytes:
        if self._file.tell() == 0:
            with suppress(threading.BrokenBarrierError):  # the others have failed, or wait for this one: go on alone
                self._start.wait(PATIENCE_SECONDS)
        return self._file.read(size)


def reason(error: DataJointFileError) -> str:
    """Return an error's message without the probe's key, which tells nobody anything, and without advice."""
    return str(error).removeprefix(f"{getattr(error, 'key', '')}: ").partition(". Check ")[0]


_SMALL = b"beside the probe"
_UNSOUND = "do not keep data in this store before its administrator has explained this"
_REPLACED = "the store ignores conditional writes: a second write replaced the object. Keys are unique anyway"
_UNREPORTED = "the store ignores conditional writes: a second write was not refused. Keys are unique anyway"
_LOOK_FIRST = "set exclusive_create = false in [storage]: then this package looks before it writes"
