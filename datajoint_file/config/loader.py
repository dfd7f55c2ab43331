"""Find ``datajoint.toml``, overlay the environment, and parse both into `Settings` with messages that name the place.

It neither resolves secrets nor opens stores.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from pydantic import BaseModel, SecretStr, ValidationError

from datajoint_file.config.rules import check_storage
from datajoint_file.config.settings import (
    ObjectStorageSettings,
    ProjectSettings,
    Settings,
    StorageSettings,
)
from datajoint_file.errors import ConfigurationError, ConfigurationNotFoundError
from datajoint_file.keys import PartitionPattern

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE_NAME = "datajoint.toml"
FILE_VARIABLE = "DATAJOINT_TOML"
OVERRIDE_PREFIX = "DATAJOINT_FILE__"

_Location = tuple[str, ...]


def find_configuration(start: Path) -> Path | None:
    """Return the file that configures a process working in *start*: ``$DATAJOINT_TOML``, else the nearest one upwards.

    A file named by the variable is returned whether or not it exists.
    """
    named = os.environ.get(FILE_VARIABLE)
    if named:
        return start / Path(named).expanduser()
    directories = (start, *start.parents)
    return next((d / FILE_NAME for d in directories if (d / FILE_NAME).is_file()), None)


def load_settings(path: Path) -> Settings:
    """Read and check the file at *path*, overlaid by ``DATAJOINT_FILE__TABLE__KEY`` variables.

    Raises
    ------
    ConfigurationNotFoundError
        If there is no file at *path*.
    ConfigurationError
        If it cannot be read, is no TOML, or says something wrong; the message names file, table, key, value, and
        what is allowed.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigurationNotFoundError(f"{path} does not exist; `datajoint-file init` writes one") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from error
    return parse_settings(document, origin=str(path), directory=path.parent)


def parse_settings(document: Mapping[str, Any], origin: str, directory: Path | None = None) -> Settings:
    """Check *document* (the tables of ``datajoint.toml``), overlaid by the environment, and return it as settings.

    Parameters
    ----------
    document : mapping
        Tables by name.
    origin : str
        What messages call it.
    directory : Path or None
        Where relative paths start; the working directory if not given.

    Raises
    ------
    ConfigurationError
        As `load_settings`.

    Examples
    --------
    >>> document = {"project": {"name": "lab"}, "storage": {"backend": "s3", "bucket": "recordings"}}
    >>> parse_settings(document, "the example").storage.location
    's3: recordings'
    """
    return _Reading(document, origin, directory or Path.cwd()).settings()


class _Reading:
    """One reading of one document: the merged tables, and where each value came from."""

    def __init__(self, document: Mapping[str, Any], origin: str, directory: Path) -> None:
        self.origin = origin
        self.directory = directory
        self.tables: dict[str, Any] = _copied(document)
        self.variables: dict[_Location, str] = {}
        for variable, text in os.environ.items():
            if variable.startswith(OVERRIDE_PREFIX):
                self._override(variable, text)

    def settings(self) -> Settings:
        self._parse_pattern()
        try:
            settings = Settings.model_validate({**self.tables, "directory": self.directory})
        except ValidationError as error:
            self._translate(error)
        self._check(settings.storage, ("storage",))
        for name, storage in settings.projects.items():
            self._check(storage, ("projects", name))
        return self._anchored(settings)

    def _override(self, variable: str, text: str) -> None:
        location = self._location(variable)
        table = self.tables
        for part in location[:-1]:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise ConfigurationError(f"environment variable {variable}: {part} is a value, not a table")
        table[location[-1]] = _as_toml(text) if "options" in location else text
        self.variables[location] = variable

    def _location(self, variable: str) -> _Location:
        """Name the key that *variable* sets; names of other projects keep the case they have in the file."""
        parts = [part.lower() for part in variable[len(OVERRIDE_PREFIX) :].split("__")]
        if parts[0] == "projects" and len(parts) > 1:
            known = {str(name).lower(): str(name) for name in self.tables.get("projects", {})}
            parts[1] = known.get(parts[1], parts[1])
        if len(parts) < 2 or not all(parts):
            raise ConfigurationError(
                f"environment variable {variable}: it names no key; "
                f"allowed: {OVERRIDE_PREFIX}TABLE__KEY, such as {OVERRIDE_PREFIX}STORAGE__PATH"
            )
        return tuple(parts)

    def _parse_pattern(self) -> None:
        location = ("object_storage", "partition_pattern")
        table = self.tables.get(location[0])
        if isinstance(table, dict) and isinstance(table.get(location[1]), str):
            try:
                self.tables[location[0]] = {**table, location[1]: PartitionPattern(table[location[1]])}
            except ConfigurationError as error:
                raise self._error(location, str(error)) from error

    def _check(self, storage: StorageSettings, location: _Location) -> None:
        check_storage(
            storage,
            lambda key, why, allowed: self._error((*location, key), why, allowed),
            lambda key, why, allowed: self._error((*location, "credentials", key), why, allowed),
        )

    def _anchored(self, settings: Settings) -> Settings:
        """Make the directories of ``file`` stores absolute: a later ``chdir`` changes nothing."""
        storages = {name: self._anchor(storage) for name, storage in settings.projects.items()}
        return settings.model_copy(update={"storage": self._anchor(settings.storage), "projects": storages})

    def _anchor(self, storage: StorageSettings) -> StorageSettings:
        if storage.backend != "file" or storage.path is None or storage.path.startswith("${"):
            return storage
        path = os.path.normpath(self.directory.absolute() / Path(storage.path).expanduser())
        return storage.model_copy(update={"path": path})

    def _translate(self, error: ValidationError) -> NoReturn:
        """Raise the first problem that pydantic found in this package's words."""
        problem = error.errors()[0]
        location = tuple(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            raise self._unknown(location) from None
        if problem["type"] == "missing":
            raise self._error(location, "it is missing", _allowed(location)) from None
        raise self._error(location, str(problem["msg"]), _allowed(location)) from None

    def _unknown(self, location: _Location) -> ConfigurationError:
        known = _known_keys(location[:-1])
        near = difflib.get_close_matches(location[-1], known, 1, 0.5)
        hint = f"unknown key; did you mean {near[0]}?" if near else "unknown key"
        return self._error(location, hint, ", ".join(known))

    def _error(self, location: _Location, why: str, allowed: str = "") -> ConfigurationError:
        """Say ``file: [table] key = value: why; allowed: …``. Credentials and options are never shown."""
        table = f"[{'.'.join(location[:-1])}] " if len(location) > 1 else ""
        value = self._shown(location)
        ending = f"; allowed: {allowed}" if allowed else ""
        return ConfigurationError(f"{self._origin_of(location)}: {table}{location[-1]}{value}: {why}{ending}")

    def _origin_of(self, location: _Location) -> str:
        return next(
            (f"environment variable {v}" for prefix, v in self.variables.items() if prefix == location), self.origin
        )

    def _shown(self, location: _Location) -> str:
        value: Any = self.tables
        for part in location:
            value = value.get(part) if isinstance(value, Mapping) else None
        if isinstance(value, PartitionPattern):
            value = value.text
        if value is None or isinstance(value, Mapping):
            return ""
        if "credentials" in location or "options" in location:
            return " = ***"
        return f' = "{value}"' if isinstance(value, str) else f" = {value!r}"


def _copied(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return {str(name): _copied(item) for name, item in value.items()} if isinstance(value, Mapping) else value


def _as_toml(text: str) -> Any:
    """Read an option from the environment as TOML would (``4``, ``true``, ``{a = 1}``), else as the text it is."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _model_of(location: _Location) -> type[BaseModel] | None:
    if not location:
        return Settings
    sections: dict[str, type[BaseModel]] = {
        "project": ProjectSettings,
        "storage": StorageSettings,
        "object_storage": ObjectStorageSettings,
    }
    if location[0] == "projects" and len(location) == 2:
        return StorageSettings
    return sections.get(location[0]) if len(location) == 1 else None


def _known_keys(location: _Location) -> list[str]:
    model = _model_of(location)
    return [name for name in model.model_fields if name != "directory"] if model else []


def _allowed(location: _Location) -> str:
    model = _model_of(location[:-1])
    field = model.model_fields.get(location[-1]) if model else None
    return str(field.description) if field and field.description else ""
