"""Bounded memo of what this process has stored: of which bytes each object was made, and how to tell that it still is.

An object that is not known here is read back before a row is made of it; who asks is `adoption`.
"""

from __future__ import annotations

from collections import deque

from datajoint_file.model.metadata import FileMetadata
from datajoint_file.storage.backend import ObjectStat, Receipt

MOST = 10_000
"""So many are remembered, some 5 MB of them: more than one statement notes down at a time."""


class Receipts:
    """What stores have said of the objects that they were given. No lock: a fork may copy a locked one."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[bytes, Receipt]] = {}
        self._order: deque[str] = deque()

    def keep(self, stored: FileMetadata, receipt: Receipt) -> None:
        """Remember what was stored; the backend writes into *receipt* when the object is there."""
        self._known[stored.path] = _digest(stored), receipt
        self._order.append(stored.path)
        if len(self._order) > MOST:
            self._known.pop(self._order.popleft(), None)

    def tag_of(self, key: str) -> str:
        """Return what the store has said of an object that was stored not long ago; nothing, of any other."""
        return self._known.get(key, (b"", Receipt()))[1].tag

    def prove(self, claimed: FileMetadata, found: ObjectStat) -> bool:
        """Tell whether the object was made of these bytes, here, and is *found* as it was then."""
        digest, receipt = self._known.get(claimed.path, (b"", Receipt()))
        return digest == _digest(claimed) and bool(receipt.tag) and receipt.tag == found.tag


def _digest(stored: FileMetadata) -> bytes:
    return bytes.fromhex(stored.hash.partition(":")[2])
