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
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, Literal, ParamSpec

from datajoint_file.concurrency.termination import ended_by_sigterm
from datajoint_file.errors import (
    DataJointFileError,
    OutputConflictError,
    ScratchError,
    UnsupportedValueError,
    brief,
    printable,
)
from datajoint_file.jobs.inputs import check_names, laid_out
from datajoint_file.jobs.linking import Keeping
from datajoint_file.jobs.log import recorded
from datajoint_file.jobs.patterns import Patterns
from datajoint_file.jobs.process import is_main_thread, working_in
from datajoint_file.jobs.run import LOG, Run
from datajoint_file.jobs.scratch import Scratch
from datajoint_file.model.names import check_name
from datajoint_file.model.wording import format_size

_P = ParamSpec("_P")

_FULL = (errno.ENOSPC, errno.EDQUOT)

logger = logging.getLogger("datajoint_file.jobs")


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
        What to do with the directory, and the log, of a block that raises, or is ended by SIGTERM: ``"keep"`` leaves
        them, for you to remove, and says where, in the log of this package, and in the error or a note of it. Where the
        block has ended well, and what it has made cannot be taken, they are left in any case. Of an insert afterwards
        it knows nothing: see `Run.keep`.
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
        At the end, if a glob matches nothing, or a pattern of *keep* nothing of what is taken.
    SourceNotRegularError, SourceAccessError, UnsafeNameError
        At the end, if what is to be taken cannot be stored.
    OutputConflictError
        If an input has the name of an output.
    ScratchError
        If no directory can be made, or a disk was full.
    DestinationError
        If *link_to* is no directory, or cannot be written to.
    UnknownRootError
        Before the block, if *link_to* lies below no root of the pipelines in use, and of ``datajoint.toml``.
    UnsupportedValueError
        If *put* is no pattern; if another thread has the working directory, or standard output.

    Examples
    --------
    >>> import datajoint_file
    >>> from pathlib import Path
    >>> with datajoint_file.capture(put=["df.csv", "plots/*.png"]) as run:
    ...     _ = Path("df.csv").write_text("unit,rate")
    ...     Path("plots").mkdir()
    ...     _ = Path("plots/unit1.png").write_bytes(b"PNG")
    >>> run.files
    [CapturedFile('df.csv', 9 B), CapturedFile('plots/unit1.png', 3 B)]
    """
    given = check_names(inputs or {})
    patterns, keeping = Patterns.read(put, given), Keeping(keep, link_to)
    _check(patterns, given, on_failure)
    home = Scratch.made(scratch)
    run = Run(home, patterns, check_name(name))
    process = os.getpid()
    try:
        with ended_by_sigterm():
            with ExitStack() as stack:
                stack.enter_context(laid_out(given, home.work))
                stack.enter_context(working_in(home.work) if _changes(chdir) else nullcontext())
                stack.enter_context(recorded(home.home / LOG) if log else nullcontext())
                start = time.monotonic()
                yield run
                run.seconds, run.has_ended_well = time.monotonic() - start, True
            run._end(process, keeping, log=log)
        logger.info("captured %r in %.1f s", run.directory, run.seconds)
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
    >>> from pathlib import Path
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
                run.has_ended_well = True
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


def _failed(run: Run, home: Scratch, on_failure: str, error: BaseException) -> None:
    """Remove what a block has left that has failed, or say where it is; and which disk was full."""
    is_full = isinstance(error, OSError) and error.errno in _FULL and not isinstance(error, ScratchError)
    free = _free(home) if is_full else ""
    told = _kept(run, error) if home.is_there and (on_failure == "keep" or run.has_ended_well) else ""
    home.remove()
    if is_full:
        raise ScratchError(
            f"a disk was full while the job ran; on that of its scratch directory, {printable(str(home.home.parent))}, "
            f"are {free} free: free some, or name another disk by capture(scratch=…) or [scratch] path in "
            f"datajoint.toml. Nothing was stored. {told}".rstrip()
        ) from error
    if told and isinstance(error, DataJointFileError):  # so that the message has it, which jobs tables show
        error.args = (f"{str(error).rstrip('.')}. {told}",)
    elif told and hasattr(error, "add_note"):  # not in Python 3.10
        error.add_note(told)


def _free(home: Scratch) -> str:
    try:
        return format_size(shutil.disk_usage(home.home.parent).free)
    except OSError:  # the job has removed it: its own error matters more
        return "an unknown number of bytes"


def _kept(run: Run, error: BaseException) -> str:
    """Keep what a block has made; return what is to be said of that."""
    try:
        told = f"What the job has made is kept in {printable(str(run.keep()))}; remove it when you have seen it"
    except ScratchError as lost:
        told = f"What the job has made could not be kept: {lost}"
    logger.warning("%s: %s", type(error).__name__, told)
    return told
