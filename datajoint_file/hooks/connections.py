"""Connection resolver: which pipeline a connection uses, bound when its first schema is activated.

DataJoint tells a codec its configuration and the parser of definitions its adapter, but neither the connection; both
are owners of one binding, which is why connections that share a configuration share a pipeline.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import datajoint as dj
from datajoint import settings as dj_settings
from datajoint.connection import Connection
from datajoint.schemas import VirtualModule

from datajoint_file.config import Settings, bind, binding_of, load_settings, parse_settings
from datajoint_file.config.bindings import Attached
from datajoint_file.config.paths import configuration_start, expanded
from datajoint_file.config.rules import check_disjoint
from datajoint_file.errors import ConfigurationError, brief, brief_traceback, printable, reason_of
from datajoint_file.pipeline.lookup import own_name, remember
from datajoint_file.pipeline.pipeline import Pipeline


def bind_schema(original: Callable[..., None], connection: Any, schema: Any) -> None:
    """Bind the connection to the ``datajoint.toml`` of this moment, then let DataJoint register the schema."""
    bind(connection._config, connection.adapter).meet(str(schema.database), configuration_start())
    original(connection, schema)


def connection_of(subject: Any = None) -> Any:
    """Return the connection of what a user gives: a connection, or an instance, schema, table or query, which has one.

    None is DataJoint's default connection, which is opened if it is not.

    Raises
    ------
    TypeError
        If it is none of these, or a schema or table that has no connection yet.
    """
    if subject is None:
        return dj.conn()
    if isinstance(subject, VirtualModule):
        subject = subject.schema
    connection = subject if isinstance(subject, Connection) else getattr(subject, "connection", None)
    if isinstance(connection, Connection):
        return connection
    raise TypeError(
        f"{brief(subject)} has no connection to a database: give a connection, an instance, an activated schema, a "
        "declared table or a query, or nothing for DataJoint's default connection"
    )


def pipeline_of(subject: Any, schema: str = "") -> Pipeline:
    """Return the pipeline of what has a connection (`connection_of`), reading its configuration at the first call.

    It is for *schema*; if not given, for that of *subject*.

    Raises
    ------
    ConfigurationError
        If there is none, it is wrong, or its root overlaps one of DataJoint's stores.
    """
    connection, schema = connection_of(subject), schema or getattr(subject, "database", None) or ""
    bind(connection._config, connection.adapter)
    return pipeline_for(connection._config, schema)


def pipeline_for(config: Any, schema: str = "") -> Pipeline:
    """Return the pipeline of connections configured by *config*, as `pipeline_of` does."""
    binding = binding_of(config)
    settings, stores = binding.settings(schema), config.stores or {}
    pipeline, of_settings, compared = _pipelines.of(binding)
    if pipeline is None or of_settings is not settings or compared != stores:  # a store may be added at any time
        check_disjoint(settings, stores)
        binding.name = own_name(binding.name, settings)
        pipeline = remember(binding.name, Pipeline(settings))  # or another's, whose settings are equal
        _pipelines.keep(binding, (pipeline, settings, deepcopy(stores)))
    return pipeline


_pipelines: Attached[tuple[Pipeline | None, Settings | None, Any]] = Attached(lambda _: (None, None, None))
"""Of each binding, with its settings, and DataJoint's stores that its root was compared with."""


def settings_for(adapter: Any) -> Settings:
    """Return the configuration of the connection that *adapter* belongs to."""
    return binding_of(adapter).settings()


def name_of(config: Any) -> str:
    """Return the name of the pipeline of connections configured by *config*. Reads no file."""
    return "" if config is None else binding_of(config).name


@brief_traceback
def configure(source: Any, *, connection: Any = None) -> None:
    """Give a connection its pipeline by hand, instead of the ``datajoint.toml`` that would be found.

    Checked at once; the store is not contacted. References fetched through the connection read through it as well.

    Parameters
    ----------
    source : path or mapping
        A ``datajoint.toml``, or its tables as a dictionary.
    connection : datajoint.Connection, or what has one, optional
        Whose pipeline it is to be; DataJoint's default connection if not given (it is not opened for this).

    Raises
    ------
    ConfigurationError
        If *source* is wrong, or the connection has used another pipeline: declared, inserted, or had files of a query
        brought or verified. Fetching rows and reading their files is no such use.

    Examples
    --------
    >>> import datajoint_file
    >>> datajoint_file.configure(
    ...     {"project": {"name": "lab"}, "storage": {"backend": "memory", "path": "/lab"}}, connection=connection
    ... )  # doctest: +SKIP
    """
    owners, config = _owners(connection)
    settings, name = _read(source)
    name = own_name(name, settings)
    binding = bind(*owners)
    check_disjoint(settings, config.stores or {})
    binding.configure(settings, name)
    remember(name, Pipeline(settings))


def _read(source: Any) -> tuple[Settings, str]:
    if isinstance(source, Mapping):
        settings = parse_settings(source, "datajoint_file.configure(…)")
        return settings, f"configure({settings.project.name!r})#{settings.digest}"
    if isinstance(source, str | os.PathLike):
        path = Path(expanded(os.fspath(source))).absolute()
        try:
            return load_settings(path), str(path)
        except ConfigurationError:
            raise
        except ValueError as error:
            raise ConfigurationError(f"{printable(str(path))} cannot be read: {reason_of(error)}") from error
    raise ConfigurationError(
        f"datajoint_file.configure takes the path of a datajoint.toml or its tables as a dictionary, "
        f"not {type(source).__name__}"
    )


def _owners(connection: Any) -> tuple[tuple[Any, ...], Any]:
    if connection is None:
        dj.config.get("safemode")  # raises where the global configuration may not be used (DJ_THREAD_SAFE)
        return (dj_settings.config,), dj_settings.config
    connection = connection_of(connection)
    return (connection._config, connection.adapter), connection._config
