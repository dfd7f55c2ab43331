"""Bindings of connections to configurations: which uses which, decided once.

A connection is bound once, when its first schema is activated, to the ``datajoint.toml`` of that moment; the file is
read when a ``file`` attribute first needs it. The owners of a binding (DataJoint's connection settings and adapter)
are opaque here.
"""

from __future__ import annotations

import re
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from datajoint_file.config.loader import (
    FILE_NAME,
    FILE_VARIABLE,
    OVERRIDE_PREFIX,
    find_configuration,
    is_named,
    load_settings,
)
from datajoint_file.config.paths import configuration_start, is_taken
from datajoint_file.config.settings import Settings
from datajoint_file.errors import ConfigurationError, ConfigurationNotFoundError

_Value = TypeVar("_Value")

_lock = threading.RLock()


def called(name: str) -> str:
    """Return how messages call the pipeline of *name*: without what only tells two of one project apart.

    Examples
    --------
    >>> called("configure('lab')#97d2ba2f"), called("/data/lab/datajoint.toml")
    ("configure('lab')", '/data/lab/datajoint.toml')
    """
    return re.sub(r"^(configure\('.*'\))#[0-9a-f]{8}$", r"\1", name)


class Binding:
    """The configuration of one connection: searched for now, from *start* upwards, and read later."""

    name: str
    """The name by which another process can find the same configuration: that given, or the file's path.

    It gets longer if a pipeline of another configuration has it, once the file is read: see `pipeline.lookup.own_name`.
    """

    def __init__(self, start: Path) -> None:
        self._settings: Settings | None = None
        self._rivals: dict[str, Path] = {}
        self._is_named = False
        self._use(start, find_configuration(start))

    def _use(self, start: Path, path: Path | None) -> None:
        """Set the name with the path, not when it is asked for: that is once for each row of a fetch."""
        self.start, self.path, self.name = start, path, str(path or "")
        self._is_searched = not is_named()

    def settings(self, schema: str = "") -> Settings:
        """Return the settings that a database schema needs, reading the file at the first call.

        Raises
        ------
        ConfigurationNotFoundError
            If there is no file.
        ConfigurationError
            If it is wrong, or *schema* was activated below another ``datajoint.toml`` than the connection's.
        """
        if schema in self._rivals:
            raise self._two_pipelines(schema)
        with _lock:
            if self._settings is None:
                self._settings = self._load()
            return self._settings

    def peek(self) -> Settings | None:
        """Return the settings in use, or those that the file has now, of which none is kept; None if there is no file.

        So whoever only looks does not decide which are used.

        Raises
        ------
        ConfigurationError
            If the file is wrong.
        """
        if self._settings is None and self.path is not None:
            return load_settings(self.path, is_searched=self._is_searched)
        return self._settings

    def configure(self, settings: Settings, name: str) -> None:
        """Use *settings*, whatever files there are.

        Raises
        ------
        ConfigurationError
            If other settings are in use already.
        """
        if self._settings is not None and (self._settings != settings or self.name != name):
            raise ConfigurationError(
                f"this connection already uses the pipeline {self._settings.project.name!r} of {called(self.name)}, "
                f"and cannot change to {'other settings' if self.name == name else repr(settings.project.name)} of "
                f"{called(name)}: make another connection with dj.Instance(…) for it"
            )
        self._settings, self.name, self._is_named = settings, name, True
        self._rivals.clear()

    def meet(self, schema: str, directory: Path) -> None:
        """Note that *schema* is activated in *directory*, where another file may hold."""
        found = find_configuration(directory)
        if self._is_named or found is None or found == self.path:
            self._rivals.pop(schema, None)
        elif self.path is None and self._settings is None:
            self._use(directory, found)
        elif is_taken(found):
            self._rivals[schema] = found

    def _load(self) -> Settings:
        if self.path is None:
            self._use(self.start, find_configuration(self.start))
        if self.path is None:
            raise ConfigurationNotFoundError(
                f"no {FILE_NAME} in {self.start} or above, and {FILE_VARIABLE} is not set: a `file` attribute needs "
                f"the pipeline's storage. `datajoint-file init` writes one; {OVERRIDE_PREFIX}… variables override it; "
                "datajoint_file.configure(…) gives one by hand"
            )
        return load_settings(self.path, is_searched=self._is_searched)

    def _two_pipelines(self, schema: str) -> ConfigurationError:
        return ConfigurationError(
            f"schema {schema!r} was activated below {self._rivals[schema]}, but its connection uses "
            f"{called(self.name)}: a connection has one pipeline. Activate it on a connection of its own "
            f"(dj.Instance), set {FILE_VARIABLE}, or call datajoint_file.configure(…) before the first schema"
        )


class Attached(Generic[_Value]):
    """One thing for each owner, kept beside it: the owner is left as it is, and what is kept goes when it goes.

    Owners need not be hashable. *make* is called with an owner, to make his thing.
    """

    def __init__(self, make: Callable[[Any], _Value]) -> None:
        self._make = make
        self._values: dict[int, tuple[weakref.ref[Any], _Value]] = {}
        self._lock = threading.RLock()

    def of(self, owner: Any) -> _Value:
        """Return what belongs to *owner*."""
        known = self.known(owner)
        if known is not None:
            return known
        with self._lock:
            value = self.known(owner)
            return self.keep(owner, self._make(owner)) if value is None else value

    def keep(self, owner: Any, value: _Value) -> _Value:
        """Let *value* belong to *owner*, and return it."""
        with self._lock:
            self._values[id(owner)] = (weakref.ref(owner, self._forgetter(id(owner))), value)
            return value

    def known(self, owner: Any) -> _Value | None:
        """Return what belongs to *owner*, if it has been made."""
        reference, value = self._values.get(id(owner), (None, None))
        return value if reference is not None and reference() is owner else None

    def _forgetter(self, identity: int) -> Callable[[weakref.ref[Any]], None]:
        def forget(reference: weakref.ref[Any]) -> None:
            if self._values.get(identity, (None,))[0] is reference:
                del self._values[identity]

        return forget


_bindings: Attached[Binding] = Attached(lambda _: Binding(configuration_start()))


def bind(*owners: Any) -> Binding:
    """Return the binding that all *owners* share, making one from the working directory if none has any."""
    with _lock:
        known = (_bindings.known(owner) for owner in owners)
        binding = next(filter(None, known), None) or Binding(configuration_start())
        for owner in owners:
            _bindings.keep(owner, binding)
    return binding


def binding_of(owner: Any) -> Binding:
    """Return the binding of *owner*, made now if there is none yet."""
    return _bindings.of(owner)
