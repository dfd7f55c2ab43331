"""Log of a job: all that a process and its children write to standard output and error, in one file, in order.

For the block, descriptors 1 and 2 are that file, so that neither C libraries nor children can miss it, and nobody waits
for a reader, as of a pipe: code that writes while it holds the interpreter would wait for ever. What comes into it, a
thread shows on what was standard output before.
"""

from __future__ import annotations

import codecs
import io
import logging
import os
import shutil
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from datajoint_file.errors import printable
from datajoint_file.jobs.process import Claim, opened

_SECONDS = 0.1
"""So often it is looked what has come into the file."""

_CHUNK = 2**16

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND

_claim = Claim("standard output", "leave log=True to one, or use processes instead of threads")

_OUT, _ERR = 1, 2

_QUOTED_LINES, _QUOTED_LENGTH = 8, 160
"""Of the end of a log, in an error: DataJoint's jobs table has room for so much."""


@contextmanager
def recorded(path: Path) -> Iterator[None]:
    """Write what the process says in a block, and its children, to a new file at *path*; show it as well.

    Of what is logged, all is in it: what handlers write to standard output or error, and what only goes to files. If
    the block raises, the traceback is the end. What children write after the block is not in it. In a child made by
    fork that leaves the block, nothing is changed.

    Raises
    ------
    UnsupportedValueError
        If another thread does so.
    """
    growing = _growing(path)
    with _claim.held():
        process, file = os.getpid(), opened(growing, _NEW, 0o600)
        try:
            with _shown(file), _diverted(file) as streams, _complete(file, streams):
                yield
        except BaseException as error:
            if os.getpid() == process:
                with suppress(OSError):  # a disk that is full: the job's own error matters more
                    _write(file, "".join(traceback.format_exception(error)))
            raise
        finally:
            os.close(file)
            if os.getpid() == process:
                _finish(growing, path)


def last_words(path: Path) -> Callable[[], str]:
    """Return what tells the last lines that come into the log at *path* from now on; without a log, where to look."""
    growing = _growing(path)
    try:
        start = growing.stat().st_size
    except FileNotFoundError:
        return lambda: "What it said is on standard error; with log=True its last lines stand here"

    def told() -> str:
        with growing.open("rb") as file:
            file.seek(max(start, growing.stat().st_size - _CHUNK))
            lines = [line.expandtabs().rstrip() for line in file.read().decode("utf-8", "replace").splitlines()]
        last = [printable(line[:_QUOTED_LENGTH]) for line in lines if line][-_QUOTED_LINES:]
        return "\n  ".join(["The last that it said:", *last]) if last else "It said nothing"

    return told


def _growing(path: Path) -> Path:
    return path.with_name(f"{path.name}.growing")


def _finish(growing: Path, path: Path) -> None:
    """Make a copy, which nobody has open any more; if there is no room for it, the file itself."""
    try:
        shutil.copyfile(growing, path)
        growing.unlink()
    except OSError:
        growing.replace(path)


@contextmanager
def _shown(file: int) -> Iterator[None]:
    """Copy what comes into *file* to where standard output goes now: a stream of Python's (notebook, test), or 1."""
    stream = None if _descriptor(sys.stdout) in (_OUT, _ERR) else sys.stdout
    terminal = _duplicate(_OUT) if stream is None else None
    echo = _Echo(file, stream, terminal)
    echo.start()
    try:
        yield
    finally:
        echo.end()
        if terminal is not None:
            os.close(terminal)


class _Echo(threading.Thread):
    def __init__(self, file: int, stream: TextIO | None, terminal: int | None) -> None:
        super().__init__(name="datajoint-file log", daemon=True)
        self._file = file
        self._stream = stream
        self._terminal = terminal
        self._position = 0
        self._process = os.getpid()
        self._ended = threading.Event()
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def run(self) -> None:
        while not self._ended.wait(_SECONDS):
            self._copy()

    def end(self) -> None:
        if os.getpid() == self._process:
            self._ended.set()
            self.join()
            self._copy()

    def _copy(self) -> None:
        with suppress(OSError, ValueError):  # where it was shown is closed: that is no reason for the job to fail
            while chunk := os.pread(self._file, _CHUNK, self._position):
                self._position += len(chunk)
                self._show(chunk)

    def _show(self, chunk: bytes) -> None:
        if self._stream is not None:
            self._stream.write(self._decode(chunk))
            self._stream.flush()
        elif self._terminal is not None:
            left = memoryview(chunk)
            while left:
                left = left[os.write(self._terminal, left) :]


@contextmanager
def _diverted(file: int) -> Iterator[list[Any]]:
    """Let 1 and 2 be *file*, and Python's streams write there, for a block; give these, and those they stand for."""
    process = os.getpid()
    with ExitStack() as stack:
        _flush()
        for descriptor in (_OUT, _ERR):
            stack.callback(_restore, descriptor, _duplicate(descriptor), process)
            os.dup2(file, descriptor)
        stack.callback(_flush)
        streams = [stack.enter_context(_stream_diverted(name, file)) for name in ("stdout", "stderr")]
        yield streams


@contextmanager
def _stream_diverted(name: str, file: int) -> Iterator[Any]:
    """Let a stream of Python's write to *file* line by line: as it is if it writes to 1 or 2, else another for it."""
    before = getattr(sys, name)
    if _descriptor(before) in (_OUT, _ERR) and isinstance(before, io.TextIOWrapper):
        was = before.line_buffering
        before.reconfigure(line_buffering=True)
        try:
            yield before
        finally:
            before.reconfigure(line_buffering=was)
        return
    with open(os.dup(file), "w", buffering=1, encoding="utf-8", errors="backslashreplace") as stream:
        setattr(sys, name, stream)
        moved = [handler for handler in _handlers() if before is not None and handler.stream is before]
        for handler in moved:
            handler.setStream(stream)
        try:
            yield stream
        finally:
            if getattr(sys, name) is stream:
                setattr(sys, name, before)
            for handler in moved:
                if handler.stream is stream:
                    handler.setStream(before)


@contextmanager
def _complete(file: int, streams: list[Any]) -> Iterator[None]:
    """Write records of `logging` that no handler writes to *streams*, and Python itself does not show."""
    before = logging.getLogRecordFactory()
    make = getattr(before, "stands_for", before)  # of a block around this one: what it gets comes by this one's file
    formatter = logging.Formatter(logging.BASIC_FORMAT)

    def noted(*args: Any, **options: Any) -> logging.LogRecord:
        record: logging.LogRecord = make(*args, **options)
        if not _is_shown(record, streams):
            with suppress(Exception):  # as `logging` does with a message that cannot be formatted
                _write(file, f"{formatter.format(record)}\n")
        return record

    noted.stands_for = make  # type: ignore[attr-defined]
    logging.setLogRecordFactory(noted)
    try:
        yield
    finally:
        if logging.getLogRecordFactory() is noted:
            logging.setLogRecordFactory(before)


def _is_shown(record: logging.LogRecord, streams: list[Any]) -> bool:
    logger: logging.Logger | None = logging.getLogger(record.name)
    is_handled = False
    while logger is not None:
        for handler in logger.handlers:
            is_handled = True
            if _is_on(handler, streams) and record.levelno >= handler.level:
                return True
        logger = logger.parent if logger.propagate else None
    last = logging.lastResort
    return not is_handled and last is not None and record.levelno >= last.level


def _is_on(handler: logging.Handler, streams: list[Any]) -> bool:
    """Tell whether a handler writes to the terminal; those of rich have one that they call a console."""
    if hasattr(handler, "console"):
        return True
    stream = getattr(handler, "stream", None)
    return any(stream is one for one in streams) or _descriptor(stream) in (_OUT, _ERR)


def _handlers() -> Iterator[logging.StreamHandler[Any]]:
    """Give the handlers of all loggers that write to streams."""
    loggers = [logging.getLogger(), *logging.getLogger().manager.loggerDict.values()]
    for logger in loggers:
        for handler in getattr(logger, "handlers", ()):
            if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
                yield handler


def _descriptor(stream: Any) -> int | None:
    with suppress(Exception):  # a stream of a notebook, a test, or none
        return int(stream.fileno())
    return None


def _duplicate(descriptor: int) -> int | None:
    with suppress(OSError):  # a program without a terminal
        return os.dup(descriptor)
    return None


def _restore(descriptor: int, saved: int | None, process: int) -> None:
    if os.getpid() != process:
        return
    if saved is None:
        os.close(descriptor)
        return
    os.dup2(saved, descriptor)
    os.close(saved)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()


def _write(file: int, text: str) -> None:
    left = memoryview(text.encode("utf-8", "backslashreplace"))
    while left:
        left = left[os.write(file, left) :]
