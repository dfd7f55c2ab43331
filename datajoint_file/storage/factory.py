"""Settings to backend, with its wrappers, in one visible order.

Secrets are resolved here, when a filesystem is made, in the process that uses it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec

from datajoint_file.config.secrets import reveal
from datajoint_file.config.settings import StorageSettings
from datajoint_file.errors import ConfigurationError
from datajoint_file.storage.backend import StorageBackend
from datajoint_file.storage.cloud import CloudBackend, Dialect
from datajoint_file.storage.local import LocalBackend
from datajoint_file.storage.wrappers import LoggedBackend, ReadOnlyBackend

_PACKAGES = {"s3": "datajoint-file[s3]", "gcs": "datajoint-file[gcs]", "azure": "datajoint-file[azure]"}
_PROTOCOLS = {"s3": "s3", "gcs": "gs", "azure": "abfs"}

_FRESH = {"skip_instance_cache": True, "use_listings_cache": False}
"""Never share a filesystem with the user's own code, and never answer from an old listing."""


def open_backend(
    storage: StorageSettings, project: str, directory: Path | None = None, *, read_only: bool = False
) -> StorageBackend:
    """Return the backend that *storage* describes. No I/O: the store is first asked when a verb is called.

    Parameters
    ----------
    storage : StorageSettings
        The table ``[storage]`` or ``[projects.NAME]``.
    project : str
        The project whose objects are there.
    directory : Path or None
        Where relative paths of secrets start.
    read_only : bool
        Refuse to add and remove objects.

    Raises
    ------
    ConfigurationError
        If the backend's package is not installed, or nobody knows the protocol.
    """
    backend: StorageBackend = _bare(storage, project, directory)
    if read_only:
        backend = ReadOnlyBackend(backend)
    return LoggedBackend(backend)


def _bare(storage: StorageSettings, project: str, directory: Path | None) -> StorageBackend:
    if storage.backend == "file":
        return LocalBackend(Path(reveal(storage.path, directory)), project, storage.durability)
    protocol = _PROTOCOLS.get(storage.backend, storage.backend)
    _require_protocol(storage.backend, protocol)
    exclusive = storage.backend in _PROTOCOLS and storage.exclusive_create
    bucket = storage.bucket or storage.container
    return CloudBackend(
        str(reveal(bucket or storage.path, directory)),
        _connector(storage, protocol, directory),
        Dialect(protocol, exclusive),
        has_bucket=storage.backend in _PROTOCOLS,
        strip="" if bucket else project,
    )


def _require_protocol(backend: str, protocol: str) -> None:
    try:
        fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        package = _PACKAGES.get(backend)
        advice = f"install it with `pip install '{package}'`" if package else str(error)
        raise ConfigurationError(f'[storage] backend = "{backend}" is not installed: {advice}') from error
    except ValueError as error:
        raise ConfigurationError(
            f'[storage] backend = "{backend}": unknown; allowed: file, s3, gcs, azure, or an fsspec protocol, such as '
            f"{', '.join(p for p in ('memory', 'sftp', 'smb', 'webhdfs') if p in fsspec.available_protocols())}"
        ) from error


def _connector(storage: StorageSettings, protocol: str, directory: Path | None) -> Callable[[], Any]:
    def connect() -> Any:
        credentials = reveal(storage.credentials, directory)
        options = reveal(storage.options, directory)
        arguments = _ARGUMENTS.get(storage.backend, _plain_arguments)(storage, credentials)
        return fsspec.filesystem(protocol, **{**_FRESH, **arguments, **options})

    return connect


def _plain_arguments(storage: StorageSettings, credentials: dict[str, Any]) -> dict[str, Any]:
    return credentials


def _s3_arguments(storage: StorageSettings, credentials: dict[str, Any]) -> dict[str, Any]:
    arguments = dict(credentials)
    if storage.endpoint_url:
        arguments["endpoint_url"] = storage.endpoint_url
    if storage.region:
        arguments["client_kwargs"] = {"region_name": storage.region}
    return arguments


def _gcs_arguments(storage: StorageSettings, credentials: dict[str, Any]) -> dict[str, Any]:
    # Without a token gcsfs tries one source after the other and ends as an anonymous caller: ask for the machine's own.
    arguments = {"token": "google_default", **credentials}
    if storage.endpoint_url:
        arguments["endpoint_url"] = storage.endpoint_url
    return arguments


def _azure_arguments(storage: StorageSettings, credentials: dict[str, Any]) -> dict[str, Any]:
    if not storage.endpoint_url or "connection_string" in credentials:
        return {"anon": False, **credentials}
    names = {"account_name": "AccountName", "account_key": "AccountKey", "sas_token": "SharedAccessSignature"}
    parts = {"BlobEndpoint": storage.endpoint_url} | {n: credentials[k] for k, n in names.items() if k in credentials}
    return {"connection_string": ";".join(f"{name}={value}" for name, value in parts.items())}


_ARGUMENTS: dict[str, Callable[[StorageSettings, dict[str, Any]], dict[str, Any]]] = {
    "s3": _s3_arguments,
    "gcs": _gcs_arguments,
    "azure": _azure_arguments,
}
