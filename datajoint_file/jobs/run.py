"""`Run`: a block of a job on its way, and what it has made afterwards.

How it begins and ends is the business of `capture`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from datajoint_file.config.paths import working_directory
from datajoint_file.errors import (
    JobError,
    OutputConflictError,
    SourceNotFoundError,
    UnsupportedValueError,
    printable,
)
from datajoint_file.formats.objects import write
from datajoint_file.jobs.linking import Keeping
from datajoint_file.jobs.notebook import run_notebook
from datajoint_file.jobs.outputs import CapturedDirectory, CapturedFile, Outputs, collected
from datajoint_file.jobs.patterns import Patterns
from datajoint_file.jobs.program import run_program
from datajoint_file.jobs.scratch import Scratch
from datajoint_file.model.names import check_name
from datajoint_file.model.wording import counted, format_size
from datajoint_file.transfer.directories import look_of
from datajoint_file.transfer.hashing import HashingReader, drain
from datajoint_file.transfer.links import Link
from datajoint_file.transfer.pinned_directory import PinnedDirectory
from datajoint_file.transfer.source_readers import look_at
from datajoint_file.transfer.sources import as_source

LOG = "execution.log"
"""What the log of a job is called."""


class Run:
    """A block of `capture`, and what it has made. Its files are there as long as it, or a value of it, is referred to.

    Attributes
    ----------
    path : Path
        The job's working directory.
    origin : Path
        The working directory before: where relative paths of the caller start.
    result : object
        What the function has returned, of a run of `captures`.
    seconds : float
        How long the block took.
    kept : Path or None
        Where its directory and its log are, if they were kept: see `keep`, and ``on_failure`` of `capture`.
    has_ended_well : bool
        Whether the block has not failed, whatever became of what it has made.
    """

    def __init__(self, scratch: Scratch, patterns: Patterns, name: str) -> None:
        self.path = scratch.work
        self.origin = working_directory()
        self.result: Any = None
        self.seconds = 0.0
        self.kept: Path | None = None
        self.has_ended_well = False
        self._scratch = scratch
        self._patterns = patterns
        self._name = name
        self._outputs: Outputs | None = None
        self._log: CapturedFile | None = None

    def __repr__(self) -> str:
        if self._outputs is None:
            return f"Run({str(self.path)!r})"
        files, size = counted(len(self._outputs.listing.names), "file"), format_size(self._outputs.listing.size)
        return f"Run({files}, {size}, {self.seconds:.1f} s)"

    def __reduce__(self) -> NoReturn:
        raise UnsupportedValueError(
            "a run is not sent to another process: its files go with this one. Insert or stage them here"
        )

    @property
    def directory(self) -> CapturedDirectory:
        """All that was captured and is not linked, as one directory, with the tree as it is. Insert it."""
        return self._captured.whole

    @property
    def files(self) -> list[CapturedFile]:
        """All files that were captured and are not linked, by path, one by one: for the rows of a part table, say."""
        return list(self._captured.files())

    @property
    def links(self) -> dict[str, Link]:
        """The files that are linked, by their paths in the working directory, sorted. Insert them. See ``keep``."""
        return self._captured.links

    @property
    def log(self) -> CapturedFile:
        """What the job has said, if ``log=True`` was given. Insert it."""
        if self._log is None:
            raise UnsupportedValueError("there is no log: give capture(…, log=True), and ask when the block has ended")
        return self._log

    def __getitem__(self, path: str) -> CapturedFile | CapturedDirectory | Link:
        """Return a file that was captured, or a directory. Raises `OutputMissingError` if there is no such path."""
        return self._captured.get(path)

    def glob(self, pattern: str) -> list[CapturedFile]:
        """Return the files, among those that were captured, that a pattern chooses, sorted by path."""
        return self._captured.matching(pattern)

    def save(self, name: str, content: Any) -> Path:
        """Write an object, or bytes, to a file in the working directory, as an insert would; and return its path.

        Raises
        ------
        OutputConflictError
            If there is such a file already.
        UnsupportedValueError, FormatError, MissingLibraryError
            If no format writes such an object into a file of this name, as by an insert.
        """
        path = self._require_there() / check_name(name)
        if os.path.lexists(path):
            raise OutputConflictError(
                f"{printable(name)} is there already: the job has written it, and another output would take its place; "
                "give it another name"
            )
        write(name, content, path)
        return path

    def command(self, arguments: Sequence[Any], **options: Any) -> None:
        """Run a program in the working directory, and wait for it. What it says goes where that of the job goes.

        Relative paths begin in the working directory, which has nothing in it but what the job has made and its inputs:
        a script of yours is ``run.origin / "sorter.py"``.

        Parameters
        ----------
        arguments : sequence of str or os.PathLike
            The program and its arguments; no shell reads them. Stored files are given as paths of this machine.
        **options
            ``timeout`` and ``env``, as of `subprocess.run`.

        Raises
        ------
        ProgramError
            If there is no such program, it ends with another code than 0, or not in time. With ``log=True`` it quotes
            the last lines that were written down.

        Examples
        --------
        >>> run.command(["ffmpeg", "-i", "raw.avi", "movie.mp4"])  # doctest: +SKIP
        """
        run_program(arguments, self._require_there(), self._scratch.home / LOG, **options)

    def notebook(
        self,
        notebook: str | os.PathLike[str],
        *,
        parameters: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> Path:
        """Run a notebook in the working directory, and keep it there with what it has shown, under its name.

        Parameters
        ----------
        notebook : str or os.PathLike
            Its path, from `origin`. It is not changed.
        parameters : mapping, optional
            Values for names, such as ``{"threshold": 4.5}``: a cell with them is put behind the first one that is
            tagged ``parameters``, or in front.
        timeout : float, optional
            Seconds that a cell may take.

        Returns
        -------
        Path
            The notebook with its outputs. Name it in ``put`` to have it captured.

        Raises
        ------
        ProgramError
            If a cell fails, or the kernel dies. What was shown until then is in the working directory.
        MissingLibraryError
            If nbclient is not installed.
        OutputConflictError
            If there is a file of this name already.
        """
        source = self.origin / os.fspath(notebook)
        target = self._require_there() / source.name
        if os.path.lexists(target):
            raise OutputConflictError(f"{printable(source.name)} is in the working directory already; remove it before")
        run_notebook(source, target, parameters or {}, timeout)
        return target

    def summary(self) -> dict[str, Any]:
        """Return what was captured, as a dictionary of JSON's types. Each file is read, to be hashed.

        The hashes are those that rows will have.
        """
        files: dict[str, Any] = {file.path: {"size": file.size, "hash": _hash(file)} for file in self.files}
        for path, link in self.links.items():
            files[path] = {"size": look_at(str(link.path)).st_size, "hash": link.hash, "linked": str(link.path)}
        return {
            "outputs": files,
            "count": len(files),
            "size": sum(file["size"] for file in files.values()),
            "seconds": round(self.seconds, 3),
            "log": self._log is not None,
        }

    def close(self) -> None:
        """Remove its files now; what was inserted is stored. Values of it cannot be inserted any more."""
        self._scratch.remove()

    def keep(self) -> Path:
        """Leave its directory and log where nobody removes them but you, and return where: when an insert fails, say.

        Values of it cannot be inserted any more. Insert the files of the directory.

        Raises
        ------
        SourceNotFoundError, ScratchError
            If they are gone, or cannot be renamed.
        """
        if self.kept is None:
            self._require_there()
            self.kept = self._scratch.keep()
        return self.kept

    def _require_there(self) -> Path:
        if not self._scratch.is_there:
            raise SourceNotFoundError("the working directory has gone with its run, which was closed, or kept")
        return self.path

    @property
    def _captured(self) -> Outputs:
        if self._outputs is None:
            raise UnsupportedValueError("the outputs are there when the block has ended well; within it, use run.path")
        return self._outputs

    def _end(self, process: int, keeping: Keeping, *, log: bool) -> None:
        if os.getpid() != process:
            raise JobError("the block of capture was left by a child that was forked in it: leave it by os._exit")
        outputs = collected(self._name, self._scratch, self._patterns)
        keeping.apply(outputs)
        self._outputs = outputs
        if log:
            home = PinnedDirectory.at(str(self._scratch.home))
            status = (self._scratch.home / LOG).stat()
            self._log = CapturedFile(home, LOG, "", look_of(status), None, status.st_size, self._scratch)


def _hash(file: CapturedFile) -> str:
    with as_source(file).open() as reader:
        hashing = HashingReader(reader, lambda _: None)
        drain(hashing)
    return hashing.hash
