"""Warning of undeclared inputs: files that a ``make`` reads, of tables that are not upstream of its own.

DataJoint makes a result anew when what it depends on changes, and knows of that by the dependencies alone. Which table
a file is of, its object key says; of links nothing is known.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import networkx as nx  # type: ignore[import-untyped]
from datajoint.dependencies import extract_master

from datajoint_file.config.bindings import Attached
from datajoint_file.errors import UndeclaredInputWarning, warn
from datajoint_file.hooks.tables import class_name, table_name
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.names import encode_component
from datajoint_file.model.object_keys import table_named_by
from datajoint_file.pipeline.read_watchers import watcher

Place = tuple[str, str]
"""Schema and table, as they stand in object keys."""


def populate_one(original: Callable[..., Any], table: Any, *args: Any, **options: Any) -> Any:
    """Let DataJoint make the rows of one key, and look at what is read meanwhile."""
    reads = _Reads(table, _known.of(table.connection).setdefault(table.full_table_name, _Known()))
    token = watcher.set(reads.note)
    try:
        return original(table, *args, **options)
    finally:
        watcher.reset(token)
        reads.end()


@dataclass(slots=True)
class _Known:
    """What is known of one table, as long as its connection is there."""

    upstream: frozenset[Place] | None = None
    warned: set[Place] = field(default_factory=set)


_known: Attached[dict[str, _Known]] = Attached(lambda _: {})


class _Reads:
    """What one ``make`` reads. Other threads that have its context may read, too; they do not use its connection."""

    def __init__(self, table: Any, known: _Known) -> None:
        self._table, self._known = table, known
        self._thread = threading.get_ident()
        self._waiting: list[Place] = []

    def note(self, metadata: FileMetadata) -> None:
        place = table_named_by(metadata.path)
        if place in self._known.warned or not place[1]:
            return
        self._waiting.append(place)
        if self._known.upstream is not None or threading.get_ident() == self._thread:
            self.end()

    def end(self) -> None:
        """Warn of what is not upstream, once for each table; of nothing where dependencies cannot be found out."""
        while self._waiting:
            place = self._waiting.pop()
            with suppress(Exception):  # no reason for a result not to be made
                self._known.upstream = self._known.upstream or _upstream(self._table)
            if self._known.upstream is None:
                return
            if place not in self._known.upstream and place not in self._known.warned:
                self._known.warned.add(place)
                self._warn(place)

    def _warn(self, place: Place) -> None:
        made, read = table_name(self._table), ".".join(unquote(part) for part in place)
        warn(
            f"undeclared input: make() of {made} reads a file of {read}, which is not upstream of it. DataJoint does "
            f"not know that the result depends on it: declare `-> {read.partition('.')[2]}` in {made}, or read what "
            "upstream tables have",
            UndeclaredInputWarning,
        )


def _upstream(table: Any) -> frozenset[Place]:
    """Return a table, what it depends on, and the parts of all these."""
    graph = table.connection.dependencies
    graph.load_all_upstream()
    names = {table.full_table_name, *nx.ancestors(graph, table.full_table_name)}
    names |= {name for name in graph if extract_master(name) in names}
    split = table.connection.adapter.split_full_table_name
    return frozenset(_written(*split(name)) for name in names)


def _written(schema: str, table: str) -> Place:
    return encode_component(schema), encode_component(class_name(table))
