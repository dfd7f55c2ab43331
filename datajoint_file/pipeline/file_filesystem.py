"""fsspec filesystem over one stored file, under its own name; else as that over a directory.

For what takes a filesystem and a path, and for what takes a URL: see `universal_path`.
"""

from __future__ import annotations

import errno
from typing import Any

from datajoint_file.errors import MemberNotFoundError, brief, printable
from datajoint_file.model.manifest import Member
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.pipeline.filesystem import DirectoryFileSystem, described, registered


@registered
class FileFileSystem(DirectoryFileSystem):
    """One stored file; made by `FileRef.fs`. Its path is its original name.

    Verified as a file in a directory is.

    Parameters
    ----------
    row : str
        The row's JSON, as text.
    pipeline : str
        The name of the pipeline that reads it.
    """

    protocol = "datajoint+file"
    _is_listed = False

    def _absent(self, path: str) -> MemberNotFoundError:
        return MemberNotFoundError(errno.ENOENT, f"{brief(path)} is not here")

    def _near(self, _path: str) -> str:
        return f"there is {printable(self.metadata.original_name)}"

    def _find_member(self, path: str) -> Member | None:
        name = self.metadata.original_name
        is_this = self._strip_protocol(path) == name
        return Member(name, self.metadata.size, self.metadata.hash.partition(":")[2]) if is_this else None

    def _is_directory(self, path: str) -> bool:
        return not self._strip_protocol(path)

    def _listed(self, path: str) -> list[dict[str, Any]]:
        name = self.metadata.original_name
        return [described(name, self._member(self._strip_protocol(path) or name))]

    def _members(self, path: str) -> dict[str, Member]:
        name = self.metadata.original_name
        return {name: self._member(self._strip_protocol(path) or name)}

    def _metadata_of(self, path: str) -> FileMetadata:
        self._member(path)
        return self.metadata
