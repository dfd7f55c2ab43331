"""Outputs that stay on a disk of the user's: moved out of the scratch directory to a durable place, and linked there.

Whether that place lies below a root is asked before the job runs, of the pipelines that are known by then.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from datajoint_file.errors import (
    DataJointFileError,
    DestinationError,
    NothingMatchesError,
    UnsupportedValueError,
    brief,
    printable,
    reason_of,
)
from datajoint_file.jobs.outputs import CapturedFile, Outputs, told
from datajoint_file.jobs.patterns import Pattern
from datajoint_file.pipeline.lookup import require_some_root
from datajoint_file.storage.disk.drafts import NO_LINKS, flush_directory
from datajoint_file.transfer.hashing import HashingReader, copy, drain
from datajoint_file.transfer.links import Link
from datajoint_file.transfer.sources import as_source

_MODES = ("copy", "link")


class Keeping:
    """Which outputs are linked, and where they go.

    Parameters
    ----------
    keep : mapping or None
        Of patterns to ``"copy"`` or ``"link"``; the first that matches a file counts, and others are copied.
    link_to : str, os.PathLike or None
        The directory where linked files go, each run into one of its own.

    Raises
    ------
    UnsupportedValueError
        If *keep* says something else, or there is no *link_to* for it.
    DestinationError
        If *link_to* is no directory.
    UnknownRootError
        If it lies below no root of a pipeline that is known here.
    """

    def __init__(self, keep: Mapping[str, Any] | None, link_to: str | os.PathLike[str] | None) -> None:
        if any(mode not in _MODES for mode in (keep or {}).values()):
            raise UnsupportedValueError(f"keep = {brief(keep)}: give patterns, each with one of {', '.join(_MODES)}")
        self._modes = {Pattern.read(text): mode for text, mode in (keep or {}).items()}
        self._links = "link" in self._modes.values()
        if self._links and link_to is None:
            raise UnsupportedValueError("keep has files to link: say where they go, by link_to='/mnt/nas/derived'")
        self._place = Path(os.path.abspath(link_to or os.curdir))
        if self._links and not self._place.is_dir():
            raise DestinationError(f"{printable(str(self._place))} is no directory: is its disk mounted? Or make it")
        if self._links:
            require_some_root(str(self._place))

    def apply(self, outputs: Outputs) -> dict[str, Link]:
        """Move what is to be linked, take it out of *outputs*, and return the links by path. All are moved, or none.

        Raises
        ------
        NothingMatchesError
            If a pattern matches nothing: what was to be linked would be copied.
        DestinationError
            If the place cannot be written to, or is full.
        """
        if not self._links:
            return {}
        self._require_matches(outputs)
        chosen = [file for file in outputs.files() if self._mode_of(file.path) == "link"]
        if not chosen:
            return {}
        with self._made() as home:
            links = {file.path: Link(home / file.path, title=file.title) for file in chosen}
            links = {file.path: replace(links[file.path], hash=_move(file, home / file.path)) for file in chosen}
            for place, _, _ in os.walk(home):
                flush_directory(place)
            flush_directory(str(self._place))
        for file in chosen:  # not before all are there: what fails must not cost what it was to keep
            with suppress(OSError):
                os.unlink(file)
        outputs.leave_out(links)
        return links

    def _require_matches(self, outputs: Outputs) -> None:
        if idle := [one.text for one in self._modes if not any(map(one.has, outputs.paths()))]:
            raise NothingMatchesError(
                f"keep: {', '.join(map(printable, idle))} matches nothing of what is taken; nothing was stored. There "
                f"is: {told(outputs.paths())}"
            )

    def _mode_of(self, path: str) -> str:
        return next((mode for pattern, mode in self._modes.items() if pattern.has(path)), "copy")

    @contextmanager
    def _made(self) -> Iterator[Path]:
        """Make the directory of this run, a new one; it is removed if the block raises."""
        home = self._place / f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
        try:
            home.mkdir()
            try:
                yield home
            except BaseException:
                shutil.rmtree(home, ignore_errors=True)
                raise
        except OSError as error:
            if isinstance(error, DataJointFileError):
                raise
            raise DestinationError(
                f"outputs cannot be moved to {printable(str(self._place))}: {reason_of(error)}; nothing was stored"
            ) from error


def _move(file: CapturedFile, target: Path) -> str:
    """Give a file a name there that is free, on to the disk, read-only; return its hash. It keeps the old one, too."""
    target.parent.mkdir(parents=True, exist_ok=True)
    found = "" if file.target else _hard_linked(file, target)
    if not found:
        with as_source(file).open() as reader, target.open("xb") as copied:
            hashing = HashingReader(reader, lambda _: None)
            copy(hashing, copied.write)
            found = hashing.hash
    with target.open("rb") as moved:
        os.fsync(moved.fileno())
    target.chmod(0o444)
    return found


def _hard_linked(file: CapturedFile, target: Path) -> str:
    """Give a file a second name and return its hash; nothing, where that cannot be: on another disk, say."""
    if os.stat(file).st_dev != os.stat(target.parent).st_dev:
        return ""
    with as_source(file).open() as reader:
        hashing = HashingReader(reader, lambda _: None)
        drain(hashing)
    try:
        os.link(file, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        return ""
    return hashing.hash
