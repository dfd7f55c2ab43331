"""Linked files as values: written beside the objects of a project by somebody else, who keeps them for ever.

No code of the package. Whatever became of the rows that named them, they must be there, with their bytes.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

PLACE = "incoming"
"""The directory of the project that they are in."""

_NAMES = ("run1.dat", ".hidden", "objects.dat", "manifest", "tmp")
"""What they are called in turn: like what is stored or removed, as far as a name goes."""


class Linked(bytes):
    """A payload that is inserted as a link."""


@dataclass
class Originals:
    """The files of one project that were linked since it was cleared; *place* is the world's."""

    place: Any
    written: dict[str, bytes] = field(default_factory=dict)

    def add(self, content: bytes) -> str:
        """Write a file and return its address."""
        below = f"{PLACE}/{secrets.token_hex(8)}/{_NAMES[len(self.written) % len(_NAMES)]}"
        key = f"{self.place.project}/{below}"
        self.place.objects.put(key, bytes(content))
        self.written[key] = bytes(content)
        storage = self.place.storage
        return f"{storage['path']}/{below}" if "path" in storage else f"s3://{storage['bucket']}/{key}"

    def lost(self) -> Iterator[str]:
        """Give what was touched."""
        for key, content in self.written.items():
            if self.place.objects.get(key) != content:
                yield f"{key}, which was linked, is gone or has other bytes"


def is_original(key: str) -> bool:
    """Tell whether a key of a store is that of such a file."""
    return key.split("/")[1:2] == [PLACE]
