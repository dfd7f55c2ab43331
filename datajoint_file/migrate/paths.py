"""Kind of attributes that hold paths of files as text: absolute ones, or such as begin at a directory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from datajoint_file.errors import SourceAccessError, SourceNotFoundError, UnsupportedValueError, printable
from datajoint_file.migrate.originals import REMAINS, OldValue, Original
from datajoint_file.transfer.sources import as_source
from datajoint_file.transfer.stream_names import is_url, without_secrets


@dataclass(frozen=True, slots=True)
class PathKind:
    """Text that is a path of this machine, below *root* if there is one."""

    title: str
    root: str = ""

    @property
    def remains(self) -> str:
        """What becomes of the old bytes when the attribute is dropped."""
        return REMAINS

    def original(self, old: OldValue) -> Original:
        """Return the file or directory of a path."""
        text = old.text or ""
        if not text:
            raise SourceNotFoundError("the path is empty")
        if ":/" in text and is_url(text):
            raise UnsupportedValueError(f"{printable(without_secrets(text))} is a URL, and no path of this machine")
        if not self.root and not Path(text).is_absolute():
            raise UnsupportedValueError(f"{printable(text)} is a relative path: say by root= (--root) where it begins")
        path = os.path.normpath(Path(self.root or "/").absolute() / text)
        if self.root:
            top, real = os.path.realpath(self.root), os.path.realpath(path)
            if os.path.commonpath([top, real]) != top:
                raise SourceAccessError(f"{printable(text)} is outside {printable(self.root)}: {printable(real)}")
        as_source(path)
        return Original(path, path, printable(path))
