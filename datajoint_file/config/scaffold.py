"""Scaffold of a new ``datajoint.toml``: decided, made of a commented template, and checked as if it had been read.

No store is contacted, no secret is asked for or written.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from datajoint_file.config.loader import (
    FILE_NAME,
    FILE_VARIABLE,
    find_configuration,
    is_named,
    parse_settings,
    without_secrets,
)
from datajoint_file.config.paths import anchored
from datajoint_file.config.settings import Settings
from datajoint_file.config.urls import SCHEMES, table_of
from datajoint_file.errors import ConfigurationError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_STORE = "./store"
"""Where objects go unless told otherwise: beside the file."""

STORAGE_FORMS = "s3://bucket, gs://bucket, az://container (each with /prefix or without), file:///dir, or a directory"

_IN_FORCE = ("everywhere", "example", "storage file")
"""Blocks whose settings are in force in the example; those of the others are comments there."""

_MARKER = re.compile(r"^#@ (.+)\n", re.MULTILINE)
_SETTING = re.compile(r"^(?=[^#\n])", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class NewConfiguration:
    """A ``datajoint.toml`` that has been decided on and found valid, and not been written yet."""

    path: Path
    text: str
    settings: Settings  # what the text means

    @property
    def store(self) -> Path | None:
        """The directory that holds the objects, if they are on a disk."""
        storage = self.settings.storage
        return anchored(storage.path, self.path.parent) if storage.backend == "file" and storage.path else None


def plan_configuration(
    directory: Path,
    *,
    project: str = "",
    storage: str = DEFAULT_STORE,
    endpoint_url: str = "",
    region: str = "",
    partition_pattern: str = "",
) -> NewConfiguration:
    """Decide what a new ``datajoint.toml`` in *directory* says. Writes nothing.

    The name of the project is made of the directory's, if empty. *storage* is a URL (``s3://bucket/prefix``), or a path
    relative to *directory*. The others are as the keys of ``datajoint.toml``; empty for none.

    Raises
    ------
    ConfigurationError
        If they do not make a valid configuration.

    Examples
    --------
    >>> plan_configuration(Path("/data/my lab"), storage="s3://recordings").settings.storage.location
    's3: recordings'
    """
    path = directory.absolute() / FILE_NAME
    table = storage_table(storage)
    table |= {key: value for key, value in (("endpoint_url", endpoint_url), ("region", region)) if value}
    text = compose(project or project_name(path.parent), table, partition_pattern)
    return NewConfiguration(path, text, parse_settings(tomllib.loads(text), FILE_NAME, path.parent))


def storage_table(location: str) -> dict[str, str]:
    """Return the keys of ``[storage]`` that *location* stands for.

    Raises
    ------
    ConfigurationError
        If it is no URL of a known store, or says more than a place in it.

    Examples
    --------
    >>> storage_table("gs://recordings"), storage_table("./store")
    ({'backend': 'gcs', 'bucket': 'recordings'}, {'backend': 'file', 'path': './store'})
    """
    if "://" not in location:
        if is_url_without_slashes(location):
            scheme, _, place = location.partition(":")
            meant = f"{scheme}://{place.lstrip('/')}" if scheme != "file" else f"file:///{place.lstrip('/')}"
            raise ConfigurationError(f"{location}: it is no URL; did you mean {meant}? allowed: {STORAGE_FORMS}")
        return {"backend": "file", "path": location}
    try:
        return table_of(location)
    except ValueError as error:
        raise ConfigurationError(f"{without_secrets(location)}: {error}; allowed: {STORAGE_FORMS}") from None


def is_url_without_slashes(location: str) -> bool:
    """Tell whether *location* begins as the URL of a known store does, and would be a directory of an odd name.

    Examples
    --------
    >>> is_url_without_slashes("s3:recordings"), is_url_without_slashes("s3://recordings"), is_url_without_slashes("s3")
    (True, False, False)
    """
    scheme, separator, rest = location.partition(":")
    return bool(separator) and scheme.lower() in (*SCHEMES, "file") and not rest.startswith("//")


def project_name(directory: Path) -> str:
    """Return a project's name made of the name of its directory.

    Examples
    --------
    >>> project_name(Path("/home/anna/Place cells (2025)"))
    'Place_cells_2025'
    """
    words = re.sub(r"[^A-Za-z0-9._=-]+", "_", directory.name)
    return re.sub(r"^[^A-Za-z0-9]+|[^A-Za-z0-9]+$", "", words)[:100] or "project"


def rivals(new: NewConfiguration) -> list[str]:
    """Return what is to be said of other configuration files that *new* displaces, or that displace it."""
    outer = find_configuration(new.path.parent.parent)
    if outer is None or (is_named() and os.path.realpath(outer) == os.path.realpath(new.path)):
        return []
    if is_named():
        return [f"{FILE_VARIABLE} is set, so {outer} is used instead of the new file"]
    return [f"in {new.path.parent} and below, the new file takes the place of {outer}"]


def example() -> str:
    """Return the text of ``datajoint.toml.example``: every key of every backend, explained."""
    return "".join(text if name in _IN_FORCE else _SETTING.sub("#", text) for name, text in _blocks())


def compose(project: str, storage: Mapping[str, str], partition_pattern: str = "") -> str:
    """Return the text of a new ``datajoint.toml``.

    *storage* has the ``backend``, and what else is known of ``[storage]``. Keys not given are there as comments, and so
    is an empty *partition_pattern*.

    Examples
    --------
    >>> text = compose("lab", {"backend": "s3", "bucket": "recordings"})
    >>> 'bucket = "recordings"' in text, '#region = "eu-central-1"' in text
    (True, True)
    """
    text = "".join(text for name, text in _blocks() if name in ("everywhere", f"storage {storage['backend']}"))
    for key, value in {"name": project, **storage, "partition_pattern": partition_pattern}.items():
        text = _with_value(text, key, value) if value else text
    return text


def _blocks() -> list[tuple[str, str]]:
    """Return the template's blocks, each begun by ``#@ everywhere``, ``#@ example`` or ``#@ storage BACKEND``."""
    template = resources.files(__package__).joinpath("template.toml").read_text(encoding="utf-8")
    parts = _MARKER.split(template)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


def _with_value(text: str, key: str, value: str) -> str:
    """Give *key* a value where it first stands, on or off; a key that the table lacks goes to its beginning."""
    quoted = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # TOML's, but for DEL
    line = f"{key} = {quoted}"
    changed, count = re.subn(rf"^#?{key} = .*$", lambda _: line, text, count=1, flags=re.MULTILINE)
    return changed if count else text.replace("[storage]\n", f"[storage]\n{line}\n", 1)
