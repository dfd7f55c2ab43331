"""Observer of reads: what a context wants to know of the files that are read in it.

Outside of such a context it costs the look-up of a context variable.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

from datajoint_file.model.metadata import FileMetadata

watcher: ContextVar[Callable[[FileMetadata], None] | None] = ContextVar("watcher", default=None)
"""What is told of each file that is going to be read."""


def note_read(metadata: FileMetadata) -> None:
    """Tell whoever watches that a file is going to be read."""
    told = watcher.get()
    if told is not None:
        told(metadata)
