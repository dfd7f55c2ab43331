"""Slice that was received: its files, opened by no link, compared with their checksums; its rows, checked one by one.

Anybody may have made it. Sizes are bounded before anything is read into memory, and nothing in it names a path outside.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from datajoint_file.concurrency.progress import Advance
from datajoint_file.errors import DataJointFileError, ExchangeError, UnsafeNameError, brief, printable, reason_of
from datajoint_file.exchange.about import ReceivedStatements
from datajoint_file.exchange.layout import (
    DESCRIPTION,
    MANIFEST,
    about_path,
    is_file_path,
    manifest_path,
    member_paths,
    rows_path,
)
from datajoint_file.exchange.values import Written
from datajoint_file.model.manifest import MAX_BYTES, Manifest, read_manifest
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.pipeline.manifests import member_metadata
from datajoint_file.storage.backend import CHUNK_SIZE
from datajoint_file.transfer.directories import Listing
from datajoint_file.transfer.pinned_directory import PinnedDirectory
from datajoint_file.transfer.sources import File

_MAX_DESCRIPTION = 2**25
MAX_LINE = 2**28
"""Bytes of a row as JSON, whatever its values are."""
MAX_ABOUT = 2**24
"""Bytes of what is said of a row."""

_READ = os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """What a row of a slice has of a file or directory."""

    metadata: FileMetadata
    place: str  # in the slice; nothing, of a link that was kept


@dataclass(frozen=True, slots=True)
class ReceivedContent:
    """A file of a slice, as a value to insert: what is stored of it is compared with its hash once more."""

    metadata: FileMetadata
    root: PinnedDirectory
    path: str

    def open(self, mode: str = "rb") -> BinaryIO:
        """Open its bytes; no link is followed."""
        return open(self.root.open(self.path, _READ), mode)  # type: ignore[return-value]  # noqa: PTH123 - a descriptor


class ReceivedDirectory:
    """A directory of a slice, as a value to insert: its members are called what its manifest calls them."""

    def __init__(self, root: PinnedDirectory, file: ReceivedFile, manifest: Manifest) -> None:
        self.original_name, self.title = file.metadata.original_name, file.metadata.title
        self._root = root
        self._place = file.place
        self._manifest = manifest
        names = [member.name for member in manifest]
        self._paths = dict(zip(names, member_paths(names), strict=True))
        self._metadata = replace(file.metadata, linked="")

    def as_tree(self) -> ReceivedDirectory:
        """Return its members, as what is to be stored."""
        return self

    @property
    def listing(self) -> Listing:
        """What is in it."""
        listing = Listing(empty=list(self._manifest.empty()))
        for member in self._manifest:
            listing.names.append(member.name)
            listing.sizes.append(member.size)
        return listing

    def value(self, name: str) -> ReceivedContent:
        """Return a member."""
        member = self._manifest.find(name)
        if member is None:
            raise ExchangeError(f"{brief(name)} is none of its members")
        path = f"{self._place}/{self._paths[name]}"
        return ReceivedContent(member_metadata(self._metadata, member), self._root, path)


class Received:
    """The directory of a slice.

    Parameters
    ----------
    path : Path
        Where it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._about = set[str]()
        try:
            self._root = PinnedDirectory.at(str(path))
        except OSError as error:
            raise ExchangeError(f"{printable(str(path))} cannot be read: {reason_of(error)}") from error

    def description(self) -> bytes:
        """Return the text of the description, which has the checksum that the manifest says."""
        text = self._text(DESCRIPTION, _MAX_DESCRIPTION)
        found, noted = hashlib.sha256(text).hexdigest(), self._listed([DESCRIPTION]).get(DESCRIPTION)
        if noted is None:
            raise self._damaged(MANIFEST, f"it does not name {DESCRIPTION}")
        if noted != found:
            raise self._damaged(DESCRIPTION, f"its SHA-256 is {found}, and {MANIFEST} has {noted:.64}")
        return text

    def check_about(self, full_names: Collection[str]) -> None:
        """Raise unless what is said of rows is as the manifest has it; exports of old say nothing."""
        paths = {about_path(name): name for name in full_names}
        for path, digest in self._listed(paths).items():
            self._check(path, None, digest)
            self._about.add(paths[path])

    def about(self, full_name: str) -> ReceivedStatements:
        """Return what is said of the rows of a table, to be read side by side with these."""
        lines = self._lines(about_path(full_name), MAX_ABOUT) if full_name in self._about else iter(())
        return ReceivedStatements(lines)

    def check_rows(self, full_name: str, size: int, sha256: str) -> None:
        """Raise unless the rows of a table are the bytes that the description speaks of."""
        self._check(rows_path(full_name), size, sha256)

    def rows(self, full_name: str) -> Iterator[tuple[str, Written]]:
        """Give the rows of a table: where each is, as people are told, and its values, not yet checked."""
        for where, line in self._lines(rows_path(full_name), MAX_LINE):
            try:
                row = json.loads(line, parse_constant=_refuse_constant)
            except (ValueError, RecursionError) as error:
                raise ExchangeError(f"{where}: it is no row as an export writes it ({error!s:.100})") from None
            if not isinstance(row, dict):
                raise ExchangeError(f"{where}: it is no JSON object")
            yield where, row

    def file(self, entry: object) -> ReceivedFile:
        """Return what a row has of a file, which anybody may have written.

        Raises
        ------
        ExchangeError
            If it describes no file of a slice.
        """
        if not isinstance(entry, dict) or not {"row"} <= entry.keys() <= {"row", "path"}:
            raise ExchangeError(f"{brief(entry)} is no file as an export writes it")
        try:
            metadata = FileMetadata.from_json(entry["row"])
        except DataJointFileError as error:
            raise ExchangeError(str(error)) from error
        place = entry.get("path", "")
        if place == "" and "path" not in entry and metadata.is_link:
            return ReceivedFile(metadata, "")
        if not isinstance(place, str) or not is_file_path(place):
            raise ExchangeError(f"{brief(place)} is no path of a file in a slice")
        return ReceivedFile(metadata, place)

    def check_file(self, file: ReceivedFile, advance: Advance = lambda _: None) -> None:
        """Raise unless the bytes of a file, or of all files of a directory, are those of its row."""
        metadata, digest = file.metadata, file.metadata.hash.partition(":")[2]
        if not file.place:
            return
        if not metadata.is_directory:
            self._check(file.place, metadata.size, digest, advance)
            return
        manifest = self._manifest(file)
        names = (member.name for member in manifest)
        for member, path in zip(manifest, member_paths(names), strict=True):
            self._check(f"{file.place}/{path}", member.size, member.digest, advance)

    def value(self, file: ReceivedFile) -> object:
        """Return what a ``file`` attribute takes for the file; of a kept link its metadata."""
        metadata = file.metadata
        if metadata.is_directory:
            return ReceivedDirectory(self._root, file, self._manifest(file))
        content = ReceivedContent(replace(metadata, linked=""), self._root, file.place)
        return File(content, name=metadata.original_name, mime_type=metadata.mime_type, title=metadata.title)

    def _manifest(self, file: ReceivedFile) -> Manifest:
        path, metadata = manifest_path(file.place), file.metadata
        text = self._text(path, MAX_BYTES)
        if f"sha256:{hashlib.sha256(text).hexdigest()}" != metadata.hash:
            raise self._damaged(path, "it is not the list of files that the row has the hash of")
        try:
            manifest = read_manifest(text)
        except DataJointFileError as error:
            raise self._damaged(path, str(error)) from error
        if (manifest.files, manifest.size) != (metadata.files, metadata.size):
            raise self._damaged(path, f"the row speaks of {metadata.files} files with {metadata.size} bytes")
        return manifest

    def _lines(self, path: str, most: int) -> Iterator[tuple[str, bytes]]:
        with self._open(path) as file:
            for number, line in enumerate(iter(lambda: file.readline(most), b""), 1):
                yield f"{path}, line {number}", line

    def _listed(self, paths: Collection[str]) -> dict[str, str]:
        """Return the checksums that the manifest has of some files, as far as it names them."""
        found = {}
        with self._open(MANIFEST) as manifest:
            for line in iter(lambda: manifest.readline(4_096), b""):
                digest, _, name = line.decode(errors="replace").partition(" ")
                if name.strip() in paths:
                    found[name.strip()] = digest
        return found

    def _text(self, path: str, most: int) -> bytes:
        with self._open(path) as file:
            text = file.read(most + 1)
        if len(text) > most:
            raise self._damaged(path, f"it has more than {most} bytes")
        return text

    def _check(self, path: str, size: int | None, sha256: str, advance: Advance = lambda _: None) -> None:
        digest = hashlib.sha256()
        with self._open(path) as file:
            found = os.fstat(file.fileno()).st_size
            if size is not None and found != size:
                raise self._damaged(path, f"it has {found} bytes, expected {size}")
            while chunk := file.read(CHUNK_SIZE):
                digest.update(chunk)
                advance(len(chunk))
        if digest.hexdigest() != sha256:
            raise self._damaged(path, f"its SHA-256 is {digest.hexdigest()}, expected {sha256}")

    def _open(self, path: str) -> BinaryIO:
        """Open a regular file of the slice; no link is followed."""
        try:
            descriptor = self._root.open(path, _READ)
        except (OSError, UnsafeNameError) as error:
            raise self._damaged(path, f"it cannot be read: {reason_of(error)}") from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise self._damaged(path, "it is no regular file")
        return open(descriptor, "rb")  # noqa: PTH123 - a descriptor

    def _damaged(self, path: str, what: str) -> ExchangeError:
        return ExchangeError(
            f"{printable(str(self.path))}: {printable(path)}: {what}. Get the export again; nothing of it was inserted"
        )


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")
