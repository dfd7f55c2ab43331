"""Validation rules across settings: a bucket to ``s3``, a directory to ``file``, which credentials each store takes.

Pure: it raises, through the caller's way of naming the place, or returns nothing.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath
from typing import Any, NamedTuple

from datajoint_file.config.paths import anchored
from datajoint_file.config.settings import CacheSettings, ScratchSettings, Settings, StorageSettings
from datajoint_file.config.urls import SCHEMES
from datajoint_file.errors import ConfigurationError

Complaint = Callable[[str, str, str], ConfigurationError]
"""Makes the error for a key of a table: called with the key, why it is wrong, and what is allowed."""


class _Kind(NamedTuple):
    """What one kind of store needs and takes."""

    needs: str
    takes: frozenset[str]
    credentials: frozenset[str]


_CLOUD = frozenset({"prefix", "endpoint_url", "engine", "exclusive_create", "options", "credentials"})
_OF_AZURE = frozenset(
    {"account_name", "account_key", "connection_string", "sas_token", "client_id", "client_secret", "tenant_id", "anon"}
)

_KINDS = {
    "file": _Kind("path", frozenset({"durability"}), frozenset()),
    "s3": _Kind("bucket", _CLOUD | {"region"}, frozenset({"key", "secret", "token", "profile", "anon"})),
    "gcs": _Kind("bucket", _CLOUD, frozenset({"token", "project"})),
    "azure": _Kind("container", _CLOUD, _OF_AZURE),
}

_ALIASES = {**SCHEMES, "local": "file", "gcsfs": "gcs"}
"""fsspec's names of stores that have one of their own here, with its checks and guarantees."""

_ALWAYS = frozenset({"backend", "workers", "mirror", "write", "when_down"})
_ANY_PROTOCOL = frozenset({"path", "bucket", "prefix", "options", "credentials", "exclusive_create"})


def check_storage(storage: StorageSettings, complain: Complaint, complain_credential: Complaint) -> None:
    """Check one ``[storage]``-like table.

    Raises
    ------
    ConfigurationError
        As made by *complain* (a key of the table) or *complain_credential* (a key of its credentials).
    """
    kind = _KINDS.get(storage.backend)
    _check_texts(storage, complain, "path", "bucket", "container", "prefix")
    if kind is None:
        _check_other_protocol(storage, complain)
        return
    if storage.backend == "file" and re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", storage.path or ""):
        raise complain("path", "it is a URL", 'path = "/dir", or url = "…" instead of backend and path')
    if getattr(storage, kind.needs) is None:
        raise complain(kind.needs, f'backend = "{storage.backend}" needs it', _allowed(kind.needs))
    _check_taken(storage, _said(storage), _ALWAYS | kind.takes | {kind.needs}, complain)
    _check_taken(storage, storage.credentials, kind.credentials, complain_credential)


def _check_taken(storage: StorageSettings, given: Iterable[str], taken: frozenset[str], complain: Complaint) -> None:
    for key in given:
        if key not in taken:
            raise complain(key, f'backend = "{storage.backend}" does not take it', ", ".join(sorted(taken)))


def check_place(settings: CacheSettings | ScratchSettings, complain: Complaint) -> None:
    """Check a table that names a directory. Raises a `ConfigurationError` as made by *complain*."""
    _check_texts(settings, complain, "path")


def _check_texts(settings: StorageSettings | CacheSettings | ScratchSettings, complain: Complaint, *keys: str) -> None:
    """Refuse ``${HOME}`` and ``$HOME``, which mean nothing here and would be the name of a directory."""
    for key in keys:
        found = _SHELL_VARIABLE.search(getattr(settings, key) or "")
        if found:
            wanted = f"{'~ or ' if 'HOME' in found.groups() else ''}${{env:{found[1] or found[2]}}}"
            allowed = f"{wanted}, ${{file:PATH}}, ${{keyring:service/user}}, ${{cmd:program arguments}}"
            raise complain(key, f"{found[0]} is no reference here", allowed)


_SHELL_VARIABLE = re.compile(r"\$\{(\w*)\}|^\$([A-Za-z_]\w*)(?=/|$)")


def is_credential(key: str) -> bool:
    """Tell whether *key* is that of a credential of some store."""
    return any(key in kind.credentials for kind in _KINDS.values())


def _check_other_protocol(storage: StorageSettings, complain: Complaint) -> None:
    lower = storage.backend.lower()
    if lower in _KINDS:
        raise complain("backend", f'did you mean "{lower}"?', _allowed("backend"))
    if lower in _ALIASES:
        raise complain("backend", f'it is called "{_ALIASES[lower]}" here', _allowed("backend"))
    _check_taken(storage, _said(storage), _ALWAYS | _ANY_PROTOCOL, complain)
    if storage.path and re.search(r"//\S*:\S*@|^[^\s/]+:[^\s/]+@", storage.path):
        raise complain("path", "it holds a user and a password", "a path; name them in credentials")
    if (storage.path is None) == (storage.bucket is None):
        raise complain("path", f'backend = "{storage.backend}" needs either path or bucket', "a directory of the store")
    if storage.path and storage.prefix:
        raise complain("prefix", "it goes with a bucket", "the whole directory in path")


def _said(storage: StorageSettings) -> list[str]:
    """Return the keys that say something: an empty ``[storage.credentials]`` suits every backend."""
    return sorted(key for key in storage.model_fields_set if getattr(storage, key) not in ({}, None))


def _allowed(key: str) -> str:
    return str(StorageSettings.model_fields[key].description)


def check_disjoint(settings: Settings, stores: Mapping[str, Any]) -> None:
    """Refuse a project root inside or around one of DataJoint's stores, another project's root, or the cache.

    The garbage collector of either would eat it, or files of the cache be taken for objects. *stores* is
    ``dj.config["stores"]``; entries that are no store specification are passed over.

    Raises
    ------
    ConfigurationError
        If the roots overlap; it names the store or project.
    """
    for project, other in settings.projects.items():
        if project != settings.project.name and _is_around(settings, project, other):
            raise ConfigurationError(
                f"{settings.storage.shown}: the project's root and that of {project!r} ({other.shown}) lie inside one "
                "another; allowed: a place of its own for each project"
            )
    for name, root in settings.roots.items():
        if (lie := _roots(settings, "", root)) and PurePath(lie[1]).is_relative_to(lie[0]):
            raise ConfigurationError(
                f"{root.shown}: the root {name!r} lies in the project's root ({settings.storage.shown}), "
                "which is a root itself: leave the table out, and links below it are "
                f"those of {settings.project.name!r}"
            )
    if settings.cache.path and _is_around(settings, "", StorageSettings(backend="file", path=settings.cache.path)):
        raise ConfigurationError(
            f"{settings.storage.shown}: the project's root and the cache (path = "
            f"{json.dumps(settings.cache.path)} in [cache]) lie inside one another; allowed: a place apart for each"
        )
    _check_mirror(settings, stores)
    for name, store in stores.items():
        if isinstance(store, Mapping) and _overlaps(settings, store):
            raise ConfigurationError(
                f"{settings.storage.shown}: the project's root and DataJoint's store "
                f"{name!r} ({store.get('location')}) lie inside one another; allowed: a root apart from every store"
            )


def _check_mirror(settings: Settings, stores: Mapping[str, Any]) -> None:
    """Refuse a mirror that could not be a project's root, or lies inside or around this one's."""
    mirror = settings.storage.mirror
    if mirror is None:
        return
    if _is_around(settings, settings.project.name, mirror):
        raise ConfigurationError(
            f"{mirror.shown}: the mirror and the project's root ({settings.storage.shown}) "
            "lie inside one another; allowed: another disk, bucket or prefix"
        )
    check_disjoint(settings.at(mirror), stores)


def _is_around(settings: Settings, project: str, other: StorageSettings) -> bool:
    """Tell whether the roots of two projects certainly lie inside one another."""
    roots = _roots(settings, project, other)
    return roots is not None and _nested(*roots)


def _roots(settings: Settings, project: str, other: StorageSettings) -> tuple[str, str] | None:
    """Return the paths of the project's root and of another's, if they are comparable: of one disk, or one server."""
    storage, directory = settings.storage, settings.directory
    if storage.backend == other.backend == "file" and storage.path and other.path:
        try:
            own, theirs = (os.path.realpath(anchored(path, directory)) for path in (storage.path, other.path))
            return own, theirs
        except ConfigurationError:  # a reference that cannot be resolved here, and perhaps need not
            return None
    if _server(storage) != _server(other):
        return None
    roots = [f"/{place.root.strip('/')}" for place in (storage, other)]
    if not storage.path:
        roots = [
            f"{root}/{name}".rstrip("/") for root, name in zip(roots, (settings.project.name, project), strict=True)
        ]
    return roots[0], roots[1]


def _server(storage: StorageSettings) -> tuple[Any, ...]:
    """Return what two places on one server have in common; Azure's containers belong to accounts."""
    account = storage.credentials if storage.backend == "azure" or storage.path else None
    return storage.backend, storage.endpoint_url, storage.path is None, account


def _overlaps(settings: Settings, store: Mapping[str, Any]) -> bool:
    storage, location = settings.storage, str(store.get("location") or "")
    if storage.backend == "file" and store.get("protocol", "file") == "file" and location and storage.path:
        directory = anchored(storage.path, settings.directory, storage.answers)
        return _nested(os.path.realpath(directory), os.path.realpath(location))
    bucket = storage.bucket or storage.container
    if bucket is None or store.get("protocol") != storage.backend:
        return False
    root = f"/{storage.prefix}/{settings.project.name}" if storage.prefix else f"/{settings.project.name}"
    return bucket == (store.get("bucket") or store.get("container")) and _nested(root, f"/{location.strip('/')}")


def _nested(one: str, other: str) -> bool:
    first, second = PurePath(one), PurePath(other)
    return first.is_relative_to(second) or second.is_relative_to(first)
