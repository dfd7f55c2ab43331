"""Preview of a stored directory: the first of its files as a tree; of a Zarr its groups and arrays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any, Protocol

from datajoint_file.model.wording import format_size
from datajoint_file.preview.shown import Lines, Preview, cut

MOST_LINES = 60
DEEPEST = 3
_MOST_ENTRIES = 12
_MOST_MEMBERS = 200
_LONGEST_DOCUMENT = 2**20


class Tree(Protocol):
    """A directory, or a part of one."""

    @property
    def name(self) -> str:
        """Its name."""

    def iterdir(self) -> Iterator[Any]:
        """Give what is in it."""

    def joinpath(self, *paths: str) -> Any:
        """Return what is at a path."""

    def __contains__(self, path: object) -> bool: ...


def preview_directory(directory: Tree) -> Preview:
    """Return what there is to see of a directory. Reads its manifest; of a Zarr, its metadata as well.

    Raises
    ------
    StorageError
        If the store fails, or has no such directory.
    """
    lines = list(islice(_zarr(directory, 0) if _is_zarr(directory) else _tree(directory, 0), MOST_LINES + 1))
    if len(lines) > MOST_LINES:
        lines[MOST_LINES:] = ["…"]
    return Preview(f"{directory.name}/", ("Zarr",) if _is_zarr(directory) else (), (Lines(tuple(lines)),))


def _tree(directory: Tree, depth: int) -> Iterator[str]:
    indent = "  " * depth
    for number, entry in enumerate(directory.iterdir()):
        if number == _MOST_ENTRIES:
            yield f"{indent}…"
            return
        if not entry.is_dir():
            yield f"{indent}{entry.name}  {format_size(entry.size)}"
            continue
        yield f"{indent}{entry.name}/"
        if depth < DEEPEST - 1:
            yield from _tree(entry, depth + 1)


_OLD = (".zarray", ".zgroup")
_NEW = "zarr.json"


def _is_zarr(directory: Tree) -> bool:
    return any(name in directory for name in (_NEW, *_OLD))


def _zarr(directory: Tree, depth: int) -> Iterator[str]:
    """Give the lines of a group, or of an array; of the directories in a group those that are one of them."""
    indent = "  " * depth
    document, attributes = _documents(directory)
    if "shape" in document:
        yield f"{indent}{_array(document)}"
    yield from (f"{indent}@{cut(name, 40)} = {cut(json.dumps(value), 80)}" for name, value in attributes)
    if "shape" in document or depth == DEEPEST:
        return
    for entry in islice(directory.iterdir(), _MOST_MEMBERS):
        if entry.is_dir() and _is_zarr(entry):
            yield f"{indent}{entry.name}/"
            yield from _zarr(entry, depth + 1)


def _documents(directory: Tree) -> tuple[dict[str, Any], list[tuple[str, Any]]]:
    """Return what the metadata of a group or array say, in either version of Zarr, and its first attributes."""
    if _NEW in directory:
        document = _document(directory, _NEW)
        attributes = document.get("attributes")
    else:
        document = {name: value for file in _OLD for name, value in _document(directory, file).items()}
        attributes = _document(directory, ".zattrs")
    return document, list(attributes.items())[:6] if isinstance(attributes, dict) else []


def _document(directory: Tree, name: str) -> dict[str, Any]:
    if name not in directory:
        return {}
    file = directory.joinpath(name)
    if file.is_dir() or file.size > _LONGEST_DOCUMENT:
        return {}
    try:
        found = json.loads(file.read())
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _array(document: dict[str, Any]) -> str:
    grid = document.get("chunk_grid")
    configuration = grid.get("configuration") if isinstance(grid, dict) else None
    chunks = configuration.get("chunk_shape") if isinstance(configuration, dict) else document.get("chunks")
    kind = document.get("data_type", document.get("dtype"))
    return cut(f"{document['shape']} {kind if isinstance(kind, str) else json.dumps(kind)}, chunks {chunks}")
