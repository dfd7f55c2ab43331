"""`Link`, a file or directory that a user wants to stay where it is; what is copied though it is one; others' files.

Values only. How they become sources is told in `sources`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from datajoint_file.errors import brief
from datajoint_file.storage.backend import Reader
from datajoint_file.transfer.directories import Listing, Tree
from datajoint_file.transfer.stream_names import is_url, without_secrets


@dataclass(frozen=True, slots=True, repr=False)
class Link:
    """A file or directory that stays where it is: it is read and recorded, not copied.

    It lies below a root, which a table ``[roots.NAME]`` of ``datajoint.toml`` names, or in the project's own storage.
    Nothing linked is ever written, moved or deleted.

    Parameters
    ----------
    path : str or os.PathLike
        A path of this machine; or a URL such as ``s3://bucket/raw/run1.dat``, which ends in a slash if it is that of a
        directory.
    hash : str or None
        ``sha256:`` and 64 hexadecimal digits, of a file, if they are known: its size alone is looked at then, and its
        bytes are compared at the first read.
    name : str or None
        The original name to record; that of the path if not given.
    mime_type : str or None
        The media type to record; guessed if not given.
    title : str or None
        What people call it: a line of at most 255 characters.

    Examples
    --------
    >>> Link("/mnt/nas/rig3/run1.dat").path
    '/mnt/nas/rig3/run1.dat'
    """

    path: Any
    hash: str | None = None
    name: str | None = None
    mime_type: str | None = None
    title: str | None = None

    def __repr__(self) -> str:
        path = self.path if isinstance(self.path, str | os.PathLike) else brief(self.path)
        shown = without_secrets(os.fsdecode(path)) if is_url(os.fsdecode(path)) else path
        given = ((name, getattr(self, name)) for name in ("hash", "name", "mime_type", "title"))
        options = "".join(f", {name}={value!r}" for name, value in given if value is not None)
        return f"{type(self).__name__}({shown!r}{options})"


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A file that another system keeps: its name, how to open it, as often as it is wanted, and its size if known."""

    name: str
    opened: Callable[[], AbstractContextManager[Reader]]
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Placed:
    """A value with the address by which the store itself may take it: see `StorageBackend.take`."""

    value: Any
    address: str


@dataclass(frozen=True, slots=True)
class Copied:
    """A stored file or directory of which a copy is to be stored, also if it is a link."""

    original: Any


class CopiedTree:
    """A stored directory, of whose members copies are to be stored."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    @property
    def listing(self) -> Listing:
        """What is in it."""
        return self._tree.listing

    def value(self, name: str) -> Copied:
        """Return a copy of a member."""
        return Copied(self._tree.value(name))
