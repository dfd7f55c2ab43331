"""Layout of the cache's directory: where an entry, its record, its lock and what is on its way lie.

An entry is ``{aa}/{digest}/{name}``, its record ``{aa}/{digest}.json``. What they are for, `entries` and `space` say.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

_SHELF = re.compile(r"[0-9a-f]{2}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_ENTRY = re.compile(r"([0-9a-f]{64})(?:\.json)?")
_PARTIAL = re.compile(r"\.([0-9a-f]{64})-([0-9]{1,19})-[0-9a-f]{16}\.partial")

_LOCK_CHARACTERS = 3
"""Of a digest: entries that begin alike are brought one after the other, and there are no more lock files than that."""

_TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# Files of datajoint-file. See https://bford.info/cachedir/\n"
"""By which programs for backups know what they need not keep, and this one that a directory is its own."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one entry is, whether it is there or not; *directory* is the cache's."""

    directory: str
    digest: str

    @property
    def shelf(self) -> str:
        """The directory of all entries whose digests begin alike."""
        return f"{self.directory}/{self.digest[:2]}"

    @property
    def home(self) -> str:
        """The directory that has it, under each of its names."""
        return f"{self.directory}/{self.digest[:2]}/{self.digest}"

    @property
    def record(self) -> str:
        """What was noted of it, which is locked by who has a lease."""
        return f"{self.directory}/{self.digest[:2]}/{self.digest}.json"

    @property
    def lock(self) -> str:
        """The lock that whoever brings or removes it holds, and others that begin alike."""
        return f"{self.directory}/locks/{self.digest[:_LOCK_CHARACTERS]}"

    def path(self, name: str) -> str:
        """Return where it is under one of its names."""
        return f"{self.directory}/{self.digest[:2]}/{self.digest}/{name}"

    def aside(self, size: int) -> str:
        """Return a new path for what is on its way, of so many bytes: into the cache or out of it."""
        return f"{self.shelf}/.{self.digest}-{size}-{secrets.token_hex(8)}.partial"


class Partial(NamedTuple):
    """What is on its way, or was left there."""

    path: str
    place: Place
    size: int


def place_of(directory: str, path: str) -> tuple[Place, str] | None:
    """Return which entry has this path, and its name; None if none has."""
    _, digest, name = f"//{path}".rsplit("/", 2)
    place = Place(directory, digest)
    return (place, name) if _DIGEST.fullmatch(digest) and name and place.path(name) == path else None


def shelves(directory: str) -> Iterator[tuple[set[Place], list[Partial]]]:
    """Give, of each shelf, the places of which there is an entry or a record, and what is on its way."""
    with suppress(FileNotFoundError), os.scandir(directory) as found:
        for shelf in found:
            if _SHELF.fullmatch(shelf.name) and shelf.is_dir(follow_symlinks=False):
                names = os.listdir(shelf.path)
                places = {Place(directory, match[1]) for match in map(_ENTRY.fullmatch, names) if match}
                coming = [match for match in map(_PARTIAL.fullmatch, names) if match]
                yield (
                    {place for place in places if place.shelf == shelf.path},
                    [Partial(f"{shelf.path}/{one[0]}", Place(directory, one[1]), int(one[2])) for one in coming],
                )


def is_ours(directory: str) -> bool:
    """Tell whether a directory is a cache of this package, by its tag."""
    try:
        with open(f"{directory}/CACHEDIR.TAG", encoding="ascii") as file:
            return file.read() == _TAG
    except (OSError, ValueError):
        return False


def make_tag(directory: str) -> None:
    """Make a directory a cache, unless somebody is just doing so."""
    with suppress(FileExistsError), open(f"{directory}/CACHEDIR.TAG", "x", encoding="ascii") as file:
        file.write(_TAG)
