"""An Azure Blob Storage server for a test run: Azurite, the npm package that `install` puts into the user's cache.

Only the blob service runs; hierarchical namespaces are not something that Azurite can show.
"""

from __future__ import annotations

import base64
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from .errors import MissingServerError
from .process import HOST, Run, Server, free_ports

VERSION = "3.37.0"
INSTALL = "python -m tests.servers.install"
ACCOUNT = "datajointfiletests"
CONTAINER = "datajoint-file-tests"
OPTIONS = (
    "--inMemoryPersistence",
    "--skipApiVersionCheck",
    "--disableTelemetry",
    "--disableProductStyleUrl",
    "--silent",
)


@dataclass(frozen=True, slots=True)
class AzureAddress:
    """Where the server is, who may do everything there, and a container that exists."""

    endpoint: str
    account_name: str
    account_key: str
    connection_string: str
    container: str


def prefix() -> Path:
    """Return the directory that Azurite is installed into; it need not exist."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "datajoint-file-tests" / "azurite"


def is_installed() -> bool:
    """Tell whether the version that the tests want is there."""
    return _program().exists() and f'"version": "{VERSION}"' in _package_json().read_text()


def start(run: Run) -> AzureAddress:
    """Start Azurite, which keeps everything in memory, make the container and return the address."""
    node = shutil.which("node")
    if not (node and is_installed()):
        raise MissingServerError("Azurite", INSTALL)
    return run.start("azurite", lambda directory: _plan(node))


def _plan(node: str) -> tuple[Server, AzureAddress]:
    [port] = free_ports(1)
    address = _address(port)
    listen = ["--blobHost", HOST, "--blobPort", str(port)]
    accounts = {"AZURITE_ACCOUNTS": f"{address.account_name}:{address.account_key}"}
    return Server([[node, str(_program()), *OPTIONS, *listen]], lambda: _makes_container(address), accounts), address


def _address(port: int) -> AzureAddress:
    """Return an address with a new key, so that no other server can be taken for this one."""
    key = base64.b64encode(secrets.token_bytes(64)).decode()
    endpoint = f"http://{HOST}:{port}/{ACCOUNT}"
    parts = f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={key};BlobEndpoint={endpoint};"
    return AzureAddress(endpoint, ACCOUNT, key, parts, CONTAINER)


def _makes_container(address: AzureAddress) -> bool:
    # Slow to import, and only one process of a run needs them.
    from azure.core.exceptions import AzureError, ResourceExistsError
    from azure.storage.blob import BlobServiceClient

    client = BlobServiceClient.from_connection_string(address.connection_string, retry_total=0, connection_timeout=5)
    with client:
        try:
            client.create_container(address.container)
        except ResourceExistsError:
            return True
        except AzureError:
            return False
    return True


def _program() -> Path:
    return prefix() / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"


def _package_json() -> Path:
    return prefix() / "node_modules" / "azurite" / "package.json"
