"""Note in a place that it is the mirror of a project: a small object among the marks, which a collector refuses.

So nobody takes it for the place that counts, by mistake; and no mirror is put where a project has its objects.
"""

from __future__ import annotations

import io
import json
import logging
from datetime import datetime, timezone

from datajoint_file.errors import ConfigurationError, ObjectExistsError, brief
from datajoint_file.model.object_keys import REGISTRY
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.storage.backend import ContentHeaders

logger = logging.getLogger("datajoint_file")

NAME = "mirror.json"
"""Of the note, below the registry. It is no mark's name."""

MIRROR_OF = "mirror_of"
"""What the note says: of which store."""

_MAX_BYTES = 64 * 1024

_known: set[tuple[str, str]] = set()
"""Projects and places that this process has looked at."""


def require_mirror(pipeline: Pipeline, second: Pipeline) -> None:
    """Make sure, once a process, that *second* is the mirror of this project's store; say so there if it is new.

    Raises
    ------
    ConfigurationError
        If it is another project's mirror, or a store that a project uses itself, or lies inside one.
    StorageError
        If it cannot be asked.
    """
    name = second.project, second.backend.url(note_key(second))
    if name in _known:
        return
    where = f"{second.settings.storage.where} {second.settings.storage.location}"
    if outer := second.backend.above(REGISTRY):
        raise ConfigurationError(f"{where}: it lies inside another project's place, {outer}; give it one of its own")
    there = {found.key for found in second.backend.list(f"{second.project}/{REGISTRY}")}
    if there and note_key(second) not in there:
        raise ConfigurationError(
            f"{where} is a store that a project uses by itself, and no mirror: it has marks of database schemas. Give "
            "the mirror a place of its own; if the project has moved there, use the datajoint.toml that says so"
        )
    if not there:
        logger.warning(
            "%s had nothing of the project %s, and is its mirror from now on. If it was that before, it is not mounted",
            where,
            second.project,
        )
        write_note(second, pipeline)
    project = noted(second)
    if project != second.project:
        raise ConfigurationError(f"{where} is the mirror of the project {brief(project)}; give this one its own")
    _known.add(name)


def note_key(pipeline: Pipeline) -> str:
    """Return the key of the note."""
    return f"{pipeline.project}/{REGISTRY}/{NAME}"


def noted(pipeline: Pipeline) -> str:
    """Return the project that the store is noted to be a mirror of; empty if it is not."""
    if not pipeline.backend.exists(note_key(pipeline)):
        return ""
    try:
        document = json.loads(bytes(pipeline.backend.read(note_key(pipeline), 0, _MAX_BYTES)))
        return str(document["project"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return "?"


def write_note(mirror: Pipeline, first: Pipeline) -> None:
    """Note in *mirror* that it is that of *first*. It holds no secret."""
    of = first.backend.url(f"{first.project}/x").rpartition("/")[0]
    moment = datetime.now(timezone.utc).isoformat(timespec="seconds")
    document = {"format": 1, MIRROR_OF: of, "project": mirror.project, "written": moment}
    content = json.dumps(document, indent=1).encode()
    try:
        mirror.backend.upload(note_key(mirror), io.BytesIO(content), len(content), ContentHeaders("application/json"))
    except ObjectExistsError:  # by another process, just now
        return


def remove_note(pipeline: Pipeline) -> None:
    """Say no more that the store is a mirror."""
    pipeline.backend.delete(note_key(pipeline))
    _known.clear()
