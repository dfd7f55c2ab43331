"""Roots: places outside the project, on a disk, in a bucket and elsewhere, seen past the package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest
from fsspec import register_implementation
from fsspec.implementations.local import LocalFileSystem

import datajoint_file
from tests.projects import Store, bare_filesystem, unique

CONTENT = b"spikes of the rig " * 100


@dataclass(frozen=True)
class Root:
    """A place of files that are somebody else's."""

    table: dict[str, Any]

    @property
    def place(self) -> str:
        return str(self.table.get("path") or f"{self.table['bucket']}/{self.table['prefix']}")

    @property
    def is_local(self) -> bool:
        return bool(self.table["backend"] == "file")

    def address(self, name: str) -> str:
        scheme = "" if self.is_local else f"{self.table['backend']}://"
        return f"{scheme}{self.place}/{name}"

    def write(self, name: str, content: bytes = CONTENT) -> str:
        """Write a file and return what a user calls it."""
        if self.is_local:
            path = Path(self.place, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        else:
            bare_filesystem(self.table).pipe_file(f"{self.place}/{name}", content)
        return self.address(name)

    def remove(self, name: str) -> None:
        bare_filesystem(self.table).rm_file(f"{self.place}/{name}")

    def names(self) -> set[str]:
        found = bare_filesystem(self.table).find(self.place)
        return {name.removeprefix(f"{self.place}/") for name in found}


class Share(LocalFileSystem):
    """A disk of this machine as a server shows it: the same files, by no path."""

    protocol = "share"


@pytest.fixture(params=["disk"])
def nas(request: pytest.FixtureRequest, tmp_path: Path) -> Root:
    if request.param == "disk":
        (tmp_path / "nas").mkdir()
        return Root({"backend": "file", "path": str(tmp_path / "nas")})
    if request.param == "share":
        (tmp_path / "nas").mkdir()
        register_implementation("share", Share, clobber=True)
        return Root({"backend": "share", "path": str(tmp_path / "nas")})
    if request.param == "memory":
        return Root({"backend": "memory", "path": f"/{unique('rig')}"})
    return Root({**request.getfixturevalue("s3_storage"), "prefix": unique("rig")})


@pytest.fixture
def pipeline(instance: dj.Instance, store: Store, nas: Root) -> dj.Instance:
    datajoint_file.configure(store.configuration(roots={"nas": nas.table}), connection=instance)
    return instance
