"""Fixtures of the tests that need no server: projects on a local disk, and children of this process."""

from __future__ import annotations

import os
import pickle
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from datajoint_file.config import Settings, parse_settings
from datajoint_file.model.key_values import key_value
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.object_keys import Cell
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.transfer.sources import as_source
from tests.conftest import CACHE_VARIABLE

NOBODY = 65534

InChild = Callable[..., Any]


@pytest.fixture(autouse=True)
def _no_configuration_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in list(os.environ):
        is_foreign = variable.startswith("DATAJOINT_FILE__") and variable != CACHE_VARIABLE
        if variable == "DATAJOINT_TOML" or is_foreign:
            monkeypatch.delenv(variable)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The directory of a project."""
    directory = tmp_path / "project"
    directory.mkdir()
    return directory


@pytest.fixture
def settings(root: Path) -> Settings:
    return settings_of(root)


def settings_of(root: Path, name: str = "lab", pattern: str = "", **tables: Any) -> Settings:
    document: dict[str, Any] = {"project": {"name": name}, "storage": {"backend": "file", "path": str(root)}, **tables}
    if pattern:
        document["object_storage"] = {"partition_pattern": pattern}
    return parse_settings(document, "the test")


@pytest.fixture
def make_settings() -> Callable[..., Settings]:
    return settings_of


@pytest.fixture
def pipeline(settings: Settings) -> Pipeline:
    """A real project on the local disk."""
    return Pipeline(settings)


@pytest.fixture
def cell() -> Cell:
    return Cell("ephys", "Recording", "raw_data", (key_value("subject_id", "int32", 7),))


@pytest.fixture
def stored(pipeline: Pipeline, cell: Cell) -> Callable[..., FileMetadata]:
    """Store a value as an insert would, and return what the row would hold."""

    def store(value: object = ("recording.dat", b"spikes"), in_: Pipeline = pipeline) -> FileMetadata:
        return in_.ingest(in_.plan(as_source(value), cell))

    return store


@pytest.fixture
def on_disk(root: Path) -> Callable[[FileMetadata], Path]:
    """Where the bytes of a stored file are, found without the package: the first part of the path is the root."""
    return lambda metadata: root.joinpath(*metadata.path.split("/")[1:])


@pytest.fixture
def in_child() -> InChild:
    """Call a function in a forked child, where it may give up rights and set limits; raise what it raised."""
    return call_in_child


def call_in_child(function: Callable[..., Any], *arguments: Any, uid: int | None = None) -> Any:
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads of the test run do not matter to the child
        child = os.fork()
    if child == 0:
        _report(writing, function, arguments, uid)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        outcome = pipe.read()
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        raise ChildProcessError(f"killed by signal {os.WTERMSIG(status)}")
    result, error = pickle.loads(outcome)
    if error is not None:
        raise error
    return result


def _report(writing: int, function: Callable[..., Any], arguments: tuple[Any, ...], uid: int | None) -> None:
    outcome: tuple[Any, BaseException | None] = None, None
    try:
        if uid is not None:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
        outcome = function(*arguments), None
    except BaseException as error:
        outcome = None, error
    finally:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(pickle.dumps(outcome))
        os._exit(0)


@pytest.fixture
def as_nobody(in_child: InChild) -> InChild:
    """Call a function as a user who may read nothing of ours (this one, if this is not root)."""

    def call(function: Callable[..., Any], *arguments: Any) -> Any:
        return in_child(function, *arguments, uid=NOBODY) if os.geteuid() == 0 else function(*arguments)

    return call


@pytest.fixture
def public_directory() -> Iterator[Path]:
    """A directory that every user of the machine can get to; ``tmp_path`` is its owner's alone."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)
