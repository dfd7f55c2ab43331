"""What is tortured: our ``file`` attribute, or DataJoint's own ``<object@store>``, behind one face.

The same operations are run on both; how each stores, refers and collects is told here.
"""

from __future__ import annotations

import hashlib
import math
import pickle
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import datajoint.errors as dj_errors
from datajoint.gc import GarbageCollector

import datajoint_file
from datajoint_file import gc
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.journal import schema_registry
from datajoint_file.journal.second_connection import second_connection_of
from datajoint_file.pipeline.mirroring import require_mirror
from datajoint_file.testing.faults import Fault
from tests.torture.originals import Linked, Originals
from tests.torture.steps import Steps
from tests.torture.stores import NumberedBackend, watching_file, watching_object
from tests.torture.trees import Tree, is_directory

GRACE_SECONDS = 7 * 24 * 3600
"""The default grace period of the collector, here also the retention of what was removed from rows."""


class Subject(Protocol):
    """An attribute type for files.

    Attributes
    ----------
    name : str
        How it is called on the command line.
    attribute : str
        Its type in a definition.
    collects : bool
        Whether it has a collector.
    waits : bool
        Whether that waits out a grace period.
    journals : bool
        Whether it knows of bytes that are stored and not yet in a row.
    trees : Path
        Where directories that are inserted are made.
    """

    name: str
    attribute: str
    collects: bool
    waits: bool
    journals: bool
    trees: Path

    def watching(self, steps: Steps) -> AbstractContextManager[None]: ...
    def attach(self, instance: Any, storage: dict[str, Any], project: str) -> None: ...
    def value(self, name: str, content: bytes) -> Any: ...
    def staged(self, table: Any, key: dict[str, int], attribute: str, content: bytes) -> Any: ...
    def staged_insert(self, table: Any, key: dict[str, int], attribute: str, content: bytes) -> None: ...
    def object_key(self, value: Any, project: str) -> str: ...
    def describes(self, value: Any, content: bytes) -> bool: ...
    def collect(self, schemas: list[Any], connection: Any) -> Any: ...
    def can_replace(self, database: str) -> bool: ...
    def ending(self, error: Exception, *, writes_files: bool) -> Literal["refused", "unknown"]: ...
    def resolve(self, error: BaseException, connection: Any) -> str | None: ...
    def uploaded_bytes(self) -> int | None: ...
    def restarted(self, connection: Any) -> None: ...
    def settled(self, connection: Any, schemas: Iterable[str]) -> None: ...
    def failing(self, uploads: int) -> AbstractContextManager[None]: ...


@dataclass
class ObjectSubject:
    """DataJoint's ``<object@store>`` with its ``GarbageCollector``."""

    name: str = "object"
    attribute: str = "<object@torture>"
    collects: bool = True
    waits: bool = False
    journals: bool = False
    trees: Path = Path()
    partition_pattern: str | None = None

    def watching(self, steps: Steps) -> AbstractContextManager[None]:
        return watching_object(steps)

    def attach(self, instance: Any, storage: dict[str, Any], project: str) -> None:
        instance.config.stores["torture"] = {**_store(storage, project), **self._partition()}

    def _partition(self) -> dict[str, str]:
        return {} if self.partition_pattern is None else {"partition_pattern": self.partition_pattern}

    def value(self, name: str, content: bytes) -> Any:
        return content

    def staged(self, table: Any, key: dict[str, int], attribute: str, content: bytes) -> Any:
        return content

    def staged_insert(self, table: Any, key: dict[str, int], attribute: str, content: bytes) -> None:
        with table().staged_insert1 as staged:
            staged.rec.update(key)
            with staged.open(attribute, ".dat") as file:
                file.write(content)

    def object_key(self, value: Any, project: str) -> str:
        return f"{project}/{value['path']}"

    def describes(self, value: Any, content: bytes) -> bool:
        return bool(value["size"] == len(content))

    def collect(self, schemas: list[Any], connection: Any) -> Any:
        """Collect each schema by itself, as its documentation says is safe."""
        return [GarbageCollector(schema, store="torture").collect(dry_run=False) for schema in schemas]

    def can_replace(self, database: str) -> bool:
        return database == "mysql"

    def ending(self, error: Exception, *, writes_files: bool) -> Literal["refused", "unknown"]:
        """Tell what an error says. A lost connection says nothing of the outcome; DuplicateError says "refused"."""
        return "unknown" if is_lost_connection(error) else "refused"

    def resolve(self, error: BaseException, connection: Any) -> str | None:
        """Nobody can tell."""
        return "unanswerable"

    def uploaded_bytes(self) -> int | None:
        return None

    def restarted(self, connection: Any) -> None:
        pass

    def settled(self, connection: Any, schemas: Iterable[str]) -> None:
        pass

    def failing(self, uploads: int) -> AbstractContextManager[None]:
        raise NotImplementedError


def _store(storage: dict[str, Any], project: str) -> dict[str, Any]:
    if storage["backend"] == "file":
        return {"protocol": "file", "location": storage["path"]}
    return {
        "protocol": "s3",
        "endpoint": storage["endpoint_url"].removeprefix("http://"),
        "secure": False,
        "bucket": storage["bucket"],
        "access_key": storage["credentials"]["key"],
        "secret_key": storage["credentials"]["secret"],
        "location": project,
    }


@dataclass
class FileSubject:
    """Our ``file`` attribute."""

    name: str = "file"
    attribute: str = "file"
    collects: bool = True
    waits: bool = True
    journals: bool = True
    trees: Path = Path()
    originals: Originals | None = None
    opened: list[NumberedBackend] = field(default_factory=list)

    def watching(self, steps: Steps) -> AbstractContextManager[None]:
        return watching_file(steps, self.opened)

    def attach(self, instance: Any, storage: dict[str, Any], project: str) -> None:
        datajoint_file.configure(document_of(storage, project), connection=instance)

    def value(self, name: str, content: bytes) -> Any:
        if isinstance(content, Linked) and self.originals is not None:
            return datajoint_file.Link(self.originals.add(content), name=name)
        return content.written(self.trees, name) if isinstance(content, Tree) else (name, content)

    def staged(self, table: Any, key: dict[str, int], attribute: str, content: bytes) -> Any:
        content = bytes(content) if isinstance(content, Linked) else content  # a link is not staged
        return datajoint_file.stage(table, key, attribute, self.value(f"{attribute}.dat", content))

    def staged_insert(self, table: Any, key: dict[str, int], attribute: str, content: bytes) -> None:
        table.insert1({**key, attribute: self.staged(table, key, attribute, content)})

    def object_key(self, value: Any, project: str) -> str:
        return str(value["path"])

    def describes(self, value: Any, content: bytes) -> bool:
        kind = (value.get("format"), value.get("files"), is_directory(value["path"]))
        is_tree = isinstance(content, Tree)
        hashed = content.manifest if isinstance(content, Tree) else content
        expected = (2, len(Tree().files), True) if is_tree else (None, None, False)
        described = (kind, value["size"], value["hash"])
        return described == (expected, len(content), f"sha256:{hashlib.sha256(hashed).hexdigest()}")

    def collect(self, schemas: list[Any], connection: Any) -> Any:
        """Plan and carry out, with what nothing speaks of; a tenth of so few objects is not a reason to stop."""
        plan = gc.plan(connection, unknown=True, progress=False)
        return gc.execute(plan, force=True, progress=False)

    def can_replace(self, database: str) -> bool:
        return True

    def ending(self, error: Exception, *, writes_files: bool) -> Literal["refused", "unknown"]:
        """Tell what an error says. Where DataJoint alone was at work, a lost connection says nothing."""
        is_unknown = isinstance(error, datajoint_file.OutcomeUnknownError)
        return "unknown" if is_unknown or (not writes_files and is_lost_connection(error)) else "refused"

    def resolve(self, error: BaseException, connection: Any) -> str | None:
        """Ask what became of it; None if the error is not one to ask about, or names nothing to ask after."""
        if not isinstance(error, datajoint_file.OutcomeUnknownError):
            return None
        outcome = datajoint_file.resolve(pickle.loads(pickle.dumps(error)), connection=connection)
        can_tell = bool(error.writes) or outcome is not datajoint_file.Outcome.UNKNOWN
        return str(outcome.value) if can_tell else None  # that rows were not taken away leaves no proof

    def uploaded_bytes(self) -> int | None:
        return sum(backend.payload_bytes for backend in self.opened)

    def restarted(self, connection: Any) -> None:
        """Close the connection that the package keeps beside this one."""
        second_connection_of(connection).close()

    def settled(self, connection: Any, schemas: Iterable[str]) -> None:
        """Register schemas in the store as it is now, and let that stay so.

        Steps must not depend on how long a run takes, nor on whether a collector has renewed marks before.
        """
        pipeline = pipeline_of(connection)
        if pipeline.second is not None:
            require_mirror(pipeline, pipeline.second)
        for schema in schemas:
            schema_registry.forget(connection, schema)
            schema_registry.ensure_marked(pipeline, connection, schema)
        registered = schema_registry._registered
        registered.update({key: (math.inf, mark) for key, (_, mark) in registered.items()})

    @contextmanager
    def failing(self, uploads: int) -> Iterator[None]:
        """Let all uploads fail but the first ones."""
        for backend in self.opened:
            backend.faults = [Fault("upload", call=backend.calls["upload"] + uploads + 1, lasting=True)]
        try:
            yield
        finally:
            for backend in self.opened:
                backend.faults = []


def document_of(storage: dict[str, Any], project: str) -> dict[str, Any]:
    """Return the tables of a ``datajoint.toml``. On disks one file after the other: the steps are always the same."""

    def alone(table: dict[str, Any]) -> dict[str, Any]:
        table = {**table, "workers": 1} if table["backend"] == "file" else table
        return {**table, "mirror": alone(table["mirror"])} if "mirror" in table else table

    retention = {"retention": f"{GRACE_SECONDS} seconds"}
    return {"project": {"name": project}, "storage": alone(storage), "object_storage": retention}


def is_lost_connection(error: BaseException) -> bool:
    """Tell whether an error says that the connection to the database was lost, in any of the words used for it."""
    if isinstance(error, dj_errors.LostConnectionError):
        return True
    words = (
        "server closed the connection",
        "connection already closed",
        "could not receive data",
        "Lost connection",
        "connect to",
    )
    return any(word in str(error) for word in words)
