"""Root diagnostics: whether the files that stay where they are can be read from this machine. Nothing is written."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import Any

from datajoint_file.config import Settings, StorageSettings
from datajoint_file.doctor.check import Check, censored, secrets_of
from datajoint_file.doctor.probe import reason
from datajoint_file.doctor.schemas import asking
from datajoint_file.errors import DataJointFileError, StorageMissingError
from datajoint_file.hooks.codec import file_attributes
from datajoint_file.hooks.tables import tables_of
from datajoint_file.journal.schema_registry import TABLE
from datajoint_file.model.wording import counted
from datajoint_file.sql import dialect_of
from datajoint_file.storage import StorageBackend, open_root
from datajoint_file.storage.roots import root_variable

_SAMPLE = 3
"""Links of each schema that are looked for below each root."""

_READ = 100
"""Rows of an attribute that are asked for links: those of several roots."""


def check_roots(settings: Settings) -> Generator[Check, None, None]:
    """Look at each root: is it there, and can a file of it be read? The checks hold no secrets."""
    roots = (_root(settings, name, storage) for name, storage in settings.roots.items())
    return censored(roots, secrets_of(settings))


def _root(settings: Settings, name: str, storage: StorageSettings) -> Check:
    try:
        backend = open_root(storage, name, settings.directory)
        found = next((one for one in backend.list() if one.size), None)
        if found is None:
            detail = f"{storage.location} has no file, and rows may link some: is its disk mounted?"
            return Check(name, "warning", detail, _elsewhere(name, storage))
        with backend.open(found.key) as file:
            file.read(1)
    except StorageMissingError as error:
        return Check(name, "warning", reason(error), _elsewhere(name, storage))
    except DataJointFileError as error:
        return Check(name, "failed", reason(error), f"correct [roots.{name}], or see that this user may read there")
    return Check(name, "ok", f"{storage.location}: a file was found and opened")


def check_links(settings: Settings, connection: Any) -> Check:
    """Look whether each root is the one that rows mean: for a few of the files that they link to below it."""
    looked = 0
    for name, links in _some_links(connection).items():
        storage = settings.places.get(name)
        if storage is None:
            detail = f"rows link to files below the root {name}, and this configuration does not say where it is"
            return Check("links", "warning", detail, _elsewhere(name))
        with suppress(DataJointFileError):  # of which `check_roots` tells
            backend = open_root(storage, name, settings.directory, project="" if name in settings.roots else name)
            if not any(_is_there(backend, link) for link in links):
                what = f"of {counted(len(links), 'link')} looked for below the root {name} not one is there"
                detail = f"{what}; there is no {backend.url(links[0].rstrip('/'))}"
                return Check("links", "failed", detail, _elsewhere(name, storage))
            looked += len(links)
    return Check("links", "ok", f"{counted(looked, 'link')} looked for" if looked else "no row has one")


def _is_there(backend: StorageBackend, link: str) -> bool:
    if link.endswith("/"):
        return next(backend.list(link.rstrip("/")), None) is not None
    return backend.exists(link)


def _some_links(connection: Any) -> dict[str, list[str]]:
    """Return a few files and directories that rows of each schema link to, by their roots."""
    found: dict[str, list[str]] = {}
    for schema, _ in sorted(dialect_of(connection).tables_named(asking(connection), (TABLE,))):
        some: dict[str, list[str]] = {}
        with suppress(Exception):  # dropped meanwhile, or not for this user
            for link in _links_of(connection, schema):
                some.setdefault(link.partition("/")[0], []).append(link)
        for name, links in some.items():
            found.setdefault(name, []).extend(links[:_SAMPLE])
    return found


def _links_of(connection: Any, schema: str) -> Iterator[str]:
    query, dialect = asking(connection), dialect_of(connection)
    for table in tables_of(connection, schema):
        for attribute in file_attributes(table.heading):
            name = dialect.quoted(attribute)
            link = f"CASE WHEN {dialect.is_link(name)} THEN {dialect.path(name)} ELSE {dialect.linked(name)} END"
            has_link = f"{name} IS NOT NULL AND {dialect.is_linked(name)}"
            for (one,) in query(f"SELECT {link} FROM {table.full_table_name} WHERE {has_link} LIMIT {_READ}"):
                yield str(one)


def _elsewhere(name: str, storage: StorageSettings | None = None) -> str:
    table = storage.table if storage else f"roots.{name}"
    variable = f" or {root_variable(*table.split('.'))}" if storage is None or storage.backend == "file" else ""
    return f"mount it, or say in [{table}] of datajoint.toml{variable} where it is on this machine"
