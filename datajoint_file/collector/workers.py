"""Worker tasks of the collector: look whether objects are there, and delete what is condemned.

They decide nothing: which objects, and that nothing refers to them, was settled before, and is noted by who asked.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime

from datajoint_file.collector.evidence import NOTHING, Amount, batches
from datajoint_file.concurrency.executors import delegated, runs_here
from datajoint_file.concurrency.threads import Stop
from datajoint_file.errors import DataJointFileError, ObjectNotFoundError
from datajoint_file.model.key_parsing import is_candidate
from datajoint_file.pipeline.address import PipelineAddress
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.storage.backend import StorageBackend

LOOKED_AT = 50
"""Objects of one order to look for."""

DELETED = 20
"""Objects of one order to delete."""


@dataclass(frozen=True)
class Helpers:
    """The workers of an executor, on the collector's behalf.

    Parameters
    ----------
    executor : concurrent.futures.Executor
        Whose workers.
    address : PipelineAddress
        The project; its marks are compared by each worker before it does anything.
    """

    executor: Executor
    address: PipelineAddress

    @property
    def may_help_under_lock(self) -> bool:
        """Whether what they do is over when the collector is: a lock that is gone would not protect from them else."""
        return runs_here(self.executor)

    @property
    def may_delete(self) -> bool:
        """Whether a worker can be sure that its store is the one that is meant."""
        return self.may_help_under_lock or bool(self.address.marks)

    def look(self, keys: Iterable[str]) -> Generator[tuple[str, Found | None], None, None]:
        """Ask for objects, and give each key, in order, with what there is; None for nothing.

        Raises
        ------
        StorageError, ConfigurationError, WorkerError
            If one could not be asked for.
        """
        stop = Stop()
        orders = (Look(self.address, tuple(some), stop) for some in batches(keys, LOOKED_AT))
        for order, outcome in delegated(self.executor, look, orders, in_order=True, stop=stop):
            yield from zip(order.keys, outcome.result(), strict=True)

    def delete(self, keys: Sequence[str], *, with_remains: bool) -> Generator[Deleted, None, None]:
        """Delete objects, and give what became of each, as it is known. A worker's failure is that of its objects."""
        stop = Stop()
        orders = (Deletion(self.address, tuple(some), with_remains, stop) for some in batches(keys, DELETED))
        for order, outcome in delegated(self.executor, delete, orders, stop=stop):
            try:
                yield from outcome.result()
            except DataJointFileError as error:
                yield from (Deleted(key, str(error)) for key in order.keys)


@dataclass(frozen=True, slots=True)
class Found:
    """An object that is there.

    Parameters
    ----------
    modified : datetime or None
        Since when, by the store's clock, if it says so.
    """

    modified: datetime | None


@dataclass(frozen=True, slots=True)
class Look:
    """An order: say which of these objects are there."""

    address: PipelineAddress
    keys: tuple[str, ...]
    stop: Stop


def look(order: Look) -> list[Found | None]:
    """Ask the store for each object of an order. It all fails if one cannot be asked for."""
    backend = order.address.same_store().backend
    return [look_for(backend, key) for key in order.keys if not order.stop.is_set()]


def look_for(backend: StorageBackend, key: str) -> Found | None:
    """Ask for one object."""
    try:
        return Found(backend.stat(key).modified)
    except ObjectNotFoundError:
        return None


@dataclass(frozen=True, slots=True)
class Deletion:
    """An order: delete these objects, and what unfinished uploads of them have left if *with_remains*."""

    address: PipelineAddress
    keys: tuple[str, ...]
    with_remains: bool
    stop: Stop


@dataclass(frozen=True, slots=True)
class Deleted:
    """What became of one object.

    Parameters
    ----------
    key : str
        The object.
    problem : str
        Why it is not gone; empty if it is.
    discarded : Amount
        Remains of uploads that were removed.
    """

    key: str
    problem: str = ""
    discarded: Amount = NOTHING


def delete(order: Deletion) -> list[Deleted]:
    """Delete the objects of an order by their exact keys."""
    pipeline = order.address.same_store()
    return [_deleted(pipeline, key, with_remains=order.with_remains) for key in order.keys if not order.stop.is_set()]


def _deleted(pipeline: Pipeline, key: str, *, with_remains: bool) -> Deleted:
    if not is_candidate(pipeline.project, key):
        return Deleted(key, "it is not the key of an object that an insert has made")
    discarded = NOTHING
    try:
        if with_remains:
            discarded = discard_remains(pipeline.backend, key)
        pipeline.backend.delete(key)
    except DataJointFileError as error:  # also that its directory leads out of the project
        return Deleted(key, str(error), discarded)
    return Deleted(key, "", discarded)


def discard_remains(backend: StorageBackend, key: str) -> Amount:
    """Remove what unfinished uploads of one object have left."""
    discarded = NOTHING
    for upload in backend.unfinished(key):
        if upload.may_become(key):
            backend.discard(upload)
            discarded = discarded.plus(upload.size or 0)
    return discarded
