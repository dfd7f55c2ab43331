"""Record of an entry: what it looked like, under each of its names, when it was brought.

An entry that does not look so any more is not taken for what was brought.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable
from typing import Any

from datajoint_file.cache.layout import Place
from datajoint_file.cache.removal import remove
from datajoint_file.storage.disk.looks import look, look_through

_PARTS = 3

_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def read(place: Place) -> dict[str, list[Any]]:
    """Return what was noted of each name of an entry: the look of all, its size, the look of itself; else nothing."""
    try:
        with open(os.open(place.record, os.O_RDONLY | os.O_NOFOLLOW), encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    named = found.items() if isinstance(found, dict) else ()
    return {name: noted for name, noted in named if isinstance(noted, list) and len(noted) == _PARTS}


def matches(place: Place, name: str, size: int, top: str = "") -> bool:
    """Tell whether an entry looks as was noted, and has the size; with *top*, what it itself looks like is compared.

    Without that, of a directory all that is in it is looked at.
    """
    recorded = read(place).get(name)
    if recorded is None:
        return False
    return recorded[1:] == [size, top] if top else recorded[:2] == [look_through(place.path(name)), size]


def sound_names(place: Place) -> dict[str, int]:
    """Return the names of an entry under which it looks as was noted, and the sizes."""
    return {
        name: noted[1]
        for name, noted in read(place).items()
        if os.path.lexists(place.path(name)) and noted[0] == look_through(place.path(name))
    }


def write(place: Place, size: int, names: Iterable[str]) -> None:
    """Note what an entry looks like under these names. To who reads half of that, the entry is one that was changed.

    The record stays the file it is: who has a lease has locked it.
    """
    noted = {name: one for name, one in read(place).items() if os.path.lexists(place.path(name))}
    for name in names:
        path = place.path(name)
        noted[name] = [look_through(path), size, look(os.lstat(path))]
    if not _is_plain(place.record):
        remove(place.record)
    with open(os.open(place.record, _WRITE, 0o600), "w", encoding="utf-8") as file:
        json.dump(noted, file)


def _is_plain(path: str) -> bool:
    """Tell whether it is a file of one name."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1
