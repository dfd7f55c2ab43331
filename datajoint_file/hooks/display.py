"""Cell formatter of printed tables: name and size of a file where DataJoint shows ``<file>``.

DataJoint prints the table itself. It is given a query whose ``file`` attributes read as short texts, made of the row's
JSON alone: no store is asked, and a fetch gives what it always gives.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from datajoint.expression import Aggregation
from datajoint.heading import Heading

from datajoint_file.config import binding_of
from datajoint_file.errors import ConfigurationError, MetadataError, printable
from datajoint_file.hooks.codec import file_attributes
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.wording import counted, format_size
from datajoint_file.sql import dialect_of

UNREADABLE = "<unreadable>"
"""What is shown of a row whose JSON describes no file; fetching it says why."""

_WIDEST = 60
"""Characters of a cell in a notebook, where DataJoint has no limit."""


def print_text(original: Callable[..., str], query: Any, limit: int | None, width: int | None) -> str:
    """Let DataJoint print *query*, with its files in it. Wraps ``preview``."""
    names = _shown(query)
    if not names:
        return original(query, limit, width)
    room = int(query.connection._config["display.width"] if width is None else width)
    return original(_Labelled(query, names, lambda text: label(text, room)), limit, width)


def print_html(original: Callable[..., str], query: Any) -> str:
    """Let DataJoint make a notebook's table of *query*, with its files in it. Wraps ``repr_html``."""
    names = _shown(query)
    return original(_Labelled(query, names, lambda text: escape(label(text, _WIDEST))) if names else query)


def label(text: str | bytes, room: int) -> str:
    """Return what is shown of a row's JSON, in *room* characters where that is enough for its size.

    Examples
    --------
    >>> row = {"path": "lab/a", "size": 1_200_000_000, "hash": "sha256:" + "0" * 64, "original_name": "recording.dat"}
    >>> text = json.dumps({**row, "timestamp": "2025-01-15T10:30:00Z"})
    >>> label(text, 60), label(text, 20), label(text, 14), label("[]", 14)
    ('recording.dat, 1.2 GB', 'recordi….dat, 1.2 GB', 'r….dat, 1.2 GB', '<unreadable>')
    """
    try:
        metadata = FileMetadata.from_json(json.loads(text))
    except (MetadataError, ValueError, RecursionError):  # tables are shown whole, whatever one of their rows holds
        return UNREADABLE
    name, size = printable(metadata.original_name), format_size(metadata.size)
    if metadata.files is None:
        return f"{shortened(name, room - len(size) - 2)}, {size}"
    whole = f"{name}/, {counted(metadata.files, 'file')}, {size}"
    return whole if len(whole) <= room else f"{shortened(name, room - len(size) - 3)}/, {size}"


def shortened(name: str, room: int) -> str:
    """Return *name* in *room* characters, at least three: its beginning, and its suffix if there is room for it.

    Examples
    --------
    >>> shortened("recording.dat", 13), shortened("recording.dat", 9), shortened("recording.dat", 4)
    ('recording.dat', 'reco….dat', 'rec…')
    """
    if len(name) <= room:
        return name
    dot = name.rfind(".")
    suffix = name[dot:] if dot > 0 and len(name) - dot + 2 <= room else ""
    return f"{name[: max(room, 3) - len(suffix) - 1]}…{suffix}"


def _shown(query: Any) -> tuple[str, ...]:
    """Return the ``file`` attributes to be shown: none, if the configuration of the connection says so."""
    names = file_attributes(query.heading)
    if not names:
        return names
    try:
        settings = binding_of(query.connection._config).peek()
    except ConfigurationError:
        return names  # whoever stores a file is told
    return names if settings is None or settings.display.file_names else ()


class _Labelled:
    """A query as DataJoint's preview asks for it: what it has besides keys, short texts for ``file`` attributes too."""

    def __init__(self, query: Any, names: Sequence[str], label: Callable[[str], str]) -> None:
        self._query = query
        self._names = names
        self._label = label
        self.heading = _with_texts(query.heading, dict.fromkeys(names))
        self.connection = query.connection
        self.primary_key = query.primary_key

    def proj(self, *attributes: str) -> _Labelled:
        projected = self._query.proj(*attributes)
        made = _Labelled(projected, self._names, self._label)
        projected._heading = _with_texts(
            projected.heading, {name: _expression(projected, name) for name in self._names}
        )
        return made

    def to_arrays(self, *, limit: int) -> Any:
        rows = self._query.to_arrays(limit=limit)
        for name in self._names:
            rows[name] = [value if value is None else self._label(value) for value in rows[name]]
        return rows

    def __len__(self) -> int:
        return len(self._query)


def _expression(query: Any, name: str) -> str:
    """Return the SQL of the JSON of an attribute as text."""
    dialect = dialect_of(query.connection)
    selected = query.heading[name].attribute_expression or dialect.quoted(name)
    if isinstance(query, Aggregation):  # of one row each, which MariaDB does not know: it would refuse the attribute
        return f"MIN(NULLIF({dialect.as_searchable(selected)}, ''))"
    return dialect.as_text(selected)


def _with_texts(heading: Any, expressions: Mapping[str, str | None]) -> Heading:
    """Return *heading* with some attributes as DataJoint knows those of no codec, by what they are selected by."""
    plain = {"codec": None, "json": False}
    return Heading(
        [
            attribute.todict() | ({**plain, "attribute_expression": expressions[name]} if name in expressions else {})
            for name, attribute in heading.attributes.items()
        ]
    )
