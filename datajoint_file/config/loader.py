"""Loader of ``datajoint.toml``: found, overlaid by the environment, and parsed into `Settings`.

It neither resolves secrets nor opens stores.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import sys
from collections.abc import Iterable, Mapping
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError

from datajoint_file.config.paths import anchored, expanded, is_taken, working_directory
from datajoint_file.config.rules import check_place, check_storage, is_credential
from datajoint_file.config.settings import (
    PROJECT_NAME,
    QUOTA_NAME,
    SIZE_OF_QUOTA,
    CacheSettings,
    DisplaySettings,
    MirrorSettings,
    ObjectStorageSettings,
    ProjectSettings,
    ProvenanceSettings,
    ScratchSettings,
    Settings,
    StorageSettings,
)
from datajoint_file.config.trust import read_trusted
from datajoint_file.config.urls import STANDS_FOR, STORAGE_URLS, table_of
from datajoint_file.errors import ConfigurationError, ConfigurationNotFoundError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE_NAME = "datajoint.toml"
FILE_VARIABLE = "DATAJOINT_TOML"
OVERRIDE_PREFIX = "DATAJOINT_FILE__"

_TABLES = "OBJECT_STORAGE|STORAGE|PROJECTS?|ROOTS|CACHE|SCRATCH|FORMATS|QUOTA|PROVENANCE"
_SINGLE = re.compile(rf"DATAJOINT_FILE_(?!_)(?:({_TABLES})_(?=\w))?(\w*)")
"""What is meant as an override, and is none for want of underscores."""

_QUOTAS = 'total, an attribute of keys, "schema.*", "schema.Table"'

_NAMED = ("projects", "roots")
"""Tables of tables like ``[storage]``, by names that people give."""

_MIRROR = "mirror"
"""The table in such a one that describes a second place."""

_Location = tuple[str, ...]
_Model = TypeVar("_Model", bound=BaseModel)
_Place = TypeVar("_Place", CacheSettings, ScratchSettings)
_Store = TypeVar("_Store", bound=StorageSettings)

_USER_OF_URL = re.compile(r"(//)\S*@|^[^\s/]+:[^\s/]+@")
_QUERY_OF_URL = re.compile(r"(//[^?\s]*\?)\S*")

_WHY = {
    "missing": "it is missing",
    "string_type": "it is no text",
    "dict_type": "it is no table",
    "model_type": "it is no table",
    "string_pattern_mismatch": "it has another form",
    "string_too_short": "it is empty",
    "literal_error": "it is none of these",
    "bool_type": "it is neither",
    "bool_parsing": "it is neither",
    "int_type": "it is no whole number",
    "int_parsing": "it is no whole number",
    "int_from_float": "it is no whole number",
    "greater_than_equal": "it is too small",
    "less_than_equal": "it is too large",
}
"""What pydantic says of a program's types, said of a file."""


def find_configuration(start: Path) -> Path | None:
    """Return the file that configures a process working in *start*: ``$DATAJOINT_TOML``, else the nearest one upwards.

    A file named by the variable is returned whether or not it exists. A name that is there ends the search, whether or
    not it can be read: what is above it is another project's.
    """
    if is_named():
        return start / expanded(os.environ[FILE_VARIABLE])
    directories = (start, *start.parents)
    return next((d / FILE_NAME for d in directories if is_taken(d / FILE_NAME)), None)


def is_named() -> bool:
    """Tell whether `find_configuration` does not search, since ``$DATAJOINT_TOML`` names the file."""
    return bool(os.environ.get(FILE_VARIABLE))


def load_settings(path: Path, *, is_searched: bool = False) -> Settings:
    """Read and check the file at *path*, overlaid by ``DATAJOINT_FILE__TABLE__KEY`` variables.

    One that nobody named, but that was found by searching (*is_searched*), must be one that `read_trusted` lets pass.

    Raises
    ------
    ConfigurationNotFoundError
        If there is no file at *path*.
    ConfigurationError
        If it cannot be read, is no TOML, or says something wrong; the message names file, table, key, value, and
        what is allowed. If *is_searched* and others could have written it.
    """
    fault = ""
    try:
        content = read_trusted(path) if is_searched else path.read_bytes()
        document = tomllib.loads(StringIO(content.decode().removeprefix("\ufeff"), newline=None).read())
    except FileNotFoundError as error:
        if path.is_symlink():
            meant = f"{path} is a symbolic link to {path.readlink()}, which does not exist; mend the link"
            raise ConfigurationError(meant) from error
        raise ConfigurationNotFoundError(f"{path} does not exist; `datajoint-file init` writes one") from error
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        fault = f"cannot be read: {error}"
    except tomllib.TOMLDecodeError as error:
        fault = f"is not valid TOML: {error}"
    if fault:  # raised here, it has no context: theirs is the whole file, and some programs pickle it
        raise ConfigurationError(f"{path} {fault}")
    return parse_settings(document, origin=str(path), directory=path.parent)


def parse_settings(document: Mapping[str, Any], origin: str, directory: Path | None = None) -> Settings:
    """Check *document* (the tables of ``datajoint.toml``), overlaid by the environment, and return it as settings.

    Messages call it *origin*. Relative paths start in *directory*, or in the working directory. Raises as
    `load_settings` does.

    Examples
    --------
    >>> document = {"project": {"name": "lab"}, "storage": {"backend": "s3", "bucket": "recordings"}}
    >>> parse_settings(document, "the example").storage.location
    's3: recordings'
    """
    return _Reading(document, origin, directory or working_directory()).settings()


def find_cache_settings(start: Path) -> tuple[CacheSettings, Path]:
    """Return the table ``[cache]`` for a process working in *start*, and where its relative path starts.

    It is that of the file which `find_configuration` finds; else what the environment says.

    Raises
    ------
    ConfigurationError
        If it is wrong.
    """
    return _find(start, CacheSettings, "cache")


def find_scratch_settings(start: Path) -> tuple[ScratchSettings, Path]:
    """Return the table ``[scratch]`` in the same way. Raises as `find_cache_settings` does."""
    return _find(start, ScratchSettings, "scratch")


def _find(start: Path, model: type[_Place], name: str) -> tuple[_Place, Path]:
    path = find_configuration(start)
    if path is None:
        return _Reading({}, "the environment", start).place(model, name), start
    return getattr(load_settings(path, is_searched=not is_named()), name), path.parent


class _Reading:
    """One reading of one document: the merged tables, and where each value came from."""

    def __init__(self, document: Mapping[str, Any], origin: str, directory: Path) -> None:
        self.origin = origin
        self.directory = directory
        self.tables: dict[str, Any] = _copied(document)
        self.variables: dict[_Location, str] = {}
        self._expand_urls()
        _refuse_single_underscores()
        variables = {name: self._location(name) for name in os.environ if name.startswith(OVERRIDE_PREFIX)}
        for variable, location in sorted(variables.items(), key=lambda item: item[1][-1] != "url"):
            self._override(variable, location, os.environ[variable])
        self._expand_urls()

    def settings(self) -> Settings:
        if "directory" in self.tables:  # a field of `Settings`, but none of the file
            raise self._unknown(("directory",))
        settings = self._validated(Settings, {**self.tables, "directory": self.directory})
        self._check(settings.storage, ("storage",))
        self._checked(settings.cache, "cache")
        self._checked(settings.scratch, "scratch")
        for name, storage in settings.projects.items():
            if not re.fullmatch(PROJECT_NAME, name):
                raise self._error(("projects", name), "no project can be called so", _allowed(("project", "name")))
            if name == settings.project.name:
                raise self._error(("projects", name), "it is this project itself, whose objects are in [storage]")
            self._check(storage, ("projects", name))
        for name, root in settings.roots.items():
            if not re.fullmatch(PROJECT_NAME, name):
                raise self._error(("roots", name), "no root can be called so", _allowed(("project", "name")))
            if name in (settings.project.name, *settings.projects):
                raise self._error(("roots", name), "that is a project, which is a root already", "another name")
            self._check(root, ("roots", name))
        self._check_quotas(settings.quota)
        return self._anchored(settings)

    def _check_quotas(self, names: Iterable[str]) -> None:
        for name in names:
            if not re.fullmatch(QUOTA_NAME, name):
                raise self._error(("quota", name), "no quota can be called so", _QUOTAS)

    def place(self, model: type[_Place], name: str) -> _Place:
        """Return a table that needs no other."""
        return self._checked(self._validated(model, self.tables.get(name, {}), name), name)

    def _checked(self, place: _Place, name: str) -> _Place:
        check_place(place, lambda key, why, allowed: self._error((name, key), why, allowed))
        return place

    def _validated(self, model: type[_Model], value: Any, *where: str) -> _Model:
        try:
            return model.model_validate(value)
        except ValidationError as error:
            problem: Any = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
        # Raised here, pydantic's error is not its context: that shows values, and is pickled.
        raise self._translated({**problem, "loc": (*where, *problem["loc"])})

    def _expand_urls(self) -> None:
        """Put in the place of each ``url`` the keys that it stands for."""
        for location, table in _storages(self.tables):
            if isinstance(table.get("url"), str):
                beside = [key for key in STANDS_FOR if key in table]
                if beside:
                    raise self._error((*location, "url"), f"it says {beside[0]} already", "either")
                try:
                    table |= table_of(table["url"])
                except ValueError as error:
                    raise self._error((*location, "url"), str(error), STORAGE_URLS) from None
                del table["url"]
            if location[0] == "roots" and "path" in table:
                table.setdefault("backend", "file")

    def _override(self, variable: str, location: _Location, text: str) -> None:
        """Let a variable have its say; a URL, which comes before the others, takes the place of the whole place."""
        table = self.tables
        for part in location[:-1]:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise ConfigurationError(f"environment variable {variable}: {part} is a value, not a table")
        if location[-1] == "url" and location[:-1] in dict(_storages(self.tables)):
            for key in STANDS_FOR:
                table.pop(key, None)
        table[location[-1]] = _as_value(text, location)
        self.variables[location] = variable

    def _location(self, variable: str) -> _Location:
        """Name the key that *variable* sets; what people have named keeps the case that it has in the file."""
        parts = [part.lower() for part in variable[len(OVERRIDE_PREFIX) :].split("__")]
        named = self.tables.get(parts[0])
        if parts[0] in (*_NAMED, "quota") and len(parts) > 1 and isinstance(named, dict):
            parts[1] = {name.lower(): name for name in named}.get(parts[1], parts[1])
        if len(parts) < 2 or not all(parts):
            raise ConfigurationError(
                f"environment variable {variable}: it names no key; "
                f"allowed: {OVERRIDE_PREFIX}TABLE__KEY, such as {OVERRIDE_PREFIX}STORAGE__PATH"
            )
        return tuple(parts)

    def _check(self, storage: StorageSettings, location: _Location) -> None:
        storage._where = f"{self._origin_of((*location, 'backend'))}: [{'.'.join(location)}]"
        check_storage(
            storage,
            lambda key, why, allowed: self._error((*location, key), why, allowed),
            lambda key, why, allowed: self._error((*location, "credentials", key), why, allowed),
        )
        if storage.mirror is not None:
            if location[0] == "roots" or location[-1] == _MIRROR:
                what = "a root" if location[0] == "roots" else "a mirror"
                raise self._error(
                    (*location, _MIRROR), f"{what} has no mirror", "[storage.mirror], [projects.NAME.mirror]"
                )
            self._check(storage.mirror, (*location, _MIRROR))

    def _anchored(self, settings: Settings) -> Settings:
        """Make the directories of ``file`` stores absolute: a later ``chdir`` changes nothing."""
        named = {
            table: {name: self._anchor(storage) for name, storage in getattr(settings, table).items()}
            for table in _NAMED
        }
        return settings.model_copy(update={"storage": self._anchor(settings.storage), **named})

    def _anchor(self, storage: _Store) -> _Store:
        if storage.mirror is not None:
            storage = storage.model_copy(update={_MIRROR: self._anchor(storage.mirror)})
        if storage.backend != "file" or storage.path is None or "${" in storage.path:
            return storage
        return storage.model_copy(update={"path": str(anchored(storage.path, self.directory))})

    def _translated(self, problem: Any) -> ConfigurationError:
        """Return a problem that pydantic found in this package's words."""
        location = tuple(map(str, problem["loc"]))
        if problem["type"] == "extra_forbidden":
            return self._unknown(location)
        raised = problem.get("ctx", {}).get("error")  # by a validator of ours
        return self._error(location, str(raised or _WHY.get(problem["type"], problem["msg"])), _allowed(location))

    def _unknown(self, location: _Location) -> ConfigurationError:
        """Name the nearest key that is known. The value is not shown: it can be a secret in the wrong table."""
        model = _model_of(location[:-1])
        known = [name for name in model.model_fields if name != "directory"] if model else []
        near = difflib.get_close_matches(location[-1].lower(), known, 1, 0.5)
        hint = f"unknown key; did you mean {near[0]}?" if near else "unknown key"
        if "credentials" in known and is_credential(location[-1]):
            hint = f"unknown key; it belongs in [{'.'.join((*location[:-1], 'credentials'))}]"
        return self._error(location, hint, ", ".join(known), is_shown=False)

    def _error(self, location: _Location, why: str, allowed: str = "", *, is_shown: bool = True) -> ConfigurationError:
        """Say ``file: [table] key = value: why; allowed: …``. Credentials and options are never shown."""
        table = f"[{'.'.join(location[:-1])}] " if len(location) > 1 else ""
        value = self._shown(location) if is_shown else ""
        ending = f"; allowed: {allowed}" if allowed else ""
        return ConfigurationError(f"{self._origin_of(location)}: {table}{location[-1]}{value}: {why}{ending}")

    def _origin_of(self, location: _Location) -> str:
        variable = self.variables.get(location)
        return f"environment variable {variable}" if variable else self.origin

    def _shown(self, location: _Location) -> str:
        value: Any = self.tables
        for part in location:
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is None or isinstance(value, Mapping):
            return ""
        if "credentials" in location or "options" in location:
            return " = ***"
        if isinstance(value, str):
            return f" = {json.dumps(without_secrets(value), ensure_ascii=False)}"
        return f" = {value!r}"


def _refuse_single_underscores() -> None:
    """Refuse variables that would be overrides if they had two underscores between table and key."""
    for variable in sorted(os.environ):
        if meant := _SINGLE.fullmatch(variable):
            key = f"{meant[1]}__{meant[2].lstrip('_')}" if meant[1] else "TABLE__KEY"
            raise ConfigurationError(
                f"environment variable {variable}: it sets nothing; allowed: {OVERRIDE_PREFIX}{key}, with two "
                "underscores each time"
            )


def _storages(tables: dict[str, Any]) -> list[tuple[_Location, dict[str, Any]]]:
    """Return the tables that describe stores, with the places where they stand."""
    named = [(which, tables.get(which)) for which in _NAMED]
    found = [((which, name), t) for which, some in named if isinstance(some, dict) for name, t in some.items()]
    stores = [(where, t) for where, t in [(("storage",), tables.get("storage")), *found] if isinstance(t, dict)]
    mirrors = [((*where, _MIRROR), t[_MIRROR]) for where, t in stores if isinstance(t.get(_MIRROR), dict)]
    return [*stores, *mirrors]


def without_secrets(text: str) -> str:
    """Return *text* without the password of a URL, in which any character may stand, and its query: a signature."""
    return _QUERY_OF_URL.sub(r"\1***", _USER_OF_URL.sub(r"\1***@", text))


def _copied(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return {str(name): _copied(item) for name, item in value.items()} if isinstance(value, Mapping) else value


def _as_value(text: str, location: _Location) -> Any:
    """Read what a variable says: options as TOML would (``4``, ``{a = 1}``), of credentials ``true`` and ``false``."""
    if "credentials" in location:
        return {"true": True, "false": False}.get(text.lower(), text)
    if "options" not in location:
        return text
    try:
        document = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return document["value"] if len(document) == 1 else text


_MODELS: dict[_Location, type[BaseModel]] = {
    (): Settings,
    ("project",): ProjectSettings,
    ("storage",): StorageSettings,
    ("object_storage",): ObjectStorageSettings,
    ("cache",): CacheSettings,
    ("scratch",): ScratchSettings,
    ("display",): DisplaySettings,
    ("provenance",): ProvenanceSettings,
}


def _model_of(location: _Location) -> type[BaseModel] | None:
    is_named = location[0] in _NAMED and len(location) == 2 if location else False
    if len(location) > 1 and location[-1] == _MIRROR and location[0] in ("storage", *_NAMED):
        return MirrorSettings
    return StorageSettings if is_named else _MODELS.get(location)


def _allowed(location: _Location) -> str:
    model = _model_of(location[:-1])
    field = model.model_fields.get(location[-1]) if model else None
    if field is None and location[0] in _NAMED and len(location) == 2:
        return "a table"
    if location[:1] == ("formats",):
        return 'a suffix, such as ".parquet"'
    if location[:1] == ("quota",) and len(location) > 1:
        return SIZE_OF_QUOTA
    return str(field.description) if field and field.description else ""
