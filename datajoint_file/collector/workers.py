"""Worker tasks of the collector: look whether objects are there, and delete what is condemned.

They decide nothing: which objects, and that nothing refers to them, was settled before, and is noted by who asked.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from datajoint_file.collector.evidence import NOTHING, Amount
from datajoint_file.concurrency.executors import delegated, runs_here
from datajoint_file.concurrency.threads import Stop
from datajoint_file.errors import DataJointFileError, ObjectNotFoundError
from datajoint_file.journal.intent_table import batches
from datajoint_file.model.object_keys import is_candidate, is_directory, proof_key, sidecar_key, value_key
from datajoint_file.pipeline.address import PipelineAddress
from datajoint_file.storage.backend import ObjectStat, StorageBackend

LOOKED_AT = 50
"""Objects of one task to look for."""

DELETED = 20
"""Objects of one task to delete."""


@dataclass(frozen=True)
class Helpers:
    """The workers of an executor, on the collector's behalf."""

    executor: Executor
    address: PipelineAddress  # its marks are compared by each worker before it does anything

    @property
    def may_delete(self) -> bool:
        """Whether they may: threads of ours, or who can make sure, by marks, that the store is the one meant."""
        return runs_here(self.executor) or bool(self.address.marks)

    def look(self, keys: Iterable[str]) -> Generator[tuple[str, ObjectStat | None], None, None]:
        """Ask for objects, and give each key, in order, with what there is; None for nothing.

        Raises
        ------
        StorageError, ConfigurationError, WorkerError
            If one could not be asked for.
        """
        stop = Stop()
        tasks = (Task(self.address, tuple(some), stop) for some in batches(keys, LOOKED_AT))
        for task, outcome in delegated(self.executor, look, tasks, in_order=True, stop=stop):
            yield from zip(task.keys, outcome.result(), strict=True)

    def delete(self, keys: Sequence[str]) -> Generator[Deleted, None, None]:
        """Delete objects, and give what became of each, as it is known. A worker's failure is that of its objects."""
        stop = Stop()
        tasks = (Task(self.address, tuple(some), stop) for some in batches(keys, DELETED))
        for task, outcome in delegated(self.executor, delete, tasks, stop=stop):
            try:
                yield from outcome.result()
            except DataJointFileError as error:
                yield from (Deleted(key, str(error)) for key in task.keys)


@dataclass(frozen=True, slots=True)
class Task:
    """A task to a worker: look for these objects, or delete them."""

    address: PipelineAddress
    keys: tuple[str, ...]
    stop: Stop


def look(task: Task) -> list[ObjectStat | None]:
    """Ask the store for each object of a task. It all fails if one cannot be asked for."""
    backend = task.address.same_store().stores.both
    return [look_for(backend, key) for key in task.keys if not task.stop.is_set()]


def look_for(backend: StorageBackend, key: str) -> ObjectStat | None:
    """Ask for one object."""
    try:
        return backend.stat(proof_key(key))
    except ObjectNotFoundError:
        return None


@dataclass(frozen=True, slots=True)
class Deleted:
    """What became of one object."""

    key: str
    problem: str = ""  # why it is not gone; empty if it is
    discarded: Amount = NOTHING  # remains of uploads that were removed


def delete(task: Task) -> list[Deleted]:
    """Delete the objects of a task."""
    pipeline = task.address.same_store()
    return [delete_object(pipeline.stores.both, pipeline.project, key) for key in task.keys if not task.stop.is_set()]


def delete_object(backend: StorageBackend, project: str, key: str) -> Deleted:
    """Delete one object by its exact key, after what unfinished uploads of it have left.

    Of a directory the manifest, then all members: what is left, should this be cut short, is no directory any more.
    """
    if not is_candidate(project, key):
        return Deleted(key, "it is not the key of an object that an insert has made")
    discarded, home = NOTHING, key.rstrip("/").rpartition("/")[0]
    try:
        for upload in backend.unfinished(home if is_directory(key) else key):
            if upload.may_become(key):
                backend.discard(upload)
                discarded += Amount(1, upload.size or 0)
        backend.delete(proof_key(key))
        if is_directory(key):
            for member in backend.list(home):
                if value_key(member.key) in (key, proof_key(key)):
                    backend.delete(member.key)
        backend.delete(sidecar_key(key))
    except DataJointFileError as error:  # also that its directory leads out of the project
        return Deleted(key, str(error), discarded)
    return Deleted(key, "", discarded)
