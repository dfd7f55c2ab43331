"""Pipeline lookup by name: in the process that made them, and in another one that a reference has come to.

What a pipeline does is its own business; which connection uses which, that of `hooks.connections`.
"""

from __future__ import annotations

from pathlib import Path

from datajoint_file.config import Settings, find_configuration, load_settings
from datajoint_file.config.bindings import called
from datajoint_file.config.loader import is_named
from datajoint_file.config.paths import configuration_start, is_readable
from datajoint_file.errors import (
    ConfigurationError,
    ConfigurationNotFoundError,
    UnknownProjectError,
    UnknownRootError,
    UnsafePathError,
    brief,
)
from datajoint_file.pipeline.linking import require_root
from datajoint_file.pipeline.pipeline import Pipeline

_pipelines: dict[str, Pipeline] = {}
"""All that were used: references may come back to any of them, long after its connection is closed."""


def remember(name: str, pipeline: Pipeline) -> Pipeline:
    """Make *pipeline* known in this process by *name*, so that a `FileRef` finds it. Returns the one that is known.

    No lock, which a fork could copy locked: if two threads remember one pipeline, either will do.
    """
    known = _pipelines.get(name)
    if known is None or known.settings != pipeline.settings:
        _pipelines[name] = known = pipeline
    return known


def own_name(name: str, settings: Settings) -> str:
    """Return *name*, or a longer one if a pipeline of other places has it: that of a file which has changed since."""
    known = _pipelines.get(name)
    return name if known is None or known.digest == settings.digest else f"{name}#{settings.digest}"


def is_same_store(name: str, pipeline: Pipeline) -> bool:
    """Tell whether the pipeline that a `FileRef` names has its objects where *pipeline* has; no, if it is not known."""
    known = _pipelines.get(name)
    if known is None or known is pipeline:
        return known is not None
    mine, theirs = pipeline.settings, known.settings
    return (mine.storage, mine.directory) == (theirs.storage, theirs.directory)


def has_same_root(name: str, pipeline: Pipeline, link: str) -> bool:
    """Tell whether what a `FileRef` of the pipeline *name* links to is the same in *pipeline*; yes, if it is not known.

    What is elsewhere has another hash, and nobody reads it.
    """
    known, root = _pipelines.get(name), link.partition("/")[0]
    if known is None or known is pipeline or not link:
        return True
    mine, theirs = pipeline.settings.places.get(root), known.settings.places.get(root)
    if mine is None or theirs is None:
        return mine is theirs
    return all(getattr(mine, key) == getattr(theirs, key) for key in ("backend", "root", "endpoint_url", "options"))


def require_some_root(place: str) -> None:
    """Raise unless files of a directory could be linked by a pipeline of this process, or its own ``datajoint.toml``.

    Where neither is known yet, an insert finds out.

    Raises
    ------
    UnknownRootError, UnsafePathError
        If the directory lies below no root of any of them.
    ConfigurationError
        If ``datajoint.toml`` cannot be used.
    """
    path = find_configuration(configuration_start())
    pipelines = list(_pipelines.values())
    if path is not None and str(path) not in _pipelines:
        pipelines.insert(0, Pipeline(load_settings(path, is_searched=not is_named())))
    refusals: list[ConfigurationError | UnsafePathError] = []
    for pipeline in pipelines:
        try:
            return require_root(pipeline.stores, place)
        except (UnknownRootError, UnsafePathError) as error:
            refusals.append(error)
    if refusals:
        raise refusals[0]
    return None


def pipeline_named(name: str, project: str) -> Pipeline:
    """Return the pipeline that a `FileRef` names, in whatever process it has come to.

    It is the one registered by that name; else that of the configuration file of that name; else that of this
    process's own ``datajoint.toml``, if it knows the *project* of the file.

    Raises
    ------
    ConfigurationNotFoundError
        If there is no configuration to be found here.
    UnknownProjectError
        If the configuration found here does not know the project.
    """
    known = _pipelines.get(name)
    if known is not None:
        return known
    given = next((Path(path) for path in (name, name.rpartition("#")[0]) if path and is_readable(Path(path))), None)
    path = given or find_configuration(configuration_start())
    if path is None:
        elsewhere = f" nor at {brief(called(name), 200)}" if name else ""
        raise ConfigurationNotFoundError(
            f"a file of the project {project!r} is to be read, and there is no datajoint.toml here "
            f"({configuration_start()} or above){elsewhere}: set DATAJOINT_TOML, or call datajoint_file.configure(…)"
        )
    known, changed = _pipelines.get(str(path)), f"{path}#"
    if known is None or (name.startswith(changed) and name != f"{changed}{known.digest}"):
        known = Pipeline(load_settings(path, is_searched=not (given or is_named())))
    if project and project not in (known.project, *known.settings.projects):
        raise UnknownProjectError(
            f"a file of the project {project!r} is to be read, and {path} is the configuration of {known.project!r} "
            f"and has no table [projects.{project}]"
        )
    return remember(name if name.startswith(changed) else str(path), known)
