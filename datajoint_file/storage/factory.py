"""Backend factory: settings to backend, with its wrappers, in one visible order.

Secrets are resolved here, when a filesystem is made, in the process that uses it.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec

from datajoint_file.config.paths import anchored
from datajoint_file.config.secrets import reveal
from datajoint_file.config.settings import StorageSettings
from datajoint_file.config.urls import checked_prefix
from datajoint_file.errors import ConfigurationError
from datajoint_file.model.wording import pip_install
from datajoint_file.storage.backend import StorageBackend
from datajoint_file.storage.bucket.azure import AzureBackend
from datajoint_file.storage.bucket.backend import PAGE_SIZE, BucketBackend
from datajoint_file.storage.bucket.fsspec_upload import FileUploads
from datajoint_file.storage.bucket.gcs import GCSBackend
from datajoint_file.storage.bucket.s3 import S3Backend
from datajoint_file.storage.disk.backend import LocalBackend
from datajoint_file.storage.obstore.backend import OBSTORE
from datajoint_file.storage.obstore.selection import EngineBackend, engine_of
from datajoint_file.storage.remote.filesystem import FilesystemBackend
from datajoint_file.storage.roots import LocalRoot, root_of, root_variable
from datajoint_file.storage.wrappers import ReadBackBackend, ReadOnlyBackend

_UNCHECKED: dict[str, type[FileUploads]] = {"gcs": GCSBackend, "azure": AzureBackend}
"""Kinds of store to which the clients send no checksum."""

_DISKS = frozenset({"disk", "local", "filesystem", "posix", "nfs", "folder", "directory"})
"""What people call the backend ``file``."""

_BUCKETS: dict[str, type[BucketBackend]] = {"s3": S3Backend, **_UNCHECKED}

_PLACES = frozenset({"account_name", "account_host", "connection_string", "endpoint_url", "host", "port"})
"""What options and credentials say of where a store is."""

_ACCOUNT = re.compile(r"(?:AccountName|BlobEndpoint|EndpointSuffix)=[^;?]*")
"""What a connection string of Azure says of that."""

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
    if storage.backend in _UNCHECKED:
        backend = ReadBackBackend(backend, lambda: needs_reading_back(storage, directory))
    if read_only:
        backend = ReadOnlyBackend(backend)
    return backend


def open_root(
    storage: StorageSettings, name: str, directory: Path | None = None, *, project: str = ""
) -> StorageBackend:
    """Return the read-only backend of files that stay where they are, below the root *name*. No I/O, as `open_backend`.

    If it is a *project* whose store the settings describe, its files in a bucket are below its name there.

    Raises
    ------
    ConfigurationError
        As `open_backend` does.
    """
    if storage.backend == "file":
        path = str(_revealed(storage, storage.path or "", directory))
        variable = root_variable(*storage.table.split("."))
        return ReadOnlyBackend(LocalRoot(anchored(path, directory), name, variable))
    kind = _BUCKETS.get(storage.backend, FilesystemBackend)
    protocol = _BUCKETS[storage.backend].protocol if storage.backend in _BUCKETS else storage.backend
    _require_protocol(storage, protocol)
    below = f"/{project}" if project and not storage.path else ""
    root, connect = f"{_root(storage, directory)}{below}", _connector(storage, protocol, directory)
    named = (root, connect) if storage.backend in _BUCKETS else (protocol, root, connect)
    return ReadOnlyBackend(root_of(kind, name, storage.table)(*named))


def root_address(storage: StorageSettings, directory: Path | None = None, *, project: str = "") -> tuple[str, str]:
    """Return how URLs of a store begin, and the path of a root in it, as people write them; both resolved.

    Of a directory of this machine the beginning is empty, and the path a real one.
    """
    if storage.backend == "file":
        path = str(_revealed(storage, storage.path or "", directory))
        return "", os.path.realpath(anchored(path, directory))
    below = f"/{project}" if project and not storage.path else ""
    host = _revealed(storage, storage.options.get("host", ""), directory) if storage.path else ""
    root = _root(storage, directory)
    if "://" in root:  # as fsspec has those of the web
        kind, _, root = root.partition("://")
        return kind, f"{root.strip('/')}{below}"
    return storage.backend, f"{host}/{root.strip('/')}{below}".strip("/")


def place_of(storage: StorageSettings, directory: Path | None) -> list[Any]:
    """Return what tells the server and the account of a store from others, as JSON can have it. No secret is in it."""
    tables = storage.options, storage.options.get("client_kwargs") or {}, storage.credentials
    said = [(name, table[name]) for table in tables for name in sorted(_PLACES & table.keys())]
    found = [(name, str(_revealed(storage, value, directory))) for name, value in said]
    found = [(name, "".join(_ACCOUNT.findall(text)) if name == "connection_string" else text) for name, text in found]
    return [storage.backend, storage.endpoint_url, found]


def needs_reading_back(storage: StorageSettings, directory: Path | None) -> bool:
    """Tell whether the client for this store sends bytes that are compared with nothing. Resolves secrets."""
    if storage.backend not in _UNCHECKED:
        return False
    kind = _UNCHECKED[storage.backend]
    secrets = _revealed(storage, storage.credentials, directory), _revealed(storage, storage.options, directory)
    return any(address.lower().startswith("http://") for address in kind.addresses(storage, *secrets))


def _bare(
    storage: StorageSettings, project: str, directory: Path | None, part_size: int | None, page_size: int
) -> StorageBackend:
    if storage.backend == "file":
        path = str(_revealed(storage, storage.path or "", directory))
        return LocalBackend(anchored(path, directory), project, storage.durability)
    kind = _BUCKETS.get(storage.backend)
    protocol = kind.protocol if kind else storage.backend
    _require_protocol(storage, protocol)
    root = _root(storage, directory)
    connect = _connector(storage, protocol, directory)
    if kind is None:
        return FilesystemBackend(protocol, root, connect, project="" if storage.bucket else project)
    options: dict[str, Any] = {
        "exclusive": storage.exclusive_create,
        "part_size": part_size,
        "page_size": page_size,
        "project": project,
    }
    fsspec_backend = kind(root, connect, **options)
    if engine_of(storage) == "fsspec":
        return fsspec_backend
    obstore_backend = OBSTORE[storage.backend](root, connect, **options)
    required_by = storage.where if storage.engine == "obstore" else None
    return EngineBackend(obstore_backend, fsspec_backend, required_by=required_by)


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
        advice = f"`{pip_install(storage.backend)}`" if storage.backend in _BUCKETS else str(error)
        raise ConfigurationError(f"{said}: what it needs is not installed: {advice}") from error
    except ValueError as error:
        known = ["file", *_BUCKETS, *fsspec.available_protocols()]
        near = ["file"] if storage.backend in _DISKS else difflib.get_close_matches(storage.backend, known, 1)
        hint = f"did you mean {near[0]}?; " if near else ""
        raise ConfigurationError(
            f"{said}: unknown; {hint}allowed: file, s3, gcs, azure, or an fsspec protocol, such as "
            f"{', '.join(p for p in ('memory', 'sftp', 'smb', 'webhdfs') if p in fsspec.available_protocols())}"
        ) from error


def _revealed(storage: StorageSettings, value: Any, directory: Path | None) -> Any:
    """Return *value* with its references resolved; an error says whose they are."""
    try:
        return reveal(value, directory, storage.answers)
    except ConfigurationError as error:
        raise error.within(storage.where) from error


def _connector(storage: StorageSettings, protocol: str, directory: Path | None) -> Callable[[], Any]:
    kind = _BUCKETS.get(storage.backend, FilesystemBackend)

    def connect() -> Any:
        arguments = kind.arguments(storage, _revealed(storage, storage.credentials, directory))
        options = _revealed(storage, storage.options, directory)
        return kind.filesystem_class(protocol)(**{**_merged(arguments, options), **_FRESH})

    return connect


def _merged(arguments: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Let *options* have the last word, within tables such as ``client_kwargs``, and tables in these, too."""
    merged = {**arguments, **options}
    for name in arguments.keys() & options.keys():
        if isinstance(arguments[name], dict) and isinstance(options[name], dict):
            merged[name] = _merged(arguments[name], options[name])
    return merged
