"""Bound on open stores: few pipelines keep theirs, and those that were used least recently let go of them.

A pipeline opens and closes its stores by itself; which pipelines there are is known to `lookup`.
"""

from __future__ import annotations

import itertools
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datajoint_file.pipeline.pipeline import Pipeline

MOST_OPEN = 8
"""So many keep their stores open. One of a bucket costs some 13 MiB and five connections."""

clock = itertools.count(1)
"""Tells which of two uses was later."""


_opened: dict[weakref.ref[Pipeline], None] = {}


def note_opened(opener: Pipeline) -> None:
    """Take note of who has opened a store, and close the others that are too many.

    No lock, which a fork could copy locked: each step is a single one of a dictionary.
    """
    _opened[weakref.ref(opener)] = None
    known = {reference: reference() for reference in list(_opened)}
    for reference, pipeline in known.items():
        if pipeline is None:
            _opened.pop(reference, None)
    still_open = [pipeline for pipeline in known.values() if pipeline is not None and pipeline.is_open]
    for old in sorted(still_open, key=lambda pipeline: pipeline.last_used)[:-MOST_OPEN]:
        old.close()
