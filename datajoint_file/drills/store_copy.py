"""Copy of a project's store, opened so that nothing can be written to it.

The copy takes part as a project that is only read, as another project's store does: no mark, no fence, no probe.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datajoint_file.config import Settings, load_settings, parse_settings
from datajoint_file.config.settings import ProjectSettings, StorageSettings
from datajoint_file.errors import ConfigurationError, DrillError, DrillRefusedError, printable
from datajoint_file.journal.store_marks import Mark, MarkStore
from datajoint_file.model.object_keys import REGISTRY
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.storage import StorageBackend, place_of
from datajoint_file.storage.factory import root_address

_NAMES = ("restore-drill", "restore-drill-of-another")
"""What the pipeline of a drill is called: not as the project that it reads."""


@dataclass(frozen=True, slots=True)
class StoreCopy:
    """The copy of one project's objects."""

    project: str
    pipeline: Pipeline  # that has them under the project's name

    @property
    def place(self) -> str:
        """Where it is, without credentials."""
        return self.pipeline.settings.projects[self.project].location

    @property
    def backend(self) -> StorageBackend:
        """The store, which takes nothing."""
        return self.pipeline.stores.of_project(self.project)

    def marked_schemas(self) -> set[str]:
        """Return the schemas that use the project, as the copy's marks say; those that were dropped are left out."""
        newest: dict[str, Mark] = {}
        for mark in MarkStore(self.backend, self.project).read()[0]:
            known = newest.get(mark.registration.digest)
            if known is None or (mark.epoch, mark.is_dropped) > (known.epoch, known.is_dropped):
                newest[mark.registration.digest] = mark
        return {mark.registration.schema for mark in newest.values() if not mark.is_dropped}


def open_copy(store: str | os.PathLike[str] | Mapping[str, Any], live: Settings | None) -> StoreCopy:
    """Return the copy that is meant by a directory, a ``datajoint.toml`` with its place, or the tables of one. No I/O.

    *live* is the configuration of the real pipeline: a directory has the objects of its project.

    Raises
    ------
    DrillRefusedError
        If it is the real store.
    DrillError
        If it is a directory, and nothing tells whose project it is of.
    ConfigurationError
        If the file is wrong, or not there.
    """
    if isinstance(store, Mapping):
        meant = parse_settings(store, "drill(store=…)")
    else:
        path = Path(store).expanduser().absolute()
        if not path.is_dir():
            if path.suffix != ".toml":
                raise ConfigurationError(
                    f"store = {printable(str(path))}: give the directory of the copy, which is not there, or a "
                    "datajoint.toml that says where it is"
                )
            meant = load_settings(path)
        elif live is None:
            raise DrillError(
                f"{printable(str(path))}: whose copy is it? Work where the project's datajoint.toml is, or give a "
                "datajoint.toml with [project] name and the place of the copy as --store"
            )
        else:
            meant = _of_directory(path, live)
    if live is not None and _address(meant) == _address(live):
        raise DrillRefusedError(
            f"{meant.storage.location} is the real store, not a copy of it: a drill tells nothing of a backup then "
            "(variables DATAJOINT_FILE__STORAGE__… override the place in any file)"
        )
    name = next(one for one in _NAMES if one != meant.project.name)
    projects = {meant.project.name: meant.storage}
    reading = Settings(
        project=ProjectSettings(name=name), storage=meant.storage, projects=projects, directory=meant.directory
    )
    return StoreCopy(meant.project.name, Pipeline(reading))


def _of_directory(path: Path, live: Settings) -> Settings:
    below = path / live.project.name  # where a bucket was copied with its prefixes
    if not (path / REGISTRY).is_dir() and (below / REGISTRY).is_dir():
        path = below
    return Settings(project=live.project, storage=StorageSettings(backend="file", path=str(path)))


def _address(settings: Settings) -> tuple[Any, ...]:
    storage = settings.storage
    place = place_of(storage, settings.directory) if storage.backend != "file" else []
    return *root_address(storage, settings.directory, project=settings.project.name), place
