"""Marks: small objects in a project's store that say which schemas of which databases use it.

They are what tells a collector that it does not see all references: on a cloned database, after a dump was restored,
or where another server writes to the same project. What follows from them is decided in `preflight`.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from base64 import b32encode
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from datajoint_file.errors import MetadataError, ObjectNotFoundError, StorageError, brief
from datajoint_file.model.object_keys import REGISTRY
from datajoint_file.pipeline.mirror_note import MIRROR_OF
from datajoint_file.storage.backend import ContentHeaders, StorageBackend

FORMAT = 1
"""The newest form of a mark that this version understands."""

PLACES = "Give each project a place of its own: path, or bucket and prefix, in [storage] of datajoint.toml"

INSIDE = "another project has its objects inside this one's, in {inner}/: they would be taken for unknown"

NESTED = (
    "the project {project!r} lies inside another one, whose marks are in {outer}: rows there name its objects "
    "otherwise, and a collector there takes these files for unused"
)

_OF_MIRROR = (
    "Use the datajoint.toml whose [storage] that is. Only if that store is lost, and this one is to be the project's: "
    "take_over=True (--take-over)"
)

_HEADERS = ContentHeaders("application/json")

_MAX_BYTES = 64 * 1024
_ATTEMPTS = 5
_PLACE = ("server", "database", "host", "port", "directory")
_TEXTS = (*_PLACE, "project", "schema", "schema_id", "token", "written")
_NAME = re.compile(
    r"(?P<project>[a-z2-7]{8})(?P<rest>[a-z2-7]{18})-(?P<epoch>\d{10})-(?P<token>[0-9a-f]{0,32})(?P<dropped>-dropped)?\.json"
)


@dataclass(frozen=True, slots=True)
class Identity:
    """Which database a connection talks to: what outlives restarts, and what every user of it is told alike."""

    server: str  # what the server calls itself: kind and unique id, which a copy of its files has too
    database: str = ""  # within the server; empty for MySQL, which has one namespace
    host: str = ""  # the rest is what a copy changes; empty where the server does not tell everybody
    port: str = ""
    directory: str = ""  # of its data

    def __str__(self) -> str:
        told = ("database", self.database), ("host", self.host), ("port", self.port), ("directory", self.directory)
        return ", ".join([self.server, *(f"{name} {value}" for name, value in told if value)])

    def differences(self, other: Identity) -> str:
        """Say in words how *other* differs from this one, where both are told.

        Examples
        --------
        >>> Identity("mysql a", host="lab1", port="3306").differences(Identity("mysql a", host="lab2", port="3306"))
        'host lab2, not lab1'
        """
        pairs = [(name, getattr(self, name), getattr(other, name)) for name in _PLACE]
        return "; ".join(f"{name} {theirs}, not {ours}" for name, ours, theirs in pairs if ours != theirs)


@dataclass(frozen=True, slots=True)
class Registration:
    """One schema of one database that uses the project."""

    identity: Identity
    project: str  # with whose name the paths in its rows begin
    schema: str
    schema_id: str  # random, made with the schema's registry table; empty where that table could not be made

    @property
    def digest(self) -> str:
        """26 characters that stand for it in names of marks, the first eight of them for the project."""
        identity = self.identity
        parts = [getattr(identity, name) for name in _PLACE]
        return _digest(self.project)[:8] + _digest(*parts, self.project, self.schema, self.schema_id)[:18]


@dataclass(frozen=True, slots=True)
class Mark:
    """One mark: that a schema uses the project, as of an epoch."""

    registration: Registration
    epoch: int  # counts the marks of a registration; a database restored from a dump knows only old ones
    token: str  # random, for each epoch; the database has it too, so that one history is told from another
    written: str  # by the database's clock: ISO 8601, UTC
    is_dropped: bool = False  # the schema was dropped in this epoch, through DataJoint: no row of it is left

    @property
    def name(self) -> str:
        """The name of the mark's object: no two marks share one."""
        ending = "-dropped" if self.is_dropped else ""
        return f"{self.registration.digest}-{self.epoch:010d}-{self.token}{ending}.json"

    def to_json(self) -> dict[str, Any]:
        """Return the mark's content. It holds no secret."""
        registration = self.registration
        return {
            "format": FORMAT,
            **asdict(registration.identity),
            "project": registration.project,
            "schema": registration.schema,
            "schema_id": registration.schema_id,
            "epoch": self.epoch,
            "token": self.token,
            "written": self.written,
            "dropped": self.is_dropped,
        }

    @classmethod
    def from_json(cls, text: bytes, name: str) -> Mark:
        """Read a mark, which may have been written by anyone.

        Raises
        ------
        MetadataError
            If it is not what its name says, or is of a newer format.
        """
        row = _parsed(text)
        if is_newer(row):
            raise MetadataError(f"its format is {brief(row['format'])}, newer than format {FORMAT} of this version")
        if MIRROR_OF in row:
            raise MetadataError(f"it says that this place is the mirror of {brief(row[MIRROR_OF], 200)}")
        if row.get("format") != FORMAT:
            raise MetadataError(f"its format is {brief(row.get('format'))}")
        texts = {field: _text(row, field) for field in _TEXTS}
        epoch = row.get("epoch")
        if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 0:
            raise MetadataError(f"its epoch is {brief(epoch)}")
        identity = Identity(*(texts[name] for name in _PLACE))
        registration = Registration(identity, texts["project"], texts["schema"], texts["schema_id"])
        mark = cls(registration, epoch, texts["token"], texts["written"], row.get("dropped") is True)
        if mark.name != name:
            raise MetadataError("its content is not what its name says: it was changed")
        return mark


@dataclass(frozen=True, slots=True)
class BadMark:
    """Something among the marks that is none."""

    key: str
    problem: str
    is_newer: bool = False  # it seems to be of a newer version of this package
    way_on: str = ""  # if there is another than to find out


@dataclass(frozen=True, slots=True)
class MarkName:
    """What the name of a mark tells without reading it."""

    key: str
    registration: str  # its digest
    epoch: int
    token: str
    is_dropped: bool = False

    def is_of(self, project: str) -> bool:
        """Tell whether the mark is of *project*: rows of another name their objects otherwise."""
        return self.registration[:8] == _digest(project)[:8]


def _digest(*parts: str) -> str:
    return b32encode(hashlib.sha256(json.dumps(parts).encode()).digest()).decode().lower()


def is_newer(row: dict[str, Any]) -> bool:
    """Tell whether *row* says that a newer version of this package has written it."""
    version = row.get("format")
    return isinstance(version, int) and not isinstance(version, bool) and version > FORMAT


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MetadataError(f"it is no JSON ({error})") from error
    if not isinstance(row, dict):
        raise MetadataError("it is no JSON object")
    return row


def _text(row: dict[str, Any], field: str) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not value.isprintable() or len(value) > 1024:
        raise MetadataError(f"its {field} is {brief(value)}")
    return value


class MarkStore:
    """The marks of one project."""

    def __init__(self, backend: StorageBackend, project: str) -> None:
        self._backend = backend
        self.project = project
        self._prefix = f"{project}/{REGISTRY}"

    @property
    def place(self) -> str:
        """Where the project is, for messages."""
        return self._backend.url(f"{self._prefix}/any").rpartition(f"/{REGISTRY}")[0]

    def above(self) -> str:
        """Return a place around the project's that has marks of its own; empty if none is seen."""
        return self._backend.above(REGISTRY)

    def inside(self, among: int) -> str:
        """Return a place inside the project's that has marks of its own; empty if none is *among* so many objects."""
        for found in islice(self._backend.list(self.project), among):
            inner, is_mark, _ = found.key.partition(f"/{REGISTRY}/")
            if is_mark and inner != self.project:
                return inner
        return ""

    def project_of(self, name: MarkName) -> str:
        """Return the project of a mark, as its content tells; empty if that cannot be trusted, or is gone."""
        found = self._read(name.key)
        return found.registration.project if isinstance(found, Mark) else ""

    def names(self) -> list[MarkName]:
        """List the marks by name. One request for up to a thousand of them."""
        return [name for name in map(_name_of, self._keys()) if name is not None]

    def read(self) -> tuple[list[Mark], list[BadMark]]:
        """Read the marks, and tell what else there is.

        Raises
        ------
        StorageError
            If the store cannot be read, or marks keep vanishing while they are.
        """
        for _ in range(_ATTEMPTS):
            found = [self._read(key) for key in self._keys()]
            if None not in found:  # else a newer one took its place since the listing, which may not have it
                marks = [mark for mark in found if isinstance(mark, Mark)]
                return marks, [bad for bad in found if isinstance(bad, BadMark)]
        raise StorageError(f"{self._prefix}: marks vanish while they are read; try again")

    def key_of(self, mark: Mark) -> str:
        """Return the object key of a mark."""
        return f"{self._prefix}/{mark.name}"

    def write(self, mark: Mark) -> None:
        """Write a mark."""
        content = json.dumps(mark.to_json(), indent=1).encode()
        self._backend.upload(self.key_of(mark), io.BytesIO(content), len(content), _HEADERS)

    def copy(self, key: str, other: MarkStore) -> None:
        """Write a mark that this place has in the *other*, as it is."""
        content = self._content(key)
        other._backend.upload(key, io.BytesIO(content), len(content), _HEADERS)

    def remove(self, key: str) -> None:
        """Remove a mark; nothing else is removed through this.

        Raises
        ------
        ValueError
            If *key* is not below the registry.
        """
        if not key.startswith(f"{self._prefix}/"):
            raise ValueError(f"{key} is not the key of a mark")
        self._backend.delete(key)

    def _keys(self) -> Iterator[str]:
        for found in self._backend.list(self._prefix):
            yield found.key

    def _content(self, key: str) -> bytes:
        with self._backend.open(key) as file:
            return file.read(_MAX_BYTES)

    def _read(self, key: str) -> Mark | BadMark | None:
        try:
            text = self._content(key)
        except ObjectNotFoundError:
            return None
        try:
            return Mark.from_json(text, key.rpartition("/")[2])
        except MetadataError as error:
            row = _row(text)
            return BadMark(key, str(error), is_newer(row), _OF_MIRROR if MIRROR_OF in row else "")


def _row(text: bytes) -> dict[str, Any]:
    try:
        return _parsed(text)
    except MetadataError:
        return {}


def _name_of(key: str) -> MarkName | None:
    match = _NAME.fullmatch(key.rpartition("/")[2])
    if match is None:
        return None
    return MarkName(
        key, match["project"] + match["rest"], int(match["epoch"]), match["token"], match["dropped"] is not None
    )
