"""Store diagnostics: client installed, store reached, and probe objects through all that is done with objects.

Nothing is left behind, and nothing that was there is touched.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import stat
from collections.abc import Generator, Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from datajoint_file.config import Settings, StorageSettings
from datajoint_file.config.paths import anchored
from datajoint_file.doctor.check import Check, censored, secrets_of
from datajoint_file.doctor.probe import PAGE_SIZE, Probe, probe_key, reason
from datajoint_file.errors import (
    BucketNotFoundError,
    ConfigurationError,
    DataJointFileError,
    StorageAccessError,
    StorageError,
    StorageUnavailableError,
)
from datajoint_file.journal.schema_registry import refuse_foreign, refuse_nested
from datajoint_file.journal.store_marks import INSIDE, PLACES, MarkStore
from datajoint_file.model.wording import pip_install
from datajoint_file.storage import StorageBackend, open_backend
from datajoint_file.storage.disk.walk import Walker
from datajoint_file.storage.obstore.selection import engine_of

CONNECT_SECONDS = 10

_LOOKED_AT = 10_000
"""Objects among which the marks of another project are looked for."""

_CLIENTS = {"s3": "s3fs", "gcs": "gcsfs", "azure": "adlfs"}


def check_store(
    settings: Settings, *, read_only: bool = False, collector: bool = False
) -> Generator[Check, None, None]:
    """Look whether the store of a configuration does what it is needed for, one look after the other.

    The probe objects are removed when the last check has been given, a check fails, or the iterator is closed. With
    *read_only* there are none: what is there is listed and read. A *collector* has to be able to delete. The
    checks hold no secrets.
    """
    return censored(_StoreChecks(settings, read_only, collector).checks(), secrets_of(settings))


class _StoreChecks:
    """The looks at one store, and the advice that fits it."""

    def __init__(self, settings: Settings, read_only: bool = False, collector: bool = False) -> None:
        self.settings = settings
        self.collector = collector
        self.read_only = read_only
        self.storage = settings.storage
        self.key = probe_key(settings.project.name)

    def checks(self) -> Generator[Check, None, None]:
        try:
            name, directory = self.settings.project.name, self.settings.directory
            backend = open_backend(self.storage, name, directory, read_only=self.read_only, page_size=PAGE_SIZE)
        except ConfigurationError as error:
            yield Check("backend", "failed", str(error), self.advice(error))
            return
        yield Check("backend", "ok", _client(self.storage))
        for check in self._approach(backend):
            yield check
            if check.status == "failed":
                return
        yield (place := check_place(backend, self.settings.project.name))
        if place.status == "failed":
            return
        if self.storage.backend == "file" and self.storage.path:
            root = anchored(self.storage.path, self.settings.directory, self.storage.answers)
            yield from _shut_for_group(Path(root))
        if self.read_only:
            yield self._look_at_one(backend)
            return
        try:
            yield from Probe(backend, self.key, self.advice, must_delete=self.collector).examine()
        finally:
            self._remove_empty_directories()

    def _look_at_one(self, backend: StorageBackend) -> Check:
        """List the project's objects as far as the first that can be read, and read of it."""
        look = "list"
        try:
            found = next((one for one in backend.list(self.settings.project.name) if one.size), None)
            if found is None:
                return Check("read", "ok", "nothing is there yet to be read")
            look = "read"
            with backend.open(found.key) as file:
                file.read(1)
        except DataJointFileError as error:
            return Check(look, "failed", reason(error), self.advice(error, look))
        return Check("read", "ok", "an object was listed and opened; nothing was written")

    def advice(self, error: DataJointFileError, look: str = "") -> str:
        """Say what to do about *error*, which came of the probe's *look*: the store has answered before."""
        storage = self.storage
        if isinstance(error.__cause__, ImportError):
            return pip_install(storage.backend) if storage.backend in _CLIENTS else "install it"
        if isinstance(error, ConfigurationError):
            return "correct datajoint.toml, or the environment"
        if storage.backend == "file":
            return _advice_on_directory(error, storage)
        if look and isinstance(error, StorageAccessError):
            return _advice_on_rights(look, storage)
        return _advice_on_service(error, storage)

    def _approach(self, backend: StorageBackend) -> Generator[Check, None, None]:
        if self.storage.endpoint_url and not _is_proxied(self.storage.endpoint_url):
            yield _check_endpoint(self.storage.endpoint_url)
        try:
            backend.exists(self.key)
        except DataJointFileError as error:
            yield Check("reachable", "failed", reason(error), self.advice(error))
        else:
            yield Check("reachable", "ok", f"{self.storage.location}{self._emptiness(backend)}")

    def _emptiness(self, backend: StorageBackend) -> str:
        """Say so if nothing of the project is there, which suits a new one. Who may not list is told later."""
        with suppress(DataJointFileError):
            if next(backend.list(self.settings.project.name), None) is None:
                return f"; {nothing_below(self.settings)} yet"
        return ""

    def _remove_empty_directories(self) -> None:
        """Remove the directories that the probe had on a disk, which hold nothing else; buckets have none."""
        if self.storage.backend == "file" and self.storage.path:
            walker = Walker(str(anchored(self.storage.path, self.settings.directory, self.storage.answers)))
            below = self.key.split("/")[1:-1]
            while below:
                with suppress(OSError), walker.within("/".join(below[:-1])) as parent:
                    os.rmdir(below[-1], dir_fd=parent)
                below.pop()


def check_place(backend: StorageBackend, project: str) -> Check:
    """Look whether the project's place is its own, as an insert does, and whether another one's lies inside."""
    mark_store, inner = MarkStore(backend, project), ""
    with suppress(StorageError):  # not there yet, or not to be listed by this user: other checks tell
        try:
            refuse_nested(mark_store)
            refuse_foreign(mark_store, mark_store.names())
        except ConfigurationError as error:
            return Check("place", "failed", str(error))
        inner = mark_store.inside(_LOOKED_AT)
    return Check("place", "failed", INSIDE.format(inner=inner), PLACES) if inner else Check("place", "ok", "its own")


def _shut_for_group(root: Path) -> Iterator[Check]:
    """Warn if the directory is a group's to write in, and those that this user makes in it would not be."""
    mode, umask = root.stat().st_mode, os.umask(0o077)
    os.umask(umask)
    if mode & stat.S_ISGID and mode & stat.S_IWGRP and umask & stat.S_IWGRP:
        detail = f"its group may write in {root}, but not in the directories that this user makes: umask {umask:03o}"
        yield Check("group", "warning", detail, "umask 002 for all who write there, from cron as well")


def nothing_below(settings: Settings) -> str:
    """Return that no object of the project is there, and where that is."""
    return f"no object of the project {settings.project.name} lies below {settings.storage.location}"


def _client(storage: StorageSettings) -> str:
    """Return what a backend's files go through, with the versions."""
    if storage.backend == "file":
        return "file"
    packages = [_CLIENTS.get(storage.backend, "fsspec")]
    if engine_of(storage) == "obstore":
        packages.insert(0, "obstore")
    return f"{storage.backend}, through {' and '.join(f'{name} {metadata.version(name)}' for name in packages)}"


def _is_proxied(url: str) -> bool:
    return urlsplit(url).scheme in getproxies() and not proxy_bypass(urlsplit(url).hostname or "")


def _check_endpoint(url: str) -> Check:
    """Look whether anybody listens at *url*: the clients find out only after minutes of retrying."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname or "", port), CONNECT_SECONDS) as connection:
            if parts.scheme == "https" and not _speaks_tls(connection):
                fix = f'is it endpoint_url = "http://{parts.netloc}"?'
                return Check("endpoint", "failed", f"{parts.hostname}:{port} answers, and not as https", fix)
    except OSError as error:
        detail = f"{parts.hostname}:{port} does not answer: {error.strerror or error}"
        return Check("endpoint", "failed", detail, "start the store's server, or correct endpoint_url in [storage]")
    return Check("endpoint", "ok", f"{parts.hostname}:{port} answers")


def _speaks_tls(connection: socket.socket) -> bool:
    """Tell whether a server answers in TLS. Whom its certificate is for is looked at later, by the store's client."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        context.wrap_socket(connection).close()
    except OSError as error:
        fault = getattr(error, "reason", "") or ""  # of an `SSLError`
        return not re.search("WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE|HTTP_REQUEST|PACKET_LENGTH", fault)
    return True


def _advice_on_directory(error: DataJointFileError, storage: StorageSettings) -> str:
    if Path(storage.path or "").is_file():
        return ""  # the error says it
    if isinstance(error, StorageUnavailableError) and not Path(storage.path or "").is_dir():
        return f"mount its disk; or, for a new project, mkdir -p {storage.path}"
    if isinstance(error, StorageAccessError):
        return f"let this user write there (chown or chmod {storage.path}), or correct path in [storage]"
    return f"look after the disk of {storage.path}: df -h {storage.path}"


_RIGHTS = {
    "write": ("write", "s3:PutObject"),
    "exclusive create": ("write", "s3:PutObject"),
    "list": ("list", "s3:ListBucket"),
    "delete": ("delete", "s3:DeleteObject"),
}


def _advice_on_rights(look: str, storage: StorageSettings) -> str:
    verb, action = _RIGHTS.get(look, ("read", "s3:GetObject"))
    named = f" ({action})" if storage.backend == "s3" else ""
    bucket = "container" if storage.container else "bucket"
    return f"grant this account the right to {verb} objects of the {bucket}{named}; the credentials were accepted"


def _advice_on_service(error: DataJointFileError, storage: StorageSettings) -> str:
    bucket = "container" if storage.container else "bucket"
    if isinstance(error, BucketNotFoundError):
        return f"create the {bucket} {storage.container or storage.bucket}, or correct {bucket} in [storage]"
    if isinstance(error, StorageAccessError) and not storage.credentials:
        return (
            "the machine's own credentials were refused, or it has none: give it others, or name some in "
            "[storage.credentials]"
        )
    if isinstance(error, StorageAccessError):
        *others, last = sorted(storage.credentials)
        named = f"{', '.join(others)} and {last}" if others else last
        return (
            f"correct [storage.credentials]: they were refused. Check {named}; the account needs to list, read, write "
            f"and delete objects of the {bucket}"
        )
    if isinstance(error, StorageUnavailableError):
        return "look after the network and the store's server; endpoint_url and region in [storage] say where it is"
    return "the message is the store's. If it is about conditional writes, set exclusive_create = false in [storage]"
