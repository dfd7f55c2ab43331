"""Dependency graph without tables of tags: on MySQL, DataJoint takes them for tables of the user's.

They would be shown in diagrams and asked about in deletions. Their rows go by their foreign keys.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from datajoint_file.sql.tag_table import BEGINNING


def load(original: Callable[..., None], graph: Any, force: bool = True, schema_names: set[str] | None = None) -> None:
    """Let DataJoint load the graph, and take these tables out of it."""
    original(graph, force, schema_names)
    split = graph._conn.adapter.split_full_table_name
    graph.remove_nodes_from([name for name in graph if split(name)[1].startswith(BEGINNING)])
