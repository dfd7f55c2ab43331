"""Copies of a project's marks in its other place: should that be the only one some day, it knows whose it is."""

from __future__ import annotations

from contextlib import suppress

from datajoint_file.errors import ObjectExistsError, ObjectNotFoundError
from datajoint_file.journal.store_marks import MarkStore
from datajoint_file.pipeline.pipeline import Pipeline


def copy_marks(first: Pipeline, second: Pipeline) -> None:
    """Give *second* the marks that *first* has; of one schema older ones go, for they have a newer one beside them."""
    ours, theirs = (MarkStore(side.backend, side.project) for side in (first, second))
    old = theirs.names()
    there, newest = {mark.key for mark in old}, dict[str, int]()
    for mark in ours.names():
        if mark.key not in there:
            with suppress(ObjectNotFoundError, ObjectExistsError):  # a newer one has taken its place meanwhile
                ours.copy(mark.key, theirs)
        newest[mark.registration] = max(mark.epoch, newest.get(mark.registration, -1))
    for mark in old:
        if mark.epoch < newest.get(mark.registration, -1):
            theirs.remove(mark.key)
