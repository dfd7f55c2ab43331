"""Fallback for the one statement of a process that loads this package itself, before the hooks are in place.

DataJoint loads a codec when it first meets ``<file>`` in a table, in the middle of that table's insert. Its rows are
stored here one by one, as the codec is given them; all later statements go through `table_hooks`.
"""

from __future__ import annotations

from typing import Any

from datajoint_file.errors import HostVersionError
from datajoint_file.formats.objects import ObjectFiles
from datajoint_file.hooks.connections import pipeline_for
from datajoint_file.hooks.tables import class_name
from datajoint_file.model.key_values import KeyValue, key_value
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.object_keys import Cell
from datajoint_file.pipeline.directory_upload import DirectoryUpload
from datajoint_file.pipeline.linking import located
from datajoint_file.pipeline.mirroring import store_in_mirror
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.pipeline.upload import Upload
from datajoint_file.transfer.sources import as_source

_TYPES = {name: name for name in ("bool", "int", "datetime", "date", "bytes")}
_TYPES |= {"float": "float64", "Decimal": "decimal", "UUID": "uuid", "Timestamp": "datetime"}
"""Types of attributes by types of Python, without the digits and underscores of NumPy's."""


def store(value: Any, key: dict[str, Any] | None, context: dict[str, Any] | None) -> FileMetadata:
    """Store one value, told only what DataJoint tells a codec: the key's values, but not their types.

    Raises
    ------
    HostVersionError
        If even the key is not told, as by ``update1``.
    """
    values = {name: given for name, given in (key or {}).items() if not name.startswith("_")}
    if context is None or not values:
        raise HostVersionError(
            "this statement has loaded datajoint_file in its middle, and cannot store a file without knowing the row: "
            "say it again, or `import datajoint_file` first. Nothing was stored"
        )
    cell = Cell(
        context["schema"], class_name(context["table"]), context["field"], tuple(map(_guessed, values, values.values()))
    )
    pipeline = pipeline_for(context["config"], context["schema"])
    files = ObjectFiles()
    try:
        source = as_source(files.stored(value, cell.attribute, lambda: pipeline.settings.formats, is_sent=False))
        upload = pipeline.plan(located(pipeline.stores, source) if source.link else source, cell)
        metadata = _stored(pipeline, upload)
        store_in_mirror(pipeline, [metadata])
        return metadata
    finally:
        files.remove()


def _stored(pipeline: Pipeline, upload: Upload) -> FileMetadata:
    if upload.source.tree is None:
        return pipeline.ingest(upload)
    directory = DirectoryUpload(pipeline, upload, upload.source.tree)
    directory.send_all()
    return directory.finish()


def _guessed(name: str, value: Any) -> KeyValue:
    """Return a key's value by its Python type. It names the object's directory; nothing is ever looked up by it."""
    return key_value(name, _TYPES.get(type(value).__name__.rstrip("_0123456789"), "varchar"), value)
