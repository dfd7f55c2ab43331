"""Checkpoints of a directory: which members are stored, written beside it now and then, for a retry or for its end.

An upload writes them for whoever tries again; a worker of `create`, for the process that ends the directory, and there
also that a member was removed. They are the objects ``~sent-…``. None is believed for its own sake: see `proven`.
"""

from __future__ import annotations

import io
import itertools
import os
import re
import secrets
import threading
from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache, partial
from typing import NamedTuple

from datajoint_file.concurrency.progress import Advance
from datajoint_file.concurrency.threads import Stop, Stopped, run_all
from datajoint_file.errors import ObjectNotFoundError, StorageError
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.object_keys import manifest_key
from datajoint_file.pipeline.adoption import hash_of
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.storage.backend import ObjectStat
from datajoint_file.transfer.directories import Tree
from datajoint_file.transfer.hashing import HashingReader, drain
from datajoint_file.transfer.sources import as_source

CHECKPOINT_FILES = 1_000
CHECKPOINT_BYTES = 2**30
"""After so many files, or bytes, a checkpoint is written."""

_NAME = "~sent-"  # of a checkpoint
_ABSENT = -1
_MAX_BYTES = 2**22
REMOVED, UNKNOWN = "removed", "unknown"
"""In the place of a hash: a member was removed on purpose; one was there, and nobody says what it is."""

_LINE = re.compile(rf"^(sha256:[0-9a-f]{{64}}|{REMOVED}|{UNKNOWN}) ([0-9]{{1,19}}) ([^ \n]+) ([^ \n]+)\n", re.MULTILINE)


class CheckpointLine(NamedTuple):
    """What a checkpoint says of a member: that it is stored, or what became of it."""

    name: str
    digest: str  # or `REMOVED`, `UNKNOWN`
    size: int = 0
    tag: str = ""  # what the store called the object


class Left(NamedTuple):
    """What an earlier attempt has left that can be used."""

    members: list[tuple[int, str, int]]  # places in the listing, hashes, sizes
    has_manifest: bool  # it was stored to its end, or another manifest is in the way


class Checkpoints:
    """The checkpoints of one upload, which several threads write."""

    def __init__(self, pipeline: Pipeline, directory: str) -> None:
        self._pipeline = pipeline
        self._directory = directory
        self._lock = threading.Lock()
        self._waiting: list[CheckpointLine] = []
        self._bytes = 0
        self.keys: list[str] = []

    def add(self, sent: Sequence[FileMetadata], names: Sequence[str]) -> None:
        """Add members that have been stored, and write a checkpoint if it is time."""
        for stored, name in zip(sent, names, strict=True):
            line = CheckpointLine(name, stored.hash, stored.size, self._pipeline.writes.receipts.tag_of(stored.path))
            with self._lock:
                self._waiting.append(line)
                self._bytes += stored.size
                is_time = len(self._waiting) >= CHECKPOINT_FILES or self._bytes >= CHECKPOINT_BYTES
                some, self._waiting, self._bytes = (
                    (self._waiting, [], 0) if is_time else ([], self._waiting, self._bytes)
                )
            if some:
                self._write(some)

    def _write(self, some: Sequence[CheckpointLine]) -> None:
        with suppress(StorageError):  # a retry reads back what is in none
            self.keys.append(write_checkpoint(self._pipeline, self._directory, some))

    def remove(self) -> None:
        """Remove them: the directory is complete."""
        for key in self.keys:
            with suppress(StorageError):  # they go with the directory
                self._pipeline.backend.delete(key)


def write_checkpoint(pipeline: Pipeline, directory: str, lines: Sequence[CheckpointLine], name: str = "") -> str:
    """Write beside a directory which members of it are stored; return the key of the checkpoint.

    Its *name* begins with that of its writer, and of two of one writer that of the later one is greater: `order_of`.
    """
    text = "".join(f"{one.digest} {one.size} {one.tag or '-'} {one.name}\n" for one in lines).encode()
    key = f"{manifest_key(directory).rpartition('/')[0]}/{_NAME}{name or secrets.token_hex(8)}"
    pipeline.backend.upload(key, io.BytesIO(text), len(text))
    return key


def next_name() -> str:
    """Return a name for a checkpoint of this process, which is greater than those before."""
    return f"{_writer(os.getpid())}-{next(_numbers):012d}"


@cache
def _writer(_process: int) -> str:
    return secrets.token_hex(8)


_numbers = itertools.count()

if hasattr(os, "register_at_fork"):  # a child may have the number of a process that its parent has been
    os.register_at_fork(after_in_child=_writer.cache_clear)


def order_of(key: str) -> tuple[str, str]:
    """Return who has written a checkpoint, and what is greater than of those that he has written before."""
    writer, _, number = key.rpartition(_NAME)[2].partition("-")
    return writer, number


def is_checkpoint(key: str) -> bool:
    """Tell whether an object beside a directory is a checkpoint."""
    return f"/{_NAME}" in key


def read_checkpoint(pipeline: Pipeline, key: str) -> Iterator[CheckpointLine]:
    """Give what a checkpoint says; one that is gone says nothing, nor does a line that is malformed or not whole.

    Raises
    ------
    StorageError
        If the store fails: what is not known to be in it would be missing.
    """
    with suppress(ObjectNotFoundError, UnicodeDecodeError):
        size = pipeline.backend.stat(key).size
        if size > _MAX_BYTES:
            return
        for digest, length, tag, name in _LINE.findall(bytes(pipeline.backend.read(key, 0, size)).decode("ascii")):
            is_told = tag != "-" and digest not in (REMOVED, UNKNOWN)
            yield CheckpointLine(name, digest, int(length), tag if is_told else "")


def vouched(size: int, tag: str, lines: Iterable[CheckpointLine]) -> str:
    """Return the hash of an object of this size and tag, if those of *lines* that speak of it agree; else nothing."""
    digests = {line.digest for line in lines if line.tag and (line.size, line.tag) == (size, tag)}
    return digests.pop() if len(digests) == 1 else ""


def proven(pipeline: Pipeline, stat: ObjectStat, lines: Collection[CheckpointLine], told: Advance) -> tuple[str, int]:
    """Return hash and size of an object: as *lines* say, if those that speak of it as it is agree; else as read.

    Nowhere else is what a checkpoint or a record says believed unread. The object is as it was by its size and tag.
    """
    hash_ = vouched(stat.size, stat.tag, lines)
    if not hash_ and any(line.tag and line.size == stat.size for line in lines):  # most listings tell no tags
        hash_ = vouched(stat.size, pipeline.backend.stat(stat.key).tag, lines)
    if hash_:
        return hash_, stat.size
    with pipeline.backend.open(stat.key) as file:
        reader = HashingReader(file, told)
        drain(reader)
        return reader.hash, reader.size


def resumable(
    pipeline: Pipeline, directory: str, tree: Tree, checkpoints: Checkpoints, advance: Advance
) -> Left | None:
    """Return what an earlier attempt has stored; None if something else is there than the tree has."""
    found = _Found(pipeline, directory, tree, advance)
    members = found.members(checkpoints) if found.list_objects(checkpoints) else None
    return None if members is None else Left(members, found.has_manifest)


class _Found:
    """What is in the store of a directory that was begun."""

    def __init__(self, pipeline: Pipeline, directory: str, tree: Tree, advance: Advance) -> None:
        self._pipeline = pipeline
        self._directory = directory
        self._tree = tree
        self._listing = tree.listing
        self._advance = advance
        self._sizes = array("q", [_ABSENT]) * len(self._listing.names)
        self._stored: dict[int, str] = {}
        self.has_manifest = False
        self._lock = threading.Lock()

    def list_objects(self, checkpoints: Checkpoints) -> bool:
        """List what is there, *checkpoints* among it; tell whether all of it is the tree's."""
        for stat in self._pipeline.backend.list(manifest_key(self._directory).rpartition("/")[0]):
            if stat.key == manifest_key(self._directory):
                self.has_manifest = True
            elif not stat.key.startswith(self._directory):
                if not is_checkpoint(stat.key):
                    return False  # it is being made by other means
                checkpoints.keys.append(stat.key)
            elif (index := self._index(stat.key[len(self._directory) :])) is None:
                return False
            else:
                self._sizes[index] = stat.size
        return True

    def _index(self, name: str) -> int | None:
        index = bisect_left(self._listing.names, name)
        return index if index < len(self._listing.names) and self._listing.names[index] == name else None

    def members(self, checkpoints: Checkpoints) -> list[tuple[int, str, int]] | None:
        """Compare what is there with the files, those in checkpoints first."""
        for key in checkpoints.keys:
            if not self._compare([partial(self._look, *one) for one in self._lines(key)]):
                return None
        others = [index for index, size in enumerate(self._sizes) if size != _ABSENT and index not in self._stored]
        if not self._compare([partial(self._look, index) for index in others]):
            return None
        return [(index, digest, self._sizes[index]) for index, digest in self._stored.items()]

    def _lines(self, key: str) -> Iterator[tuple[int, CheckpointLine]]:
        """Give what a checkpoint says of objects that are there."""
        for line in read_checkpoint(self._pipeline, key):
            index = self._index(line.name)
            if index is not None and self._sizes[index] == line.size:
                yield index, line

    def _compare(self, looks: Sequence[Callable[[], object]]) -> bool:
        different = Stop()
        self._different = different
        with suppress(Stopped):
            run_all(looks, self._pipeline.workers, different)
        return not different.is_set()

    def _look(self, index: int, *lines: CheckpointLine) -> None:
        """Compare one object with its file; the upload that left it is of no use if they differ."""
        name = self._listing.names[index]
        stat = ObjectStat(f"{self._directory}{name}", self._sizes[index], None)
        stored, _ = proven(self._pipeline, stat, lines, self._told)
        if self._hash_of(name, index) != stored:
            self._different.set()
            return
        with self._lock:
            self._stored[index] = stored

    def _hash_of(self, name: str, index: int) -> str:
        source = as_source(self._tree.value(name))
        return hash_of(source, self._sizes[index], self._told)

    def _told(self, count: int) -> None:
        self._advance(0)
