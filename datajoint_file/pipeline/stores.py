"""Stores of a project and its roots, opened at first use: which of them has what a row names.

How bytes are stored and read there is told in `writes` and `reads`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from datajoint_file.config import Settings
from datajoint_file.config.settings import StorageSettings
from datajoint_file.config.urls import file_path
from datajoint_file.errors import StorageAccessError, StorageUnavailableError, UnknownProjectError, UnknownRootError
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.object_keys import REGISTRY, is_candidate
from datajoint_file.model.wording import RIGHT_PLACE
from datajoint_file.pipeline.mirror_note import MirrorNote
from datajoint_file.pipeline.open_stores import clock, note_opened
from datajoint_file.storage import StorageBackend, open_backend, open_root, place_of
from datajoint_file.storage.roots import require_anything, root_variable
from datajoint_file.storage.wrappers import LoggedBackend, MirroredBackend, logger


@dataclass(slots=True)
class KnownPlaces:
    """What was found out about the places of a project, or told of them, and need not be again in this process.

    Threads share it, and a fork has a copy: so each change is a single assignment.
    """

    is_mirror: bool = False  # the project's own store has the note of one: see `mirror_note`
    takes: dict[str, bool] = field(default_factory=dict)  # whether the store copies by itself, by where from
    told: dict[str, object] = field(default_factory=dict)  # what was warned of
    down_until: dict[str, float] = field(default_factory=dict)  # until when a project's store is asked second

    def is_down(self, project: str) -> bool:
        """Tell whether the store of a project did not answer just now."""
        return self.down_until.get(project, 0.0) > time.monotonic()

    def note_down(self, project: str, seconds: float) -> None:
        """Note that the store of a project does not answer, for so long."""
        self.down_until[project] = time.monotonic() + seconds


class Stores:
    """The stores and roots of one project, as its settings say. Safe to use from several threads and after a fork."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.last_used = 0  # by the clock of `open_stores`
        self.known = KnownPlaces()
        self._backends: dict[str, StorageBackend] = {}
        self._identities: dict[tuple[str, str], str] = {}

    @property
    def project(self) -> str:
        """The project's name, which begins the key of each of its objects."""
        return self.settings.project.name

    @property
    def own(self) -> StorageBackend:
        """The store that new objects go to."""
        return self.of_project(self.project)

    @property
    def is_open(self) -> bool:
        """Whether some are open."""
        return bool(self._backends)

    def close(self) -> None:
        """Let go of all, once nobody is at work in them. The next use opens them again."""
        self._backends = {}

    def of_project(self, project: str) -> StorageBackend:
        """Return the store that has the objects of *project*: this one's, or one that is only read.

        Raises
        ------
        UnknownProjectError
            If the configuration does not say where they are.
        """
        return self._used(project, self._opened)

    def of_root(self, link: str) -> StorageBackend:
        """Return the root that something linked lies below, which is only read.

        Raises
        ------
        UnknownRootError
            If the configuration does not say where it is.
        """
        name = link.partition("/")[0]
        return self._used(f"{name}:", lambda _: self._opened_root(name))

    def of_object(self, metadata: FileMetadata) -> StorageBackend:
        """Return what has the object of a row: a file, or a directory's manifest, which is stored in any case."""
        return self.of_root(metadata.linked) if metadata.is_link else self.of_project(metadata.project)

    def of_bytes(self, metadata: FileMetadata) -> StorageBackend:
        """Return what has the bytes of a row: those of a file, or of a directory's members."""
        return self.of_root(metadata.linked) if metadata.linked else self.of_project(metadata.project)

    def mirror_of(self, metadata: FileMetadata) -> StorageBackend | None:
        """Return the second place of the object of a row, if there is one; what is linked has none."""
        return None if metadata.is_link else self.mirror(metadata.project)

    def mirror(self, project: str) -> StorageBackend | None:
        """Return the second place of the objects of *project*, if the configuration names one."""
        known = project == self.project or project in self.settings.projects
        settings = self._storage_of(project).mirror if known else None
        if settings is None:
            return None
        how = {"read_only": project != self.project}
        return self._used(f"{project}~", lambda _: open_backend(settings, project, self.settings.directory, **how))

    @property
    def both(self) -> StorageBackend:
        """The store that new objects go to, for deleting: its mirror forgets an object first."""
        mirror, settings = self.mirror(self.project), self.settings.storage.mirror
        if mirror is None or settings is None:
            return self.own
        note = MirrorNote(mirror, self.project, settings.shown)
        return MirroredBackend(self.own, mirror, note.require)

    def location_of(self, project: str) -> str:
        """Return where the objects of *project* are, on one line, without credentials."""
        return self._storage_of(project).location

    def for_marks(self, project: str) -> StorageBackend:
        """Return the store of *project* for telling it which schemas name its objects, and for nothing else.

        Of other projects it is opened anew, for reading only is how `of_project` has theirs.
        """
        return self.own if project == self.project else self._opened(project, read_only=False)

    def url(self, metadata: FileMetadata) -> str:
        """Return the address of a file or directory without credentials."""
        slash = "/" if metadata.is_directory else ""
        return f"{self.of_bytes(metadata).url((metadata.linked or metadata.path).rstrip('/'))}{slash}"

    def local_path(self, key: str) -> str:
        """Return the path of an object, or of the project's directory, on this machine; nothing, of a bucket."""
        if not self.own.capabilities.is_mounted:
            return ""
        path = Path(file_path(self.own.url(f"{self.project}/x")))
        return str(path.parent / key.partition("/")[2])

    def identity_of(self, metadata: FileMetadata) -> str:
        """Return what tells the store or root of a file from all others: a digest of where it is. No secret is in it.

        Raises
        ------
        UnknownProjectError, UnknownRootError
            If the configuration does not say where it is.
        """
        name = metadata.linked.partition("/")[0] or metadata.project
        kind = "root" if metadata.linked else "project"
        found = self._identities.get((kind, name))
        if found is None:
            url = self.of_bytes(metadata).url(f"{name}/x")
            storage = self.settings.places[name] if metadata.linked else self._storage_of(name)
            place = json.dumps([kind, url, place_of(storage, self.settings.directory)])
            self._identities[kind, name] = found = hashlib.sha256(place.encode()).hexdigest()
        return found

    def require_present(self, metadata: FileMetadata) -> None:
        """Raise `StorageUnavailableError` if the store has nothing of the project: then it is not the one of the row.

        To be asked where an object is not there. A store that may not be listed counts as the right one.
        """
        if metadata.is_link:
            with suppress(StorageAccessError):
                require_anything(self.of_object(metadata), metadata.linked)
            return
        project = metadata.project
        try:
            backend = self.of_project(project)
            listed = chain(backend.list(f"{project}/{REGISTRY}"), backend.list(project))  # the first is short
            if any(is_candidate(project, found.key) or f"/{REGISTRY}/" in found.key for found in listed):
                return
        except StorageAccessError:
            return
        raise StorageUnavailableError(
            f"{self._storage_of(project).location} has no object of the project {project} and no mark of any schema, "
            f"and a row names {metadata.path}: {RIGHT_PLACE}"
        ).of(metadata.path)

    def _used(self, name: str, opened: Callable[[str], StorageBackend]) -> StorageBackend:
        self.last_used = next(clock)
        backend = self._backends.get(name)
        if backend is None:
            backend = self._backends.setdefault(name, opened(name))
            note_opened(self)
        return LoggedBackend(backend) if logger.isEnabledFor(logging.DEBUG) else backend

    def _storage_of(self, project: str) -> StorageSettings:
        return self.settings.storage if project == self.project else self.settings.projects[project]

    def _opened(self, project: str, *, read_only: bool = True) -> StorageBackend:
        directory = self.settings.directory
        if project == self.project:
            return open_backend(self.settings.storage, project, directory)
        if project not in self.settings.projects:
            raise UnknownProjectError(
                f"the file belongs to the project {project!r}, and this pipeline is {self.project!r}: say where the "
                f"other one's objects are in a table [projects.{project}] of datajoint.toml, written like [storage]"
            )
        return open_backend(self.settings.projects[project], project, directory, read_only=read_only)

    def _opened_root(self, name: str) -> StorageBackend:
        """Open a root for reading, by its name in rows. No I/O."""
        storage = self.settings.places.get(name)
        if storage is None:
            raise UnknownRootError(
                f"the file is linked below the root {name!r}, and this configuration does not say where that is: set "
                f"{root_variable('roots', name)} to its directory on this machine, or add to datajoint.toml:\n\n"
                f'# where files are that stay where they are\n[roots.{name}]\npath = "/…"'
            )
        project = "" if name in self.settings.roots else name
        return open_root(storage, name, self.settings.directory, project=project)
