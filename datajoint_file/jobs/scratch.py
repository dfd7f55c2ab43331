"""Scratch directory of a job: made on a chosen disk, removed when nothing refers to it any more, swept after a kill.

Whoever makes one sweeps those whose process is gone before: their locks, which the kernel gives up, are free. Neither
age nor number of a process says so. What a job wrote there is the business of `outputs`.
"""

from __future__ import annotations

import os
import platform
import re
import secrets
import shutil
import stat
import tempfile
import weakref
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

from datajoint_file.concurrency.file_lock import FileLock
from datajoint_file.config.loader import find_scratch_settings
from datajoint_file.config.paths import anchored, configuration_start, working_directory
from datajoint_file.errors import ScratchError, printable, reason_of
from datajoint_file.jobs.process import opened

_NEW_LOCK = os.O_RDWR | os.O_CREAT | os.O_EXCL
_OLD_LOCK = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
_WAY_ON = "name another disk by capture(scratch=…), [scratch] path in datajoint.toml, or DATAJOINT_FILE__SCRATCH__PATH"


class Scratch:
    """A directory of one job; made by `made`. It goes with the last reference to it, and at the end of the process.

    Not in a child made by fork, whose parent has it.
    """

    def __init__(self, home: Path, lock: FileLock) -> None:
        self.home = home
        self._lock = lock
        self._removal = weakref.finalize(self, _remove, str(home), lock, os.getpid())

    @classmethod
    def made(cls, disk: str | os.PathLike[str] | None) -> Scratch:
        """Make one on *disk*, a directory; else where the configuration says, or the system has temporary files.

        What killed processes of this machine have left there is removed.

        Raises
        ------
        ScratchError
            If there is no such directory, it cannot be written to, or the disk is full.
        """
        base = _base(_disk(disk))
        _sweep(base)
        home, lock = _claimed(base)
        try:
            home.mkdir(0o700)
            (home / "work").mkdir()
        except OSError as error:
            _remove(str(home), lock, os.getpid())
            raise _told(base, error) from error
        return cls(home, lock)

    @property
    def work(self) -> Path:
        """The working directory of the job."""
        return self.home / "work"

    @property
    def is_there(self) -> bool:
        """Whether it has not been removed, by `remove` or as what was kept."""
        return self._removal.alive

    def remove(self) -> None:
        """Remove it now. A second time nothing happens."""
        self._removal()

    def keep(self) -> Path:
        """Give it a name under which nobody removes it, and return that.

        Raises
        ------
        ScratchError
            If it is not there, or cannot be renamed.
        """
        kept = self.home.with_name(f"kept-{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}")
        try:
            self.home.rename(kept)
        except OSError as error:
            raise ScratchError(f"{printable(str(self.home))} cannot be kept: {reason_of(error)}") from error
        self._removal()
        return kept


def _disk(given: str | os.PathLike[str] | None) -> Path:
    if given is not None:
        return anchored(os.fspath(given), working_directory())
    settings, directory = find_scratch_settings(configuration_start())
    return anchored(settings.path, directory) if settings.path else Path(tempfile.gettempdir()).absolute()


def _base(disk: Path) -> Path:
    """Return the directory of all scratch directories of this user on a disk. Others cannot look into it."""
    base = disk / f"datajoint-file-scratch-{os.geteuid()}"
    try:
        with suppress(FileExistsError):
            base.mkdir(0o700)
        status = base.lstat()
    except OSError as error:
        raise _told(disk, error) from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise ScratchError(
            f"{printable(str(base))} is no directory of this user alone, so others could exchange what jobs write: "
            f"remove it if it is yours (or chmod 700), or {_WAY_ON}"
        )
    return base


def _told(place: Path, error: OSError) -> ScratchError:
    return ScratchError(f"no scratch directory can be made in {printable(str(place))}: {reason_of(error)}; {_WAY_ON}")


def _prefix() -> str:
    """Return how names of this machine begin: locks of others may be out of sight."""
    return f"{re.sub('[^A-Za-z0-9.]', '_', platform.node())}-"


def _claimed(base: Path) -> tuple[Path, FileLock]:
    """Return a new name, with its lock. It is tried again if somebody who sweeps has got it in between."""
    while True:
        home = base / f"{_prefix()}{secrets.token_hex(8)}"
        try:
            lock = FileLock(opened(f"{home}.lock", _NEW_LOCK, 0o600))
        except OSError as error:
            raise _told(base, error) from error
        if lock.take() and os.fstat(lock.descriptor).st_nlink:
            return home, lock
        lock.close()


def _sweep(base: Path) -> None:
    """Remove what nobody holds the lock of. Where there are no locks, nothing is removed."""
    for path in base.glob(f"{_prefix()}*.lock"):
        with suppress(OSError):
            lock = FileLock(os.open(path, _OLD_LOCK))
            if lock.take_for_sure():
                _remove(str(path.with_suffix("")), lock, os.getpid())
            else:
                lock.close()


def _remove(home: str, lock: FileLock, process: int) -> None:
    """Remove a scratch directory, its lock last. What cannot be removed is left with it to the next who sweeps."""
    if os.getpid() != process:
        return
    if os.path.lexists(home):
        _make_removable(home)
        shutil.rmtree(home, ignore_errors=True)
    if not os.path.lexists(home):
        with suppress(OSError):
            os.unlink(f"{home}.lock")
    lock.close()


def _make_removable(home: str) -> None:
    """Give this user the right to remove what is in its directories: some jobs take it away."""
    for place, directories, _ in os.walk(home):
        for name in directories:
            with suppress(OSError):
                path = os.path.join(place, name)
                if stat.S_ISDIR(os.lstat(path).st_mode):
                    os.chmod(path, 0o700)
