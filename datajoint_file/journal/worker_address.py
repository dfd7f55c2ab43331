"""Address of a connection's pipeline for workers: its name, and marks that prove its store.

What a worker makes of it is the business of `datajoint_file.pipeline.address`.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from datajoint_file.errors import StorageError
from datajoint_file.hooks.connections import name_of
from datajoint_file.journal.store_marks import MarkStore
from datajoint_file.pipeline.address import PipelineAddress
from datajoint_file.pipeline.pipeline import Pipeline

_MARKS = 20
"""Marks to show a worker. One is enough; others remain when one schema is dropped meanwhile."""


def address_of(pipeline: Pipeline, connection: Any) -> PipelineAddress:
    """Return the address of *pipeline*, which *connection* uses. One listing of the marks.

    Where they cannot be listed (a right that is missing, a store that does not answer), the address has none, and
    workers compare nothing.
    """
    marks: tuple[str, ...] = ()
    with suppress(StorageError):
        marks = tuple(mark.key for mark in MarkStore(pipeline.backend, pipeline.project).names()[-_MARKS:])
    return PipelineAddress(name_of(connection._config), pipeline.project, marks, pipeline)
