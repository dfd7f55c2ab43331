"""Ways in which bytes become a file: copied, taken by the store itself, hard linked, or linked where they are."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from datajoint_file.errors import UnsupportedValueError
from datajoint_file.migrate.originals import Original
from datajoint_file.transfer.links import Link, Placed

HardLink = Literal["", "read-only", "all"]
HARD_LINKS: tuple[HardLink, ...] = ("", "read-only", "all")


@dataclass(frozen=True, slots=True)
class Ways:
    """What a user has chosen, and the settings of the project's store."""

    storage: Any
    links: bool = False
    hard_link: HardLink = ""

    def value(self, original: Original) -> Any:
        """Return what an insert takes."""
        return self._chosen(original)[1]

    def told(self, original: Original) -> str:
        """Return what reports call it. What a store cannot take after all is copied."""
        return self._chosen(original)[0]

    def _chosen(self, original: Original) -> tuple[str, Any]:
        if self.links:
            if not original.path:
                raise UnsupportedValueError(f"{original.place} is no file on this machine that could be linked")
            return "linked", Link(original.path)
        if self.hard_link and original.path and self.storage.backend == "file":
            if self.hard_link == "all" or _is_read_only(original.path):
                return "hard linked", Placed(original.value, os.path.realpath(original.path))
        elif address := original.address(self.storage):
            return "copied in the store", Placed(original.value, address)
        return "copied", original.value


def _is_read_only(path: str) -> bool:
    """Tell whether nobody may write to a file, or to any file of a directory."""
    found = [Path(os.path.realpath(path))]
    if found[0].is_dir():
        found = [Path(place, name) for place, _, names in os.walk(found[0]) for name in names]
    return not any(one.lstat().st_mode & 0o222 for one in found)
