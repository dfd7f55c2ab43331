"""Packing of a slice: the tree beside its target until it is whole, and what makes it a bag (RFC 8493) or an RO-Crate.

Checksums are those that the copying has found; nothing is read again. What is noted of each file is on the disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, get_args
from urllib.parse import quote

from datajoint_file.errors import DestinationError, DestinationExistsError, brief, printable
from datajoint_file.exchange.layout import MANIFEST
from datajoint_file.model.metadata import format_timestamp

SliceFormat = Literal["bagit", "ro-crate"]
FORMATS: tuple[SliceFormat, ...] = get_args(SliceFormat)


def check_format(format_: str) -> SliceFormat:
    """Return *format_* if there is such a one, else raise `ValueError`."""
    if format_ not in FORMATS:
        raise ValueError(f"format = {brief(format_)}: allowed are {', '.join(map(repr, FORMATS))}")
    return format_


@dataclass(frozen=True, slots=True)
class Payload:
    """One file of the tree."""

    path: str
    size: int
    sha256: str
    name: str = ""  # what it was called
    media_type: str = ""


class Packing:
    """A tree that is written beside its target, which it becomes by one renaming. A block that raises leaves none.

    Parameters
    ----------
    target : Path
        Where it is to be: nothing, or an empty directory.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.files = self.bytes = 0

    def __enter__(self) -> Packing:
        _require_free(self.target)
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            made = tempfile.mkdtemp(prefix=f".{self.target.name[:100]}.", suffix=".partial", dir=self.target.parent)
        except OSError as error:
            raise DestinationError(f"{printable(str(self.target))} cannot be made: {error.strerror}") from error
        self.root = Path(made)
        self._notes = tempfile.TemporaryFile("w+", encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._notes.close()
        if self.root.exists():
            shutil.rmtree(self.root, ignore_errors=True)

    def path(self, place: str) -> Path:
        """Return where in the tree that is being written something is."""
        return self.root / place

    def add(self, payload: Payload) -> None:
        """Note a file that is in its place."""
        self.files, self.bytes = self.files + 1, self.bytes + payload.size
        fields = [payload.path, payload.size, payload.sha256, payload.name, payload.media_type]
        self._notes.write(f"{json.dumps(fields)}\n")

    def write(self, place: str, chunks: Iterable[bytes], media_type: str = "") -> Payload:
        """Write a file of our own, and note it."""
        found = _written(self.path(place), chunks)
        payload = Payload(place, found[0], found[1], "", media_type)
        self.add(payload)
        return payload

    def finish(self, format_: SliceFormat, software: str, title: str) -> None:
        """Write what the format asks for, and give the tree its name.

        Raises
        ------
        DestinationExistsError
            If something has come to be at the target.
        """
        made = {MANIFEST: _written(self.path(MANIFEST), self._manifest_lines())[1]}
        if format_ == "bagit":
            now = datetime.now(timezone.utc).date().isoformat()
            lines = f"Bag-Software-Agent: {software}\nBagging-Date: {now}\nPayload-Oxum: {self.bytes}.{self.files}\n"
            texts = {
                "bagit.txt": "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n",
                "bag-info.txt": f"{lines}External-Description: {title}\n",
            }
            made |= {name: _written(self.path(name), [text.encode()])[1] for name, text in texts.items()}
            tags = "".join(f"{digest}  {name}\n" for name, digest in sorted(made.items()))
            _written(self.path("tagmanifest-sha256.txt"), [tags.encode()])
        else:
            _written(self.path("ro-crate-metadata.json"), self._crate(software, title))
        _require_free(self.target)
        try:
            os.replace(self.root, self.target)  # noqa: PTH105 - of a directory, onto an empty one at most
        except OSError as error:
            raise DestinationExistsError(
                f"{printable(str(self.target))}: {error.strerror}; it was left as it is"
            ) from error

    def _noted(self) -> Iterator[Payload]:
        self._notes.seek(0)
        return (Payload(*json.loads(line)) for line in self._notes)

    def _manifest_lines(self) -> Iterator[bytes]:
        return (f"{one.sha256}  {one.path}\n".encode() for one in self._noted())

    def _crate(self, software: str, title: str) -> Iterator[bytes]:
        """Give the text of the metadata: the root's list of parts, then an entity for each."""
        now = format_timestamp(datetime.now(timezone.utc))
        context = ["https://w3id.org/ro/crate/1.1/context", {"sha256": "https://schema.org/sha256"}]
        yield f'{{"@context": {json.dumps(context)}, "@graph": [\n'.encode()
        for about in _frame(software):
            yield f"{json.dumps(about)},\n".encode()
        root = {"@id": "./", "@type": "Dataset", "name": title, "description": title, "datePublished": now}
        yield f'{json.dumps(root)[:-1]}, "creator": {{"@id": "#software"}}, "hasPart": ['.encode()
        for number, one in enumerate(self._noted()):
            yield f"{', ' if number else ''}{json.dumps({'@id': _id(one.path)})}".encode()
        yield b"]}"
        for one in self._noted():
            entity: dict[str, Any] = {"@id": _id(one.path), "@type": "File", "contentSize": str(one.size)}
            entity |= {"sha256": one.sha256, "name": one.name or one.path}
            entity |= {"encodingFormat": one.media_type} if one.media_type else {}
            yield f",\n{json.dumps(entity)}".encode()
        yield b"\n]}\n"


def _frame(software: str) -> list[dict[str, Any]]:
    about = {"@id": "ro-crate-metadata.json", "@type": "CreativeWork", "about": {"@id": "./"}}
    return [
        about | {"conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"}},
        {"@id": "#software", "@type": "SoftwareApplication", "name": software},
    ]


def _id(path: str) -> str:
    return quote(path, safe="/=~")


def _written(path: Path, chunks: Iterable[bytes]) -> tuple[int, str]:
    """Write a file, flushed to the disk, and return its size and SHA-256."""
    digest, size = hashlib.sha256(), 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            for chunk in chunks:
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise DestinationError(f"{printable(str(path))} cannot be written: {error.strerror or error}") from error
    return size, digest.hexdigest()


def _require_free(target: Path) -> None:
    """Raise unless nothing is at *target*, or an empty directory."""
    try:
        is_free = not os.path.lexists(target) or (
            target.is_dir() and not target.is_symlink() and not any(target.iterdir())
        )
    except OSError as error:
        raise DestinationError(f"{printable(str(target))} cannot be looked at: {error.strerror}") from error
    if not is_free:
        raise DestinationExistsError(
            f"{printable(str(target))} is there already, and was left as it is: give a new directory, or an empty one"
        )
