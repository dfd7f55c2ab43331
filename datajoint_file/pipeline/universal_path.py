"""Paths of universal-pathlib over stored files and directories, for libraries that take a `UPath`.

What they read, the filesystems below them say.
"""

from __future__ import annotations

from upath import UPath
from upath.registry import register_implementation

from datajoint_file.pipeline.file_filesystem import FileFileSystem
from datajoint_file.pipeline.filesystem import DirectoryFileSystem


class StoredPath(UPath):
    """A path in a stored directory, or of a stored file: read only, without secrets, picklable.

    Made by `DirectoryRef.upath` and `FileRef.upath`.
    """

    __slots__ = ()

    def read_bytes(self) -> bytes:
        """Return all bytes, verified; what `open` gives of a file of more than 16 MiB is not."""
        content: bytes = self.fs.cat_file(self.path)
        return content

    def read_text(self, encoding: str | None = None, errors: str | None = None, newline: str | None = None) -> str:
        """Return all text, verified; as `open` gives it."""
        text: str = self.fs.read_text(self.path, encoding, errors, newline)
        return text


for _kind in (DirectoryFileSystem, FileFileSystem):
    register_implementation(_kind.protocol, StoredPath, clobber=True)


def path_over(filesystem: DirectoryFileSystem, path: str = "") -> UPath:
    """Return a path within a filesystem; its top, if none is given."""
    return StoredPath(path, protocol=filesystem.protocol, **filesystem.given)
