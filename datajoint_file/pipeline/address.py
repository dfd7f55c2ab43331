"""`PipelineAddress`: how a worker in another process finds a pipeline.

A name travels, and never a setting or a secret: a worker reads its own configuration, as a `FileRef` does that has come
there. What is done with the pipeline is not decided here.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path

from datajoint_file.config.bindings import Attached
from datajoint_file.errors import ConfigurationError, ConfigurationNotFoundError
from datajoint_file.pipeline.lookup import pipeline_named
from datajoint_file.pipeline.pipeline import Pipeline


@dataclass(frozen=True)
class PipelineAddress:
    """Where to find a pipeline, from any process.

    The marks are keys of some that were in its store. A worker whose store has none of them, nor newer ones of the same
    schemas, has been configured for another store; without any, nothing is compared.
    """

    name: str  # the path of a ``datajoint.toml``, or one given to ``configure``
    project: str
    marks: tuple[str, ...] = ()
    here: Pipeline | None = field(default=None, repr=False, compare=False)  # where it was made; it does not travel

    def __reduce__(self) -> tuple[type[PipelineAddress], tuple[str, str, tuple[str, ...]]]:
        return PipelineAddress, (self.name, self.project, self.marks)

    def pipeline(self) -> Pipeline:
        """Return the pipeline as this process is configured.

        Raises
        ------
        ConfigurationError
            If this process has no configuration of it, or one of another project.
        """
        if self.here is not None:
            return self.here
        try:
            found = pipeline_named(self.name, self.project)
        except ConfigurationNotFoundError as error:
            raise ConfigurationNotFoundError(f"{worker_name()}: {error}. {self._advice}") from error
        except ConfigurationError as error:
            raise error.within(worker_name()) from error
        if found.project != self.project:
            raise ConfigurationError(
                f"{worker_name()}: its datajoint.toml is that of the project {found.project!r}, and the work is about "
                f"{self.project!r}: point DATAJOINT_TOML to that project's"
            )
        return found

    def same_store(self) -> Pipeline:
        """Return the pipeline, having made sure that its store is the one that is meant.

        One listing of the marks, the first time in a process.

        Raises
        ------
        ConfigurationError
            If it is another one.
        StorageError
            If the store cannot be asked.
        """
        found = self.pipeline()
        if self.here is None and self.marks and not _has_marks(found, self.marks):
            raise ConfigurationError(
                f"{worker_name()}: its store ({found.settings.storage.location}) is not the one of the project "
                f"{self.project!r} that the work is about, for the marks of its schemas are not there. Is the same "
                "disk mounted, and does its datajoint.toml name the same bucket? Nothing was done there"
            )
        return found

    @property
    def _advice(self) -> str:
        if Path(self.name).is_absolute():
            return "Workers read the file of that path, or their own: put it there, or set DATAJOINT_TOML for them"
        return (
            "The pipeline was configured from a dictionary, which no other process can read. Write it to a "
            "datajoint.toml and give datajoint_file.configure its path; or use threads; or call "
            "datajoint_file.configure(…) in each worker first (initializer= of ProcessPoolExecutor, client.run of Dask)"
        )


def worker_name() -> str:
    """Say which process this is, on which host."""
    return f"worker {os.getpid()} on {socket.gethostname()}"


_proven: Attached[set[tuple[str, ...]]] = Attached(lambda _: set())
"""Of each pipeline the marks for which its store was found to be the right one."""

_ATTEMPTS = 3
"""A newer mark takes an older one's place: a listing at that moment can have neither."""


def _has_marks(pipeline: Pipeline, marks: tuple[str, ...]) -> bool:
    """Tell whether the store of *pipeline* has one of *marks* or its successor; only that it has is remembered."""
    proven, directory = _proven.of(pipeline), marks[0].rpartition("/")[0]
    for _ in range(_ATTEMPTS if marks not in proven else 0):
        found = [stat.key for stat in pipeline.backend.list(directory)]
        if any(_succeeds(key, mark) for key in found for mark in marks):
            proven.add(marks)
            break
    return marks in proven


def _succeeds(key: str, mark: str) -> bool:
    """Tell whether *key* is *mark*, or one of a later epoch of the same schema: marks are replaced as time goes on."""
    (who, epoch), (found, later) = _named(mark), _named(key)
    return key == mark or (found == who and later > epoch)


def _named(mark: str) -> tuple[str, str]:
    """Return whose mark a key is, and of which epoch, as a text that sorts like the number."""
    who, _, rest = mark.rpartition("/")[2].partition("-")
    return who, rest.partition("-")[0]
