"""Move of a project to another store: all of it mirrored and read in both places, then the places exchanged.

Each step can be done again: a move that was cut short is begun anew, and goes on. Nothing is deleted: the old store is
the mirror of the new one from then on.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from datajoint_file.config import load_settings
from datajoint_file.errors import ConfigurationError, brief_traceback
from datajoint_file.hooks.connections import connection_of, pipeline_of
from datajoint_file.journal.store_marks import MarkStore
from datajoint_file.mirror.ledger import Sum, is_alike, ledger
from datajoint_file.mirror.marks import copy_marks
from datajoint_file.mirror.mirror_run import MirrorReport, MirrorRun
from datajoint_file.mirror.values import values_of
from datajoint_file.pipeline.mirror_note import MirrorNote
from datajoint_file.pipeline.mirroring import require_mirror
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.storage import place_of
from datajoint_file.verification.mend import Sides
from datajoint_file.verification.own_schemas import schemas_of_pipeline

_PASSES = 10
"""So often it is looked whether something was stored meanwhile: who stores all the time is picked up afterwards."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a move has found in both places. **True if the project is in the new store now**, as far as it was to go.

    Parameters
    ----------
    project : str
        The project.
    old, new : Sum
        What each place has of what rows name, histories keep and is staged: values, files, size, and the SHA-256 of
        the sorted list of their hashes, a line each. It counts what was read in that place, to its end, and is right;
        both are alike, if all is. The place is named without credentials.
    schemas : tuple of str
        Whose rows were gone through.
    report : MirrorReport
        What was copied, and what is wrong.
    is_swapped : bool
        The new store is the one that counts.
    at : str
        When: by this machine's clock, UTC.
    """

    project: str
    old: Sum
    new: Sum
    schemas: tuple[str, ...]
    report: MirrorReport
    is_swapped: bool
    at: str

    def __bool__(self) -> bool:
        return bool(self.report) and is_alike(self.old, self.new)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold. They hold no secret."""
        return {
            "project": self.project,
            "at": self.at,
            "is_swapped": self.is_swapped,
            "old": asdict(self.old),
            "new": asdict(self.new),
            "schemas": list(self.schemas),
            "report": self.report.to_dict(),
        }


@brief_traceback
def move(
    to: str | os.PathLike[str],
    connection: Any = None,
    *,
    check: bool = False,
    dropped: Collection[str] = (),
    workers: int | None = None,
    progress: bool | None = None,
) -> Certificate:
    """Bring a project to the store that another ``datajoint.toml`` names, and let that be the one that counts.

    All that rows of the project name, what is staged for a row, and what histories keep, is copied, and then read in
    both places; what is stored meanwhile as well, until nothing new is found. If all is right, the new store gets the
    marks of the project, and the old one a note that it is the mirror: its collector refuses from then on. Then
    everybody is to use the new file.

    Parameters
    ----------
    to : path
        The new ``datajoint.toml``: the same project, the new store in ``[storage]``, the old one in
        ``[storage.mirror]``.
    connection : datajoint.Connection, datajoint.Instance or datajoint.Schema, optional
        Whose database and pipeline, of the old file; DataJoint's default connection if not given.
    check : bool
        Copy and read, and leave the stores what they are.
    dropped : collection of str
        Schemas that have a mark in the store and are gone for good.
    workers : int, optional
        Values at a time; what suits the stores if not given.
    progress : bool, optional
        Show a progress bar: always, never, or (``None``) on a terminal or in a notebook after a second.

    Returns
    -------
    Certificate
        False if something is wrong: then nothing was exchanged, and the report says what.

    Raises
    ------
    ConfigurationError
        If the files do not fit, or a schema that uses the project is not seen.
    StorageError, DataJointError
        If one of the places, or the database, does not answer. The move can be begun again.

    Examples
    --------
    >>> certificate = datajoint_file.mirror.move("new.toml")  # doctest: +SKIP
    >>> certificate.new.files, certificate.new.digest  # doctest: +SKIP
    (1200, 'sha256:…')
    """
    connection = connection_of(connection)
    old = pipeline_of(connection)
    new = Pipeline(load_settings(Path(to)))
    _check_files(old, new, str(to))
    sides = Sides(old.first, new.first)
    schemas = _seen(connection, sides.first, dropped)
    if not _is_swapped(sides):
        require_mirror(sides.first, sides.second)
    with ledger() as found:
        one = MirrorRun(sides, found, by_hash=True, workers=workers, progress=progress)
        values = partial(values_of, connection, old.project)
        report = one.through(values)
        for _ in range(_PASSES):
            before, report = report.values, one.through(values) if report else report
            if report.values == before:
                break
        where = (old.settings.storage.location, new.settings.storage.location)
        ours, theirs = (found.sum(side, place) for side, place in enumerate(where))
        is_due = bool(report) and is_alike(ours, theirs) and not check
        if is_due:
            _swap(sides)
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        return Certificate(old.project, ours, theirs, schemas, report, is_due or _is_swapped(sides), now)


def _check_files(old: Pipeline, new: Pipeline, name: str) -> None:
    if new.project != old.project:
        raise ConfigurationError(f"{name}: its project is {new.project!r}, and this one {old.project!r}: rows begin so")
    if _place(new.first) == _place(old.first):
        raise ConfigurationError(f"{name}: its [storage] is the store that the project is in already")
    if new.second is None or _place(new.second) != _place(old.first):
        raise ConfigurationError(
            f"{name}: [storage.mirror] is not the store that the project is in ({old.settings.storage.location}). It "
            "has to be, so that what others still store there is found: write the old [storage] under that name"
        )


def _place(side: Pipeline) -> tuple[str, Any]:
    return side.backend.url(f"{side.project}/x"), place_of(side.settings.storage, side.settings.directory)


def _seen(connection: Any, side: Pipeline, dropped: Collection[str]) -> tuple[str, ...]:
    """Return the schemas that use the project; refuse if the store knows of others."""
    schemas = schemas_of_pipeline(connection)
    marks, _ = MarkStore(side.backend, side.project).read()
    used = {mark.registration.schema for mark in marks if not mark.is_dropped}
    if unseen := sorted(used - {*schemas, *dropped}):
        raise ConfigurationError(
            f"the store has marks of {', '.join(unseen)}, which this user does not see on this server: files of their "
            "rows would stay behind. Use a user who may read all; or say which are dropped (dropped=, --dropped)"
        )
    return tuple(schemas)


def _is_swapped(sides: Sides) -> bool:
    """Tell whether an earlier move has exchanged the places, wherever it was cut short then."""
    if not MirrorNote(sides.first.backend, sides.first.project).noted():
        return False
    if not MarkStore(sides.second.backend, sides.second.project).names():
        raise ConfigurationError(
            f"{sides.first.settings.storage.shown} is a mirror: use the datajoint.toml of the store"
        )
    return True


def _swap(sides: Sides) -> None:
    """Let the second place be the one that counts. Between two steps both are mirrors, and no collector deletes."""
    copy_marks(sides.first, sides.second)
    old, new = (MirrorNote(side.backend, side.project) for side in (sides.first, sides.second))
    old.write(sides.second.backend)
    new.remove()
