"""Download tasks: where each file goes, and pickled batches of them for workers.

Which rows name them is the caller's business; how one file is brought and verified, the pipeline's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from datajoint_file.concurrency.progress import Advance
from datajoint_file.concurrency.threads import Stop
from datajoint_file.errors import DestinationExistsError, brief, printable
from datajoint_file.model.key_values import KeyValue
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.names import check_derived_name, encode_component
from datajoint_file.pipeline.address import PipelineAddress
from datajoint_file.pipeline.directory_download import download as download_directory
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.storage.disk.drafts import Draft
from datajoint_file.transfer.atomic_write import publish_now

Layout = Literal["name", "key", "path"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)


def check_layout(layout: str) -> Layout:
    """Return *layout* if there is such a one, else raise `ValueError`."""
    if layout not in LAYOUTS:
        raise ValueError(f"layout = {brief(layout)}: allowed are {', '.join(map(repr, LAYOUTS))}")
    return layout


@dataclass(frozen=True, slots=True)
class Wanted:
    """One file to bring."""

    metadata: FileMetadata
    target: str  # the path of the new file


def path_below(
    layout: Layout, key: Sequence[KeyValue], attribute: str, metadata: FileMetadata, *, is_alone: bool
) -> Path:
    """Return where a file goes below the destination. The components of what rows say are made safe.

    Raises `UnsafeNameError` if it would bear a name that rows may not decide on.

    Examples
    --------
    >>> row = {
    ...     "path": "lab/ephys/objects/Recording-raw_data/k7/recording.dat",
    ...     "size": 3,
    ...     "hash": "sha256:" + "0" * 64,
    ...     "original_name": "recording.dat",
    ...     "timestamp": "2025-01-15T10:30:00Z",
    ... }
    >>> metadata = FileMetadata.from_json(row)
    >>> key = [KeyValue("subject_id", "int", 123)]
    >>> [
    ...     path_below(layout, key, "raw_data", metadata, is_alone=True).as_posix()
    ...     for layout in ("name", "key", "path")
    ... ]
    ['recording.dat', 'subject_id=123/recording.dat', 'lab/ephys/objects/Recording-raw_data/k7/recording.dat']
    """
    if layout == "path":
        return Path(*map(check_derived_name, metadata.path.rstrip("/").split("/")))
    name = Path(check_derived_name(metadata.original_name))
    if layout == "name":
        return name
    components = [encode_component(f"{value.name}={value.text}") for value in key]
    return Path(*components, *(() if is_alone else (attribute,))) / name


class Targets:
    """Paths that are given out once: two different files shall not go to the same place.

    Where upper and lower case are the same (macOS, Windows), names that differ by it would meet: they count as equal.
    """

    def __init__(self) -> None:
        self._hashes: dict[str, str] = {}

    def take(self, wanted: Wanted, where: str) -> None:
        """Note that *wanted* goes to its target; refuse if a file with other bytes does already."""
        other = self._hashes.setdefault(wanted.target.casefold(), wanted.metadata.hash)
        if other != wanted.metadata.hash:
            raise DestinationExistsError(
                f"{where}: two different files of the query would be {printable(wanted.target)}; the first was kept. "
                'Give layout="key", which has a directory for each row, or layout="path"'
            )


@dataclass(frozen=True, slots=True)
class DownloadTask:
    """A task to a worker."""

    address: PipelineAddress
    files: tuple[Wanted, ...]  # to paths that the caller sees as well
    overwrite: bool  # replace different files
    stop: Stop
    verify: str | None = None  # how much is checked; as the worker's configuration says


def bring_all(task: DownloadTask) -> int:
    """Carry out a task, wherever this is called. Returns the number of bytes."""
    pipeline = task.address.same_store()
    for wanted in task.files:
        task.stop.check()
        bring(pipeline, wanted, overwrite=task.overwrite, verify=task.verify)
    return sum(wanted.metadata.size for wanted in task.files)


def bring(
    pipeline: Pipeline,
    wanted: Wanted,
    *,
    overwrite: bool,
    advance: Advance | None = None,
    finish: Callable[[Draft], object] = publish_now,
    verify: str | None = None,
) -> Path:
    """Bring one file or directory, verified as `Reads.policy` says.

    What is there already and equal is kept, and not transferred.
    """
    if wanted.metadata.is_directory:
        return download_directory(
            pipeline,
            wanted.metadata,
            wanted.target,
            overwrite=overwrite,
            progress=False,
            advance=advance,
            is_exact=True,
            verify=verify,
        )
    how: dict[str, Any] = {"advance": advance, "finish": finish, "verify": verify}
    return pipeline.download(wanted.metadata, wanted.target, overwrite=overwrite, progress=False, **how)
