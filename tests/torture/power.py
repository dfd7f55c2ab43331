"""Tier 4: the power goes. Whatever the disk may have lost, a row that is durable has its bytes.

A write to a disk is recorded, call by call; then the machine is imagined to stop after each of them, with everything
lost, or kept, that was not flushed by then. Rows come after the upload has returned, so from there on its object must
survive; before, a name that survives must have all its bytes.
"""

from __future__ import annotations

import io
import os
import random
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datajoint_file.storage.disk import drafts, syncfs
from datajoint_file.storage.disk.backend import LocalBackend
from datajoint_file.transfer.atomic_write import atomic_write
from datajoint_file.transfer.hashing import HashingReader
from datajoint_file.transfer.source_readers import open_file

KEY = "lab/subject1/schema/objects/Recording-data/aaaabbbbccccdddd-aaaabbbbccccddddeeeeffffgg/recording.dat"
KEYS = (KEY, KEY.replace("aaaabbbb", "bbbbaaaa"), KEY.replace("aaaabbbb", "ccccaaaa").replace("subject1", "subject2"))
CALLS = ("open", "fsync", "link", "unlink", "rename", "replace", "mkdir", "rmdir", "close")
DOWNLOADED = ("downloaded.dat", "another.dat", "third.dat")
FOUND = ("beside", "copied", "files", "directory")
WAYS = ("stream", "file", "group", "group flushed together")


@dataclass(frozen=True, slots=True)
class Disk:
    """Names and bytes at one moment: what a process sees, and what of it is flushed."""

    names: dict[str, int]
    """Inode by path, directories included."""

    contents: dict[int, bytes]
    durable_names: dict[str, int]
    durable_contents: dict[int, bytes]


@dataclass
class Recorder:
    """Watches the calls of this process below a directory, and keeps a picture of the disk after each.

    Parameters
    ----------
    root : Path
        The directory.
    is_durable : bool
        Whether the disk has what is there at the beginning; else nothing of it.
    """

    root: Path
    is_durable: bool = True
    log: list[str] = field(default_factory=list)
    disks: list[Disk] = field(default_factory=list)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record the calls of the block."""
        self._take(None, None)
        originals = [(os, name, getattr(os, name)) for name in CALLS] + [(syncfs, "syncfs", syncfs.syncfs)]
        for owner, name, original in originals:
            setattr(owner, name, self._watched(name, original))
        try:
            yield
        finally:
            for owner, name, original in originals:
                setattr(owner, name, original)
        self._take(None, None)

    def _watched(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            flushed = os.fstat(args[0]) if name == "fsync" else None
            result = original(*args, **kwargs)
            self.log.append(f"{name}({', '.join(Path(str(arg)).name for arg in args[:2])})")
            self._take(name, flushed)
            return result

        return watched

    def _take(self, call: str | None, flushed: os.stat_result | None) -> None:
        """Take a picture. Nothing is durable but what was at the beginning, and what has been flushed since."""
        names, contents = self._look()
        if not self.disks and not self.is_durable:
            self.disks.append(Disk(names, contents, {".": names["."]}, {}))
            return
        if not self.disks or call == "syncfs":
            self.disks.append(Disk(names, contents, dict(names), dict(contents)))
            return
        durable_names, durable_contents = dict(self.disks[-1].durable_names), dict(self.disks[-1].durable_contents)
        if flushed is not None and stat.S_ISDIR(flushed.st_mode):
            self._flush_names(names, durable_names, flushed.st_ino)
        elif flushed is not None:
            durable_contents[flushed.st_ino] = contents.get(flushed.st_ino, b"")
        self.disks.append(Disk(names, contents, durable_names, durable_contents))

    def _look(self) -> tuple[dict[str, int], dict[int, bytes]]:
        names, contents = {".": self.root.stat().st_ino}, {}
        for path in self.root.rglob("*"):
            inode = path.stat().st_ino
            names[str(path.relative_to(self.root))] = inode
            if path.is_file():
                with io.open(path, "rb", opener=_open_quietly) as file:  # noqa: UP020 - `open` may be watched
                    contents[inode] = file.read()
        return names, contents

    def _flush_names(self, names: dict[str, int], durable: dict[str, int], inode: int) -> None:
        directory = next(name for name, number in names.items() if number == inode)
        for name in [name for name in durable if _is_in(name, directory)]:
            del durable[name]
        durable |= {name: number for name, number in names.items() if _is_in(name, directory)}


def _is_in(name: str, directory: str) -> bool:
    return name != "." and str(Path(name).parent) == directory


_open_quietly = os.open  # bound before anything is watched


def survivors(disk: Disk, generator: random.Random) -> Iterator[dict[str, bytes]]:
    """Yield what a disk may hold after a power cut: the least, the most misleading, and two by chance."""
    pending = {name: inode for name, inode in disk.names.items() if disk.durable_names.get(name) != inode}
    yield _read(disk, disk.durable_names, lambda _: False)
    yield _read(disk, disk.durable_names | pending, lambda _: False)
    for _ in range(2):
        kept = {name: inode for name, inode in pending.items() if generator.random() < 0.5}
        yield _read(disk, disk.durable_names | kept, lambda _: generator.random() < 0.5)


def _read(disk: Disk, names: dict[str, int], is_written: Callable[[int], bool]) -> dict[str, bytes]:
    """Return the files that can be reached by *names*; of bytes that are not flushed, those that *is_written* says."""
    found = {}
    for name, inode in names.items():
        parents = [str(parent) for parent in Path(name).parents]
        if (inode in disk.contents or inode in disk.durable_contents) and all(parent in names for parent in parents):
            durable = disk.durable_contents.get(inode, b"")
            found[name] = disk.contents.get(inode, durable) if is_written(inode) else durable
    return found


def upload(root: Path, content: bytes, way: str) -> Recorder:
    """Record an upload to a local store: of a stream, of a file that the system copies, or of several in a group."""
    backend, recorder = LocalBackend(root, "lab"), Recorder(root)
    if way.startswith("group"):
        with flushed_together(always=way != "group"), recorder.recording():
            group = backend.group()
            for key in KEYS:
                group.upload(key, io.BytesIO(content))
            group.publish()
        return recorder
    with tempfile.NamedTemporaryFile() as source:
        source.write(content)
        source.flush()
        with open_file(Path(source.name)) as bare, recorder.recording():
            reader = HashingReader(bare, lambda _: None) if way == "file" else io.BytesIO(content)
            backend.upload(KEY, reader, len(content))
    return recorder


def find(root: Path, content: bytes, way: str, *, together: bool) -> tuple[Recorder, list[str]]:
    """Record what becomes of objects that others have left, and the disk has nothing of, when somebody counts on them.

    Returns the keys as well that must be there at the end.
    """
    members = [KEY.replace("recording.dat", f"run/{name}") for name in ("a.dat", "sub/b.dat", "sub/c.dat")]
    for key in (*KEYS, *members):
        LocalBackend(root, "lab", "none").upload(key, io.BytesIO(content))
    backend, recorder = LocalBackend(root, "lab"), Recorder(root, is_durable=False)
    beside, directory = members[1].replace("b.dat", "mine.dat"), members[0].replace("a.dat", "")
    with flushed_together(always=together), recorder.recording():
        if way == "beside":
            backend.upload(beside, io.BytesIO(content))
            return recorder, [beside]
        if way == "copied":
            backend.copy(KEY, beside)
            return recorder, [beside]
        settled = [*KEYS] if way == "files" else [directory]
        backend.settle(*settled)
    return recorder, settled if way == "files" else members


@contextmanager
def flushed_together(*, always: bool) -> Iterator[None]:
    """Let groups be flushed by one call, however small they are and whatever the disk of this machine; or never."""
    changes: list[tuple[Any, str, Any]] = [
        (syncfs, "can_flush_together", lambda _: always),
        (syncfs, "has_journal", lambda _: True),
        (syncfs, "ENOUGH_FILES", 1),
        (syncfs, "MAX_OTHERS_BYTES", 2**60),
    ]
    originals = [(owner, name, getattr(owner, name)) for owner, name, _ in changes]
    for owner, name, value in changes:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in originals:
            setattr(owner, name, value)


def download(root: Path, content: bytes, *, old: bytes | None = None, together: bool = False) -> Recorder:
    """Record a download of some files, which may replace others: each for itself, or all flushed by one call."""
    targets = [root / name for name in DOWNLOADED]
    if old is not None:
        for target in targets:
            target.write_bytes(old)
    recorder, replaces = Recorder(root), old is not None
    with flushed_together(always=together), recorder.recording(), drafts.Batch() as batch:
        for target in targets:
            with atomic_write(target, batch.add, replaces=replaces) as new:
                half = len(content) // 2
                new.write(half, content[half:])
                new.write(0, content[:half])
    return recorder


def check(seed: int, number: int, ways: Sequence[str] = WAYS) -> list[str]:
    """Replay *number* power cuts of uploads, in one of *ways* each, and of downloads; return what was lost."""
    generator = random.Random(f"power {seed}")
    problems: list[str] = []
    for index in range(number):
        content = generator.randbytes(generator.choice((0, 1, 5000, 2**20, 2**20 + 1)))
        with tempfile.TemporaryDirectory(prefix="torture-power-") as directory:
            problems += check_upload(Path(directory), content, generator, index, generator.choice(ways))
        with tempfile.TemporaryDirectory(prefix="torture-power-") as directory:
            together, found = generator.choice((True, False)), generator.choice(FOUND)
            problems += check_found(Path(directory), content, generator, found, together=together)
        with tempfile.TemporaryDirectory(prefix="torture-power-") as directory:
            together = generator.choice((True, False))
            problems += check_download(Path(directory), content, generator, index, together=together)
    return problems


def check_upload(root: Path, content: bytes, generator: random.Random, index: int, way: str) -> list[str]:
    """After every call of an upload the object is absent or whole; after the last it is there."""
    recorder = upload(root, content, way)
    names = [key.removeprefix("lab/") for key in (KEYS if way.startswith("group") else KEYS[:1])]
    problems = []
    for number, disk in enumerate(recorder.disks):
        is_over = number == len(recorder.disks) - 1
        for files in survivors(disk, generator):
            for name in names:
                if files.get(name, content) != content or (is_over and name not in files):
                    lost = "is gone" if name not in files else "has other bytes"
                    after = recorder.log[number - 1] if number <= len(recorder.log) and number else "the end"
                    problems.append(f"upload {index} ({way}): after {after} the object {lost}")
    return problems


def check_found(root: Path, content: bytes, generator: random.Random, way: str, *, together: bool) -> list[str]:
    """After what others have left was settled, copied, or added to, the disk has what is counted on."""
    recorder, keys = find(root, content, way, together=together)
    names = [key.removeprefix("lab/") for key in keys]
    lost = [name for files in survivors(recorder.disks[-1], generator) for name in names if files.get(name) != content]
    return [f"{way}, found: {name} is gone, or has other bytes" for name in lost]


def check_download(root: Path, content: bytes, generator: random.Random, index: int, *, together: bool) -> list[str]:
    """After every call of a download each file is absent, the old one, or whole."""
    old = generator.choice((None, b"old bytes"))
    recorder = download(root, content, old=old, together=together)
    problems = []
    for number, disk in enumerate(recorder.disks):
        for files in survivors(disk, generator):
            for name in DOWNLOADED:
                found = files.get(name)
                if found not in (content, old, None) or (found is None and old is not None):
                    after = recorder.log[number - 1] if number <= len(recorder.log) and number else "the end"
                    problems.append(f"download {index}: after {after} {name} has {found and len(found)} bytes")
    return problems
