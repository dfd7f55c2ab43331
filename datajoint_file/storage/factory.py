"""Backend factory: settings to backend, with its wrappers, in one visible order.

Secrets are resolved here, when a filesystem is made, in the process that uses it.
"""

from __future__ import annotations

import difflib
import importlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fsspec

from datajoint_file.config.paths import anchored
from datajoint_file.config.secrets import reveal
from datajoint_file.config.settings import StorageSettings
from datajoint_file.config.urls import checked_prefix
from datajoint_file.errors import ConfigurationError
from datajoint_file.model.wording import pip_install
from datajoint_file.storage.backend import StorageBackend
from datajoint_file.storage.bucket.backend import CloudBackend
from datajoint_file.storage.bucket.listing import PAGE_SIZE
from datajoint_file.storage.bucket.part_sizes import PART_SIZE
from datajoint_file.storage.disk.backend import LocalBackend
from datajoint_file.storage.obstore.backend import SMALL_PART_SIZE, ObstoreBackend
from datajoint_file.storage.obstore.selection import engine_of
from datajoint_file.storage.readback import UNCHECKED, ReadBackBackend, needs_reading_back
from datajoint_file.storage.remote.filesystem import FilesystemBackend
from datajoint_file.storage.wrappers import LoggedBackend, ReadOnlyBackend

_PROTOCOLS = {"s3": "s3", "gcs": "gs", "azure": "abfs"}

_GCS_METHODS = frozenset({"google_default", "cache", "anon", "browser", "cloud"})
"""Names of gcsfs for ways to find credentials."""

_FRESH = {"skip_instance_cache": True, "use_listings_cache": False}
"""Never share a filesystem with the user's own code, and never answer from an old listing."""


def open_backend(
    storage: StorageSettings,
    project: str,
    directory: Path | None = None,
    *,
    read_only: bool = False,
    part_size: int | None = None,
    page_size: int = PAGE_SIZE,
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
    part_size : int or None
        Bytes of one part of a large object in a bucket; as each engine does best if None.
    page_size : int
        Objects of one page when a bucket is listed.

    Raises
    ------
    ConfigurationError
        If the backend's package is not installed, nobody knows the protocol, or the engine that is asked for cannot do
        what the settings say.
    """
    backend = _bare(storage, project, directory, part_size, page_size)
    if storage.backend in UNCHECKED:
        backend = ReadBackBackend(backend, lambda: needs_reading_back(storage, directory))
    if read_only:
        backend = ReadOnlyBackend(backend)
    return LoggedBackend(backend)


def _bare(
    storage: StorageSettings, project: str, directory: Path | None, part_size: int | None, page_size: int
) -> StorageBackend:
    if storage.backend == "file":
        path = str(_revealed(storage, storage.path or "", directory))
        return LocalBackend(anchored(path, directory), project, storage.durability)
    protocol = _PROTOCOLS.get(storage.backend, storage.backend)
    _require_protocol(storage, protocol)
    root = _root(storage, directory)
    connect = _connector(storage, protocol, directory)
    if storage.backend in _PROTOCOLS:
        kind: Callable[..., CloudBackend] = CloudBackend
        if engine_of(storage) == "obstore":
            kind = partial(ObstoreBackend, small_part_size=part_size or SMALL_PART_SIZE)
        return kind(
            protocol,
            root,
            connect,
            exclusive=storage.exclusive_create,
            part_size=part_size or PART_SIZE,
            page_size=page_size,
            project=project,
        )
    return FilesystemBackend(protocol, root, connect, project="" if storage.bucket else project)


def _root(storage: StorageSettings, directory: Path | None) -> str:
    """Return what stands before every key, with references resolved: now it is known whether they are a prefix."""
    root = str(_revealed(storage, storage.root, directory))
    if storage.prefix:
        try:
            checked_prefix(root.partition("/")[2])
        except ValueError as error:
            raise ConfigurationError(f'{storage.where} prefix = "{storage.prefix}": {error}') from None
    return root


def _require_protocol(storage: StorageSettings, protocol: str) -> None:
    said = f'{storage.where} backend = "{storage.backend}"'
    try:
        fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        advice = f"`{pip_install(storage.backend)}`" if storage.backend in _PROTOCOLS else str(error)
        raise ConfigurationError(f"{said}: what it needs is not installed: {advice}") from error
    except ValueError as error:
        known = ["file", *_PROTOCOLS, *fsspec.available_protocols()]
        near = difflib.get_close_matches(storage.backend, known, 1)
        hint = f"did you mean {near[0]}?; " if near else ""
        raise ConfigurationError(
            f"{said}: unknown; {hint}allowed: file, s3, gcs, azure, or an fsspec protocol, such as "
            f"{', '.join(p for p in ('memory', 'sftp', 'smb', 'webhdfs') if p in fsspec.available_protocols())}"
        ) from error


def _revealed(storage: StorageSettings, value: Any, directory: Path | None) -> Any:
    """Return *value* with its references resolved; an error says whose they are."""
    try:
        return reveal(value, directory)
    except ConfigurationError as error:
        raise error.within(storage.where) from error


def _connector(storage: StorageSettings, protocol: str, directory: Path | None) -> Callable[[], Any]:
    def connect() -> Any:
        credentials = _revealed(storage, storage.credentials, directory)
        options = _revealed(storage, storage.options, directory)
        arguments = _ARGUMENTS.get(storage.backend, _plain_arguments)(storage, credentials)
        return _filesystem_class(protocol)(**{**_merged(arguments, options), **_FRESH})

    return connect


def _filesystem_class(protocol: str) -> Any:
    if protocol == "gs":
        # The class that gcsfs itself would choose asks for the kind of each bucket over gRPC: it needs one more
        # permission, waits a minute where nobody answers (private endpoints), and does not survive a fork.
        return importlib.import_module("gcsfs.core").GCSFileSystem
    return fsspec.get_filesystem_class(protocol)


def _merged(arguments: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Let *options* have the last word, within tables such as ``client_kwargs``, and tables in these, too."""
    merged = {**arguments, **options}
    for name in arguments.keys() & options.keys():
        if isinstance(arguments[name], dict) and isinstance(options[name], dict):
            merged[name] = _merged(arguments[name], options[name])
    return merged


def _plain_arguments(storage: StorageSettings, credentials: dict[str, Any]) -> dict[str, Any]:
    return credentials


def _s3_arguments(storage: StorageSettings, credentials: dict[str, Any]) -> dict[str, Any]:
    arguments = {**credentials, "config_kwargs": dict(_S3_CONFIG)}
    if credentials.get("anon") or credentials.keys() >= {"key", "secret"}:
        arguments["session"] = _session_without_profile()
    if storage.endpoint_url:
        arguments["endpoint_url"] = storage.endpoint_url
    if storage.region:
        arguments["client_kwargs"] = {"region_name": storage.region}
    return arguments


def _session_without_profile() -> Any:
    """Return a session for who brings his own keys: a profile or file of AWS's that cannot be read does not matter."""
    session = importlib.import_module("aiobotocore.session").AioSession()
    try:
        session.get_scoped_config()  # a region may stand there
    except Exception:  # noqa: BLE001 - no such profile, no such file, not to be parsed, not to be read
        variables = session.get_component("config_store")
        variables.set_config_variable("profile", None)
        variables.set_config_variable("config_file", os.devnull)
        variables.set_config_variable("credentials_file", os.devnull)
    return session


_S3_CONFIG = {
    # `s3_multipart` sends checksums of its own: the client need not hash every byte a second time.
    "s3": {"payload_signing_enabled": False},
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
    "user_agent": "datajoint-file",  # else the client describes itself anew for each request, which takes its time
    "max_pool_connections": 32,
}


def _gcs_arguments(storage: StorageSettings, credentials: dict[str, Any]) -> dict[str, Any]:
    # Without a token gcsfs tries one source after the other and ends as an anonymous caller: ask for the machine's own.
    arguments = {**credentials, "token": _gcs_token(storage, credentials.get("token", "google_default"))}
    if storage.endpoint_url:
        arguments["endpoint_url"] = storage.endpoint_url
    return arguments


def _gcs_token(storage: StorageSettings, token: Any) -> Any:
    """Return *token* so that gcsfs takes it for what it is.

    It would send any other text to Google in a URL, to ask what it is: the key of a service account too.
    """
    if not isinstance(token, str) or token in _GCS_METHODS or Path(token).expanduser().is_file():
        return token
    if not token.lstrip().startswith("{"):
        return importlib.import_module("google.oauth2.credentials").Credentials(token)
    with suppress(ValueError):  # whose context, the token, is not to be that of what is raised
        return json.loads(token)
    problem = "credentials.token = ***: it begins like the JSON key of a service account, and is no JSON"
    raise ConfigurationError(f"{storage.where} {problem}")


def _azure_arguments(storage: StorageSettings, credentials: dict[str, Any]) -> dict[str, Any]:
    arguments = {"anon": False, **credentials}
    name, has_key = credentials.get("account_name"), bool(credentials.keys() & {"account_key", "sas_token"})
    # Not as they are: an AZURE_STORAGE_CONNECTION_STRING of the environment would win over them.
    endpoint = storage.endpoint_url or (f"https://{name}.blob.core.windows.net" if name and has_key else None)
    if not endpoint or "connection_string" in credentials:
        return arguments
    if not has_key:  # an identity; adlfs knows no path behind the host then
        return {**arguments, "account_host": urlsplit(endpoint).netloc}
    names = {"account_name": "AccountName", "account_key": "AccountKey", "sas_token": "SharedAccessSignature"}
    parts = {"BlobEndpoint": endpoint} | {n: credentials[k] for k, n in names.items() if k in credentials}
    return {"connection_string": ";".join(f"{name}={value}" for name, value in parts.items())}


_ARGUMENTS: dict[str, Callable[[StorageSettings, dict[str, Any]], dict[str, Any]]] = {
    "s3": _s3_arguments,
    "gcs": _gcs_arguments,
    "azure": _azure_arguments,
}
