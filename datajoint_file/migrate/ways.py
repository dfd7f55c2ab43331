"""Ways in which bytes become a file: copied, taken by the store itself, hard linked, or linked where they are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from datajoint_file.errors import UnsupportedValueError, brief
from datajoint_file.migrate.originals import Original
from datajoint_file.transfer.links import Link, Placed

HardLink = Literal["", "read-only", "all"]
HARD_LINKS: tuple[HardLink, ...] = ("", "read-only", "all")


@dataclass(frozen=True, slots=True)
class Options:
    """What a user has chosen for a migration, as `Migration` takes it; the root is an absolute path, or empty.

    Raises
    ------
    UnsupportedValueError
        If two of them do not go together.
    """

    root: str = ""
    link: bool = False
    hard_link: HardLink = ""
    suffix: str = ""

    def __post_init__(self) -> None:
        if self.hard_link not in HARD_LINKS or (self.link and self.hard_link):
            raise UnsupportedValueError(
                f"hard_link = {brief(self.hard_link)}: give 'read-only' or 'all', and no link with it"
            )

    def with_earlier(self, facts: Mapping[str, Any]) -> Options:
        """Return them with what an earlier step has noted of those that are not given; of the two links, of neither."""
        given = {name: value for name, value in asdict(self).items() if value}
        links = {"link", "hard_link"}
        wanted = {"root", "suffix"} if links & given.keys() else {"root", "suffix", *links}
        return Options(**{name: facts[name] for name in wanted & facts.keys()} | given)


@dataclass(frozen=True, slots=True)
class Ways:
    """The ways that a user has chosen, and the settings of the project's store."""

    storage: Any
    options: Options

    def value(self, original: Original) -> Any:
        """Return what an insert takes."""
        return self._chosen(original)[1]

    def told(self, original: Original) -> str:
        """Return what reports call it. What a store cannot take after all is copied."""
        return self._chosen(original)[0]

    def _chosen(self, original: Original) -> tuple[str, Any]:
        if self.options.link:
            if not original.path:
                raise UnsupportedValueError(f"{original.place} is no file on this machine that could be linked")
            return "linked", Link(original.path)
        if self.options.hard_link and original.path and self.storage.backend == "file":
            if self.options.hard_link == "all" or _is_read_only(original.path):
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
