"""Suggestion of member names: what a stored directory has that is close to a path it does not have."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from difflib import get_close_matches
from itertools import islice

from datajoint_file.errors import UnsafeNameError, brief, printable
from datajoint_file.model.manifest import Manifest, decode_path, encode_path

_READ = 4_000
"""So many names of a directory are looked at,"""

_COMPARED = 1_000_000
"""and those compared that take so many steps at most, letters times letters: some tenths of a second, mostly less."""

_SHOWN = 5


def near(manifest: Manifest, below: str, path: str) -> str:
    """Say what is close to *path*, which is not in the directory *below*: what was meant, and where the way ends.

    Parameters
    ----------
    manifest : Manifest
        Of the whole.
    below : str
        The directory, as the store calls it; nothing for the whole.
    path : str
        As the user gave it.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    directory, depth = below, 0
    while depth < len(parts) and manifest.is_directory(inner := _joined(directory, parts[depth])):
        directory, depth = inner, depth + 1
    passed = "/".join(parts[:depth])
    if depth + 1 < len(parts) and manifest.find(_joined(directory, parts[depth])):
        return f"its {brief('/'.join(parts[: depth + 1]))} is a file"
    names = [decode_path(name) for name, _ in islice(manifest.children(directory), _READ)]
    meant = _meant(manifest, directory, names, parts[depth:])
    more = ", …" if len(names) > _SHOWN else ""
    what = f"its directory {brief(passed)}" if passed else "it"
    has = f"{what} has {', '.join(map(printable, names[:_SHOWN])) or 'nothing'}{more}"
    return f"did you mean {brief('/'.join((*parts[:depth], meant)), 200)}? {has[0].upper()}{has[1:]}" if meant else has


def _meant(manifest: Manifest, directory: str, names: Sequence[str], parts: Sequence[str]) -> str:
    """Return the path within a directory that was probably meant; better one that is there to its end."""
    if not parts:
        return ""
    given = parts[0]
    alike = [name for name in names if 2 * abs(len(name) - len(given)) < len(given)]
    at = bisect_left(alike, given)  # sorted nearly enough
    count = _COMPARED // (2 * len(given) ** 2) + 1
    close = [name for name in names if name.casefold() == given.casefold()]
    close += get_close_matches(given, alike[max(0, at - count) : at + count], cutoff=0.7)
    for name in close:
        whole = "/".join((name, *parts[1:]))
        if manifest.find(inner := _joined(directory, whole)) or manifest.is_directory(inner):
            return whole
    return close[0] if close else ""


def _joined(directory: str, path: str) -> str:
    """Return what the store calls a path in a directory; what nothing is called, if it can be called so by nobody."""
    try:
        return "/".join(filter(None, (directory, encode_path(path))))
    except UnsafeNameError:
        return "\n"
