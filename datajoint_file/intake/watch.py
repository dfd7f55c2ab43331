"""Watch folder: what has stopped growing in a directory is inserted, read back, and given a receipt beside it.

The database decides what is done already: whatever kills a watch, the next one goes on where rows and receipts say.
Paths are matched by `scan`; how a local file is looked at is told in `local_values`, when there is
a look in `watch_loop`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

from datajoint.errors import IntegrityError

from datajoint_file.errors import (
    DestinationError,
    InvalidKeyError,
    MetadataError,
    ObjectNotFoundError,
    SourceChangedError,
    SourceError,
    SourceNotFoundError,
    UnsafeNameError,
    VerificationError,
    driver_message,
    printable,
)
from datajoint_file.hooks.tables import table_name
from datajoint_file.intake.local_values import LocalValue, Snapshot
from datajoint_file.intake.receipts import ImportReceipt, NoReceiptError, read_receipt
from datajoint_file.intake.scan import Scan, Target, directory_of, scan
from datajoint_file.intake.stored_rows import StoredRows
from datajoint_file.journal.transactions import mend
from datajoint_file.model.metadata import format_timestamp
from datajoint_file.model.object_keys import key_text
from datajoint_file.model.wording import counted
from datajoint_file.pipeline.directoryref import DirectoryRef
from datajoint_file.pipeline.fileref import FileRef
from datajoint_file.transfer.pinned_directory import PinnedDirectory

State = Literal["inserted", "there already", "differs", "failed", "several paths", "no match"]
"""What is said of a path: the first two are good."""

_AT_ONCE, _BYTES_AT_ONCE = 50, 2**30
"""Files, and bytes of several, that are inserted before others are looked at, and before they get their receipts."""

_FRESH_SECONDS, _FRESH_TIMES = 30.0, 10
"""So long, or so many times what it took, a listing of the directory is gone through before the next is made."""

_LONGEST_PAUSE = 3600.0
"""Seconds before what failed is tried again, at most."""

_OF_THE_FILE = (
    SourceError,
    UnsafeNameError,
    DestinationError,
    VerificationError,
    ObjectNotFoundError,
    MetadataError,
    LookupError,
)
"""What is wrong with one file, its row or its receipt; all else is wrong with database or store."""


@dataclass(frozen=True, slots=True)
class News:
    """What has become of a path."""

    state: State
    path: str
    text: str

    @property
    def is_good(self) -> bool:
        """Whether the file is stored, and nobody need look."""
        return self.state in ("inserted", "there already")

    def __str__(self) -> str:
        return f"{self.state}: {printable(self.path)}: {self.text}"


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the directory has found.

    Parameters
    ----------
    done : tuple of News
        What was inserted, or found in its row, and has got its receipt.
    problems : tuple of News
        All that a person must see, whether it was so before or not.
    waiting : tuple of str
        Paths that may still grow.
    settled : int
        Files that have a receipt which is of them as they are.
    is_more : bool
        Whether others have stopped growing, which the next look goes on with.
    """

    done: tuple[News, ...] = ()
    problems: tuple[News, ...] = ()
    waiting: tuple[str, ...] = ()
    settled: int = 0
    is_more: bool = False

    def __str__(self) -> str:
        return "\n".join([*map(str, self.done), *map(str, self.problems), self.counts])

    @property
    def counts(self) -> str:
        """How many files have a receipt, grow, or have a problem."""
        settled = f"{counted(self.settled, 'file')} with a receipt, {len(self.waiting)} growing"
        return f"{settled}, {counted(len(self.problems), 'problem')}"


@dataclass(frozen=True, slots=True)
class _Again:
    """A file that is to be tried again."""

    snapshot: Snapshot
    due: float
    pause: float  # seconds
    news: News  # why


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A file that has stopped growing."""

    value: LocalValue
    snapshot: Snapshot
    row: Mapping[str, Any]

    @property
    def path(self) -> str:
        return self.value.path


@dataclass(slots=True)
class _Listing:
    """What one walk through the directory has found, as far as it has not been dealt with."""

    problems: list[News] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    left: list[_Candidate] = field(default_factory=list)
    good_until: float = 0.0

    @property
    def is_good(self) -> bool:
        return bool(self.left) and time.monotonic() < self.good_until


@dataclass(slots=True)
class _Stillness:
    """Which files have looked the same for so many *seconds*, as seen from here: clocks of file servers differ."""

    seconds: float
    seen: dict[str, tuple[Snapshot, float]] = field(default_factory=dict)

    def is_still(self, path: str, snapshot: Snapshot) -> bool:
        now = time.monotonic()
        known, since = self.seen.get(path, (None, now))
        if known != snapshot:
            since = now
        self.seen[path] = snapshot, since
        return now - since >= self.seconds

    def forget(self, path: str) -> None:
        self.seen.pop(path, None)


class Watch:
    """A directory that is watched for files of a rule, which go to a `file` attribute of a table.

    Parameters
    ----------
    root : path
        The directory.
    rule : str
        What paths look like, as `scan` takes it.
    table : table
        Where rows are to go.
    attribute, values, patterns, exclude
        As `scan` takes them.
    still : float
        Seconds that a file must not have changed.

    Raises
    ------
    RuleError, UnsupportedValueError, SourceError
        As by `scan`.
    DestinationError
        If no receipts can be written there.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        rule: str,
        table: Any,
        *,
        attribute: str | None = None,
        values: Mapping[str, Any] | None = None,
        patterns: Mapping[str, str] | None = None,
        exclude: Sequence[str] = (),
        still: float = 10.0,
    ) -> None:
        self._root = directory_of(root)
        if not os.access(self._root, os.W_OK):
            raise DestinationError(f"{printable(str(self._root))}: this user may not write receipts there")
        self._target = Target.of(table, attribute)
        read = self._target.rule(rule, values or {}, patterns)
        self._target.require_row({*read.names, *(values or {}), self._target.attribute})
        self._is_for_directories = read.is_for_directories
        self._scan = partial(
            scan,
            self._root,
            rule,
            table=table,
            attribute=self._target.attribute,
            values=values,
            patterns=patterns,
            exclude=exclude,
        )
        self._rows = StoredRows(table, self._target.attribute)
        self._stillness = _Stillness(still)
        self._settled: dict[str, Snapshot] = {}
        self._again: dict[str, _Again] = {}
        self._listing = _Listing()

    @property
    def name(self) -> str:
        """The table and attribute that it inserts into."""
        return f"{self._target.name}.{self._target.attribute}"

    @property
    def lock_file(self) -> Path:
        """The file that is locked by who watches the directory for this attribute."""
        return self._root / f".datajoint-file-watch-{self.name}.lock"

    def look(self) -> Look:
        """Look at the directory once: insert what has stopped growing, write receipts, and say how all stands.

        Nothing is waited for. Killed at any moment, it leaves what an insert leaves, and the next look goes on. What is
        more than it inserts at once, the next looks go on with, before the directory is walked through again.

        Raises
        ------
        DataJointError
            If database or store cannot be used, which is no file's fault.
        """
        mend(self._rows.table.connection)
        listing, self._listing = self._listing, _Listing()  # if this look fails, the next one begins anew
        if not listing.is_good:
            listing = self._listed()
        chosen = _first_of(listing.left)
        listing.left = listing.left[len(chosen) :]
        same = [one for one in chosen if self._is_same(one, listing.waiting)]
        news = list(self._stored(same, listing.waiting)) if same else []
        done = tuple(one for one in news if one.is_good)
        listing.problems += [one for one in news if not one.is_good]
        self._listing = listing
        return Look(
            done, tuple(listing.problems), tuple(listing.waiting), len(self._settled), is_more=bool(listing.left)
        )

    def _listed(self) -> _Listing:
        began = time.monotonic()
        found = self._scanned()
        listing = _Listing(list(_without_rows(found)))
        listing.left = list(self._candidates(found, listing.problems, listing.waiting))
        now = time.monotonic()
        listing.good_until = now + max(_FRESH_SECONDS, _FRESH_TIMES * (now - began))
        return listing

    def _is_same(self, one: _Candidate, waiting: list[str]) -> bool:
        """Tell whether a file still looks as it did when it was listed; else it is waited for anew."""
        try:
            snapshot = one.value.snapshot()
        except SourceError:  # a link in its place, say: told when it is listed next
            snapshot = None
        if snapshot == one.snapshot and not one.value.has_writer():
            return True
        self._stillness.forget(one.path)
        waiting.append(one.path)
        return False

    def _scanned(self) -> Scan:
        found = self._scan()
        there = {os.path.relpath(row[self._target.attribute], found.root) for row in found}
        memories: tuple[dict[str, Any], ...] = (self._settled, self._again, self._stillness.seen)
        for memory in memories:
            for path in memory.keys() - there:  # moved away, or removed
                del memory[path]
        return found

    def _candidates(self, found: Scan, problems: list[News], waiting: list[str]) -> Iterator[_Candidate]:
        """Give what is to be stored now; add the others to those that have problems or must wait."""
        pinned = PinnedDirectory.at(str(found.root))
        for row in found:
            path = os.path.relpath(row[self._target.attribute], found.root)
            value = LocalValue(pinned, path, self._is_for_directories)
            try:
                snapshot = value.snapshot()
                if snapshot is None or self._is_settled(value, snapshot, row):
                    continue
                known = self._known_problem(path, snapshot)
                if known is not None:
                    problems.append(known)
                elif self._stillness.is_still(path, snapshot) and not value.has_writer():
                    yield _Candidate(value, snapshot, row)
                else:
                    waiting.append(path)
            except SourceError as error:
                problems.append(News("failed", path, str(error)))

    def _is_settled(self, value: LocalValue, snapshot: Snapshot, row: Mapping[str, Any]) -> bool:
        """Tell whether nothing is to be done, for there is a receipt of the file as it is."""
        if self._settled.get(value.path) == snapshot:
            return True
        self._settled.pop(value.path, None)
        try:
            receipt = read_receipt(value.root, value.path)
            is_of_it = (receipt.size, receipt.modified) == (snapshot.size, snapshot.modified)
            is_of_row = dict(receipt.key) == self._rows.texts(row)
        except (NoReceiptError, InvalidKeyError):
            return False
        if not (is_of_it and is_of_row and f"{receipt.table}.{receipt.attribute}" == self.name):
            return False
        self._settled[value.path] = snapshot
        return True

    def _known_problem(self, path: str, snapshot: Snapshot) -> News | None:
        """Return what keeps a file, as it is, from being tried now, if anything does."""
        known = self._again.get(path)
        if known is None or known.snapshot != snapshot:
            return None
        return known.news if time.monotonic() < known.due else None

    def _stored(self, candidates: list[_Candidate], waiting: list[str]) -> Iterator[News]:
        """Insert files, and see that what their rows name is what they are."""
        rows = [{**one.row, self._target.attribute: one.value.source(one.snapshot)} for one in candidates]
        report = self._rows.table.insert(rows, skip_duplicates=True, on_error="skip")
        inserted = {self._rows.key(key) for key in report.inserted}
        failed = {one.index: one.error for one in report.failed}
        for index, one in enumerate(candidates):
            news = failed.get(index) or self._confirmed(one, is_new=self._rows.key(one.row) in inserted)
            if isinstance(news, SourceChangedError | SourceNotFoundError):
                self._stillness.forget(one.path)
                waiting.append(one.path)
            elif isinstance(news, Exception):
                yield self._later(one, "failed", self._reason(one, news))
            else:
                yield news

    def _reason(self, one: _Candidate, error: Exception) -> str:
        if not isinstance(error, IntegrityError):
            return str(error) or type(error).__name__
        parents = " or ".join(map(table_name, self._rows.table.parents(as_objects=True)))
        return (
            f"{self._rows.where(one.row)}: {parents} has no row that it refers to. Insert that one: this file is tried "
            f"again, sooner or later within an hour ({driver_message(error)})"
        )

    def _confirmed(self, one: _Candidate, *, is_new: bool) -> News | Exception:
        """Compare a file with what its row names, and go on as that says; return what has failed, if it is the file's.

        Raises
        ------
        DataJointError
            If it is the store's, or the database's.
        """
        try:
            ref, where = self._rows.value(one.row), self._rows.where(one.row)
            if not isinstance(ref, FileRef | DirectoryRef):
                return self._later(one, "differs", f"{where}: the row is there, and has no file. It was not changed")
            if ref.linked:
                text = f"{where} links to {ref.path}, and nothing is stored: `datajoint_file.copy_in` takes a copy"
                return self._later(one, "differs", text)
            different = self._difference(one, ref, is_new=is_new)
            if different:
                return self._later(
                    one,
                    "differs",
                    f"{where} has another file, of {ref.size} bytes, stored {format_timestamp(ref.timestamp)}; of this "
                    f"one, {different}. Neither was changed: move it away, or put it into the row with update1",
                )
            ref.verify(progress=False)
            self._write_receipt(one, ref)
        except _OF_THE_FILE as error:
            return error
        self._again.pop(one.path, None)
        self._settled[one.path] = one.snapshot
        return News("inserted" if is_new else "there already", one.path, f"{where}: {ref.path}")

    def _difference(self, one: _Candidate, ref: FileRef | DirectoryRef, *, is_new: bool) -> str:
        if not is_new and (different := one.value.difference(ref.metadata, self._rows.manifest(ref))):
            return different
        if ref.size != one.snapshot.size or one.value.snapshot() != one.snapshot:
            return "it was changed or moved since it was inserted"
        return ""

    def _later(self, one: _Candidate, state: State, text: str) -> News:
        """Note that a file is to be tried again, after a longer pause each time, or when it has changed."""
        known = self._again.get(one.path)
        pause = self._stillness.seconds if known is None else min(known.pause * 2, _LONGEST_PAUSE)
        news = News(state, one.path, text)
        self._again[one.path] = _Again(one.snapshot, time.monotonic() + pause, pause, news)
        return news

    def _write_receipt(self, one: _Candidate, ref: FileRef | DirectoryRef) -> None:
        ImportReceipt(
            table=self._target.name,
            attribute=self._target.attribute,
            key=self._rows.texts(one.row),
            path=ref.path,
            size=ref.size,
            hash=ref.hash,
            modified=one.snapshot.modified,
            verified=format_timestamp(datetime.now(timezone.utc)),
        ).write(one.value.root, one.path)


def _first_of(candidates: list[_Candidate]) -> list[_Candidate]:
    """Return those that are inserted before others are looked at: the first, and more if they are not too much."""
    sizes = accumulate(one.snapshot.size for one in candidates)
    count = sum(size <= _BYTES_AT_ONCE for size in sizes)
    return candidates[: min(max(count, 1), _AT_ONCE)]


def _without_rows(found: Scan) -> Iterator[News]:
    """Give what of a scan has no row."""
    for one in found.unmatched:
        yield News("no match", one.path, one.reason)
    for several in found.duplicates:
        key = key_text((name, str(value)) for name, value in several.key.items())
        for path in several.paths:
            others = ", ".join(other for other in several.paths if other != path)
            yield News("several paths", path, f"{key} is that of {others}, too; none of them is inserted")
