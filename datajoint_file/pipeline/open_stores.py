"""Bound on open stores: few projects keep theirs, and those that were used least recently let go of them.

How they are opened and closed is told in `stores`; which pipelines there are is known to `lookup`.
"""

from __future__ import annotations

import itertools
import weakref
from typing import Protocol

MOST_OPEN = 8
"""So many keep their stores open. One of a bucket costs some 13 MiB and five connections."""

clock = itertools.count(1)
"""Tells which of two uses was later."""


class Opener(Protocol):
    """Who has stores open."""

    last_used: int

    @property
    def is_open(self) -> bool:
        """Whether there are some."""
        ...

    def close(self) -> None:
        """Let go of them."""
        ...


_opened: dict[weakref.ref[Opener], None] = {}


def note_opened(opener: Opener) -> None:
    """Take note of who has opened a store, and close the others that are too many.

    No lock, which a fork could copy locked: each step is a single one of a dictionary.
    """
    _opened[weakref.ref(opener)] = None
    known = {reference: reference() for reference in list(_opened)}
    for reference, one in known.items():
        if one is None:
            _opened.pop(reference, None)
    still_open = [one for one in known.values() if one is not None and one.is_open]
    for old in sorted(still_open, key=lambda one: one.last_used)[:-MOST_OPEN]:
        old.close()
