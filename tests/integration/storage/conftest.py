"""Roots: places outside the project, on a disk, in a bucket and elsewhere, seen past the package.

Where the server tells who may do what, the pipeline has credentials that may read and no more.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest
from azure.storage.blob import ContainerSasPermissions, generate_container_sas
from fsspec import register_implementation
from fsspec.implementations.local import LocalFileSystem

import datajoint_file
from tests.projects import Store, bare_filesystem, unique

_SCHEMES = {"gcs": "gs", "azure": "az"}

CONTENT = b"spikes of the rig " * 100


@dataclass(frozen=True)
class Root:
    """A place of files that are somebody else's."""

    table: dict[str, Any]  # as the pipeline has it
    owner: dict[str, Any] = field(default_factory=dict)  # the credentials of who writes there, if others than these

    @property
    def place(self) -> str:
        bucket = self.table.get("bucket") or self.table.get("container")
        return str(self.table.get("path") or f"{bucket}/{self.table['prefix']}")

    @property
    def _bare(self) -> Any:
        return bare_filesystem({**self.table, **({"credentials": self.owner} if self.owner else {})})

    @property
    def is_local(self) -> bool:
        return bool(self.table["backend"] == "file")

    def address(self, name: str) -> str:
        if self.is_local:
            return f"{self.place}/{name}"
        backend = self.table["backend"]
        return f"{_SCHEMES.get(backend, backend)}://{self.place}/{name}"

    def write(self, name: str, content: bytes = CONTENT) -> str:
        """Write a file and return what a user calls it."""
        if self.is_local:
            path = Path(self.place, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        else:
            self._bare.pipe_file(f"{self.place}/{name}", content)
        return self.address(name)

    def remove(self, name: str) -> None:
        self._bare.rm_file(f"{self.place}/{name}")

    def names(self) -> set[str]:
        found = self._bare.find(self.place)
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
    table = {**request.getfixturevalue(f"{request.param}_storage"), "prefix": unique("rig")}
    reader = {"s3": _s3_reader, "azure": _azure_reader}.get(request.param)
    owner = table["credentials"]
    return Root(table) if reader is None else Root({**table, "credentials": reader(request, table)}, owner)


def _s3_reader(request: pytest.FixtureRequest, _: dict[str, Any]) -> dict[str, str]:
    address = request.getfixturevalue("servers").s3()
    return {"key": address.reader_key, "secret": address.reader_secret}


def _azure_reader(request: pytest.FixtureRequest, table: dict[str, Any]) -> dict[str, str]:
    address = request.getfixturevalue("servers").azure()
    token = generate_container_sas(
        address.account_name,
        table["container"],
        address.account_key,
        permission=ContainerSasPermissions(read=True, list=True),
        expiry=datetime.now(timezone.utc) + timedelta(hours=1),
    )
    return {"connection_string": f"BlobEndpoint={address.endpoint};SharedAccessSignature={token}"}


@pytest.fixture
def pipeline(instance: dj.Instance, store: Store, nas: Root) -> dj.Instance:
    datajoint_file.configure(store.configuration(roots={"nas": nas.table}), connection=instance)
    return instance
