"""`capture`: a block that works in a scratch directory, and what it has made there as values for an insert.

Nothing is stored here: what is inserted is, by the insert, as files are.
"""

from __future__ import annotations

import errno
import functools
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal, NoReturn, ParamSpec

from datajoint_file.config.paths import working_directory
from datajoint_file.errors import (
    JobError,
    OutputConflictError,
    ScratchError,
    UnsupportedValueError,
    brief,
    printable,
)
from datajoint_file.formats.objects import write
from datajoint_file.jobs.inputs import check_names, laid_out
from datajoint_file.jobs.linking import Keeping
from datajoint_file.jobs.log import recorded
from datajoint_file.jobs.notebook import run_notebook
from datajoint_file.jobs.outputs import CapturedDirectory, CapturedFile, Outputs, collected
from datajoint_file.jobs.patterns import Patterns
from datajoint_file.jobs.process import is_main_thread, working_in
from datajoint_file.jobs.program import run_program
from datajoint_file.jobs.scratch import Scratch
from datajoint_file.model.names import check_name
from datajoint_file.model.wording import counted, format_size
from datajoint_file.transfer.directories import look_of
from datajoint_file.transfer.hashing import HashingReader, drain
from datajoint_file.transfer.links import Link
from datajoint_file.transfer.pinned_directory import PinnedDirectory
from datajoint_file.transfer.sources import as_source

_P = ParamSpec("_P")

_FULL = (errno.ENOSPC, errno.EDQUOT)

_LOG = "execution.log"

logger = logging.getLogger("datajoint_file.jobs")


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
        Where its directory and its log are, if it has failed and ``on_failure="keep"`` was given.
    """

    def __init__(self, scratch: Scratch, patterns: Patterns, name: str) -> None:
        self.path = scratch.work
        self.origin = working_directory()
        self.result: Any = None
        self.seconds = 0.0
        self.kept: Path | None = None
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
        """All that was captured, as one directory, with the tree as it is. Insert it."""
        return self._captured.whole

    @property
    def files(self) -> list[CapturedFile]:
        """All files that were captured, sorted by path, one by one: for the rows of a part table, say."""
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
        path = self.path / check_name(name)
        if os.path.lexists(path):
            raise OutputConflictError(
                f"{printable(name)} is there already: the job has written it, and another output would take its place; "
                "give it another name"
            )
        write(name, content, path)
        return path

    def command(self, arguments: Sequence[Any], **options: Any) -> None:
        """Run a program in the working directory, and wait for it. What it says goes where that of the job goes.

        Parameters
        ----------
        arguments : sequence of str or os.PathLike
            The program and its arguments; no shell reads them. Stored files are given as paths of this machine.
        **options
            ``timeout`` and ``env``, as of `subprocess.run`.

        Raises
        ------
        ProgramError
            If there is no such program, it ends with another code than 0, or not in time.

        Examples
        --------
        >>> run.command(["ffmpeg", "-i", "raw.avi", "movie.mp4"])  # doctest: +SKIP
        """
        run_program(arguments, self.path, **options)

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
        target = self.path / source.name
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
            files[path] = {"size": os.stat(link.path).st_size, "hash": link.hash, "linked": str(link.path)}
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
            status = (self._scratch.home / _LOG).stat()
            self._log = CapturedFile(home, _LOG, "", look_of(status), None, status.st_size, self._scratch)
        logger.info("captured %r in %.1f s", self.directory, self.seconds)


@contextmanager
def capture(
    put: Any = (),
    *,
    log: bool = False,
    inputs: Mapping[str, Any] | None = None,
    keep: Mapping[str, Literal["copy", "link"]] | None = None,
    link_to: str | os.PathLike[str] | None = None,
    on_failure: Literal["discard", "keep"] = "discard",
    scratch: str | os.PathLike[str] | None = None,
    chdir: bool | None = None,
    name: str = "outputs",
) -> Iterator[Run]:
    """Run a block in an empty directory of its own, and take what it makes there.

    The directory is the working directory until the block ends. Then nothing is stored yet: insert ``run.directory``,
    ``run["df.csv"]``, ``run.files`` or ``run.log``. The directory goes with the last of these values and the run, at
    the latest with the process; one of a process that was killed goes when the next is made.

    Parameters
    ----------
    put : str, sequence of str, or mapping
        What to take: paths of files (``"df.csv"``), directories (``"results/"``, with all that is in them) and globs
        (``"plots/*.png"``, ``"**/*.csv"``), as pathlib has them. What ``"!**/*.tmp"`` matches is left out. A mapping
        gives patterns titles: ``{"df.csv": "main output"}``.
    log : bool
        Whether to write down standard output and error, of children and C libraries too, logging and warnings.
    inputs : mapping, optional
        Stored files and directories that are laid into the directory before, as by `inputs`; they are no outputs.
    keep : mapping, optional
        Of patterns to ``"copy"``, as it is with others, or ``"link"``: such files are moved to *link_to*, and what is
        inserted is a `Link` to them. The first pattern that matches counts.
    link_to : str or os.PathLike, optional
        A directory below a root of ``datajoint.toml``. Each run makes one of its own in it, and nobody removes that.
    on_failure : {"discard", "keep"}
        What to do with the directory, and the log, of a block that raises: ``"keep"`` leaves them, for you to remove,
        and says where, in the log of this package and a note of the error.
    scratch : str or os.PathLike, optional
        A directory on the disk to work on; else ``[scratch] path`` of ``datajoint.toml``, or that of temporary files.
    chdir : bool, optional
        Whether to change the working directory, which all threads share. By default it is in the main thread; in others
        write to ``run.path``.
    name : str
        What the directory of all outputs is called.

    Yields
    ------
    Run
        With `path` within the block; and after it `directory`, ``run["df.csv"]``, `files`, `links`, `log`, `summary`.

    Raises
    ------
    OutputMissingError
        At the end, if a file or directory that was named was not made.
    NothingMatchesError
        At the end, if a glob matches nothing.
    SourceNotRegularError, SourceAccessError, UnsafeNameError
        At the end, if what is to be taken cannot be stored.
    OutputConflictError
        If an input has the name of an output.
    ScratchError
        If no directory can be made, or a disk was full.
    DestinationError
        If *link_to* is no directory, or cannot be written to.
    UnsupportedValueError
        If *put* is no pattern; if another thread has the working directory, or standard output.

    Examples
    --------
    >>> import datajoint_file
    >>> with datajoint_file.capture(put=["df.csv", "plots/*.png"]) as run:
    ...     _ = Path("df.csv").write_text("unit,rate")
    ...     Path("plots").mkdir()
    ...     _ = Path("plots/unit1.png").write_bytes(b"PNG")
    >>> run.files
    [CapturedFile('df.csv', 9 B), CapturedFile('plots/unit1.png', 3 B)]
    """
    given = dict(inputs or {})
    check_names(given)
    patterns, keeping = Patterns.read(put, given), Keeping(keep, link_to)
    _check(patterns, given, on_failure)
    home = Scratch.made(scratch)
    run = Run(home, patterns, check_name(name))
    process = os.getpid()
    try:
        with ExitStack() as stack:
            stack.enter_context(laid_out(given, home.work))
            stack.enter_context(working_in(home.work) if _changes(chdir) else nullcontext())
            stack.enter_context(recorded(home.home / _LOG) if log else nullcontext())
            start = time.monotonic()
            yield run
            run.seconds = time.monotonic() - start
        run._end(process, keeping, log=log)
    except BaseException as error:
        if os.getpid() == process:
            _failed(run, home, on_failure, error)
        raise


def captures(
    put: Any = (), *, returns: str | None = None, **options: Any
) -> Callable[[Callable[_P, Any]], Callable[_P, Run]]:
    """Make of a function one that runs in a block of `capture`, and returns the `Run`; ``run.result`` is its own.

    Parameters
    ----------
    put
        As of `capture`.
    returns : str, optional
        The name of a file, such as ``"model.npz"``: what the function returns is written to it, by the format of its
        suffix as an insert does, and captured.
    **options
        As of `capture`.

    Examples
    --------
    >>> import datajoint_file
    >>> @datajoint_file.captures(put="notes.txt", returns="rates.json")
    ... def analyse(count):
    ...     _ = Path("notes.txt").write_text("fine")
    ...     return {"rate": count / 10}
    >>> run = analyse(42)
    >>> run.files, run.result
    ([CapturedFile('notes.txt', 4 B), CapturedFile('rates.json', 16 B)], {'rate': 4.2})
    """
    wanted = put if returns is None else _added(put, check_name(returns))
    Patterns.read(wanted)

    def decorated(function: Callable[_P, Any]) -> Callable[_P, Run]:
        @functools.wraps(function)
        def captured(*args: _P.args, **kwargs: _P.kwargs) -> Run:
            with capture(wanted, **options) as run:
                run.result = function(*args, **kwargs)
                if returns is not None:
                    run.save(returns, run.result)
            return run

        return captured

    return decorated


def _added(put: Any, name: str) -> Any:
    if isinstance(put, Mapping):
        return {**put, name: put.get(name)}
    return [put, name] if isinstance(put, str | os.PathLike) else [*put, name]


def _check(patterns: Patterns, given: Mapping[str, Any], on_failure: str) -> None:
    if on_failure not in ("discard", "keep"):
        raise UnsupportedValueError(f'on_failure = {brief(on_failure)}: give "discard" or "keep"')
    for one in patterns.wanted:
        if any(one.text.rstrip("/") == name.rstrip("/") for name in given):
            raise OutputConflictError(
                f"{printable(one.text)} is an input and an output of the job: give one of them another name"
            )


def _changes(chdir: bool | None) -> bool:
    return is_main_thread() if chdir is None else chdir


def _hash(file: CapturedFile) -> str:
    with as_source(file).open() as reader:
        hashing = HashingReader(reader, lambda _: None)
        drain(hashing)
    return hashing.hash


def _failed(run: Run, home: Scratch, on_failure: str, error: BaseException) -> None:
    """Remove what a block has left that has failed, or say where it is; and which disk was full."""
    free = shutil.disk_usage(home.home).free if home.is_there else 0
    if on_failure == "keep" and home.is_there:
        run.kept = home.keep()
        told = f"what the job has made is kept in {printable(str(run.kept))}; remove it when you have seen it"
        logger.warning("%s: %s", type(error).__name__, told)
        if hasattr(error, "add_note"):  # not in Python 3.10
            error.add_note(told)
    home.remove()
    if isinstance(error, OSError) and error.errno in _FULL and not isinstance(error, ScratchError):
        raise ScratchError(
            f"a disk was full while the job ran; on that of its scratch directory, {printable(str(home.home.parent))}, "
            f"are {format_size(free)} free: free some, or name another disk by capture(scratch=…) or [scratch] path in "
            "datajoint.toml. Nothing was stored"
        ) from error
