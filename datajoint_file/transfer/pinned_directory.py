"""Pinned directory: the one that a path led to when it was looked at; what is read below it is found by no link.

Whoever may write to it, or to a directory above, can put a link in the place of what was looked at, at any moment.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field

from datajoint_file.storage.disk.walk import open_below, open_real

_LIST = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)


@dataclass(frozen=True, slots=True)
class PinnedDirectory:
    """A directory by its real path. Nothing is kept open: other processes, which get a pickle of it, can use it, too.

    On other machines links of their own may lead to it: there the path that was given is taken if it leads to a
    directory of the same number, else the real one.
    """

    path: str  # as it was given
    real: str
    number: int = field(repr=False)
    host: str = field(repr=False)

    @classmethod
    def at(cls, path: str, top: str = "") -> PinnedDirectory:
        """Return the directory at an absolute *path*; of that, what is below *top* must have no link, if it is given.

        Raises
        ------
        OSError
            If there is none, or it may not be listed; `LinkOnTheWayError` if there is such a link.
        """
        real = os.path.realpath(path)
        if top:
            real = f"{os.path.realpath(top)}/{os.path.relpath(path, top)}"
        descriptor = open_real(real, _LIST)
        try:
            return cls(path, real, os.fstat(descriptor).st_ino, platform.node())
        finally:
            os.close(descriptor)

    def open(self, below: str, flags: int) -> int:
        """Open a file *below* it. The caller closes it.

        Raises
        ------
        LinkOnTheWayError
            If it is a link, or reached by one.
        OSError
            If it is not there, or may not be opened.
        """
        if self.host == platform.node():
            return open_real(f"{self.real}/{below}", flags)
        root = self._found_elsewhere()
        try:
            return open_below(root, below, flags)
        finally:
            os.close(root)

    def open_directory(self, below: str) -> int:
        """Open a directory *below* it, or it, to be listed; else as `open`."""
        return self.open(below, _LIST)

    def _found_elsewhere(self) -> int:
        try:
            descriptor = os.open(self.path, _LIST)
        except OSError:
            return open_real(self.real, _LIST)
        if os.fstat(descriptor).st_ino == self.number:
            return descriptor
        os.close(descriptor)
        return open_real(self.real, _LIST)
