"""Copies of a project's marks in its other place: should that be the only one some day, it knows whose it is."""

from __future__ import annotations

import io
from contextlib import suppress

from datajoint_file.errors import ObjectExistsError, ObjectNotFoundError
from datajoint_file.journal.store_marks import MarkStore
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.storage.backend import ContentHeaders

_MAX_BYTES = 64 * 1024


def copy_marks(first: Pipeline, second: Pipeline) -> None:
    """Give *second* the marks that *first* has; of one schema older ones go, for they have a newer one beside them."""
    ours, theirs = (MarkStore(side.backend, side.project).names() for side in (first, second))
    there, newest = {mark.key for mark in theirs}, dict[str, int]()
    for mark in ours:
        if mark.key not in there:
            with suppress(ObjectNotFoundError, ObjectExistsError):  # a newer one has taken its place meanwhile
                content = bytes(first.backend.read(mark.key, 0, _MAX_BYTES))
                second.backend.upload(mark.key, io.BytesIO(content), len(content), ContentHeaders("application/json"))
        newest[mark.registration] = max(mark.epoch, newest.get(mark.registration, -1))
    for mark in theirs:
        if mark.epoch < newest.get(mark.registration, -1):
            MarkStore(second.backend, second.project).remove(mark.key)
