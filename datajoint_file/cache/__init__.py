"""Local cache of stored files: what this machine keeps of them, by digest; how much it is, and how it is emptied.

`FileRef.cache` fills it. Where it is and how much it may have says ``[cache]`` in ``datajoint.toml``, or the variables
``DATAJOINT_FILE__CACHE__PATH`` and ``DATAJOINT_FILE__CACHE__SIZE``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from datajoint_file.cache.entries import Cache
from datajoint_file.cache.layout import is_ours
from datajoint_file.config import Settings
from datajoint_file.config.loader import find_cache_settings
from datajoint_file.config.paths import anchored, cache_directory, configuration_start
from datajoint_file.config.settings import CacheSettings
from datajoint_file.errors import brief_traceback, printable
from datajoint_file.model.wording import counted, format_size

__all__ = ["Usage", "clear", "path", "usage"]

_caches: dict[tuple[Path, int], Cache] = {}
"""Those that were used. No lock, which a fork could copy locked: if two threads make one, either will do."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What the cache has.

    Parameters
    ----------
    path : Path
        Its directory.
    entries : int
        How many files and directories.
    size : int
        Their bytes, and a block of 4 KiB for each link and each file of a directory besides.
    limit : int
        So many bytes it may have.

    Examples
    --------
    >>> print(Usage(Path("/scratch/cache"), 3, 12_345_678, 50 * 10**9))
    3 files, 12.3 MB of 50.0 GB, in /scratch/cache
    """

    path: Path
    entries: int
    size: int
    limit: int

    def __str__(self) -> str:
        amount = f"{format_size(self.size)} of {format_size(self.limit)}"
        return f"{counted(self.entries, 'file')}, {amount}, in {printable(str(self.path))}"


@brief_traceback
def path() -> Path:
    """Return the cache's directory, which may not be there yet, as the configuration found from here says.

    Raises
    ------
    ConfigurationError
        If the configuration is wrong.

    Examples
    --------
    >>> path().is_absolute()
    True
    """
    return _found().directory


@brief_traceback
def usage() -> Usage:
    """Return how much there is in the cache. Looks at each entry; raises as `path` does.

    Examples
    --------
    >>> usage().size <= usage().limit
    True
    """
    return _usage(_found())


@brief_traceback
def clear() -> Usage:
    """Remove all from the cache but what is being brought or in use, and return what was removed.

    In use are the directories that this process was given last, and all that others were. Who has a file open keeps it;
    a path that was given out leads nowhere then.

    Raises
    ------
    ConfigurationError
        If the configuration is wrong.
    CacheError
        If the directory is no cache: it has files that are not of one.

    Examples
    --------
    >>> clear().entries
    0
    """
    cache = _found()
    before = _usage(cache)
    if before.path.is_dir():
        cache.ownership.require_ours()
    left = cache.space.clear() if is_ours(cache.space.directory) else []
    size = before.size - sum(entry.size for entry in left)
    return Usage(before.path, before.entries - len(left), size, before.limit)


def cache_of(settings: Settings) -> Cache:
    """Return the cache of a pipeline."""
    return _cache(settings.cache, settings.directory)


def _cache(settings: CacheSettings, start: Path | None) -> Cache:
    given = anchored(settings.path, start) if settings.path else cache_directory()
    key = Path(os.path.realpath(given)), settings.size
    return _caches.get(key) or _caches.setdefault(key, Cache(*key))


def _found() -> Cache:
    return _cache(*find_cache_settings(configuration_start()))


def _usage(cache: Cache) -> Usage:
    stored = cache.space.stored()
    return Usage(cache.directory, len(stored), sum(entry.size for entry in stored), cache.space.limit)
