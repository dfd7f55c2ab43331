"""Choice of the kind of an old attribute, by what DataJoint's heading says of it."""

from __future__ import annotations

import re
from typing import Any

from datajoint_file.errors import UnsupportedValueError
from datajoint_file.hooks.tables import declared_type
from datajoint_file.migrate.dj_stores import DataJointStores
from datajoint_file.migrate.external import ExternalBlobKind, ExternalFileKind, ExternalTable
from datajoint_file.migrate.hashed import AttachKind, BlobKind, HashKind, checked_suffix
from datajoint_file.migrate.originals import Kind
from datajoint_file.migrate.paths import PathKind
from datajoint_file.migrate.stored_files import StoredKind

_TEXT = re.compile(r"(var)?char\b|character|text|tinytext|mediumtext|longtext", re.IGNORECASE)

_EXTERNAL = re.compile(r"(?P<codec>attach|blob|filepath)@(?P<store>[a-z][\-\w]*)", re.IGNORECASE)
"""What DataJoint before version 2 calls attributes whose bytes are in a store."""


def kind_of(table: Any, attribute: Any, name: str, *, root: str, suffix: str) -> Kind:
    """Return the kind of an attribute of a table's heading, whose files are to be called *name*.

    Raises
    ------
    UnsupportedValueError
        If values of its type are no files and name none; or if *root* or *suffix* is given and means nothing for it.
    """
    title = declared_type(attribute)
    external = _EXTERNAL.fullmatch(title)
    codec = external["codec"].lower() if external else getattr(attribute.codec, "name", "")
    if not codec and title.lower() == "attach":
        codec = "attach"  # before version 2: the row has the same bytes
    if root and codec:
        raise UnsupportedValueError(f"root = {root!r}: {name} is {title}, which has no paths of this machine")
    if suffix and codec != "blob":
        raise UnsupportedValueError(f"suffix = {suffix!r}: {name} is {title}, and only a <blob> is written as another")
    if suffix:
        checked_suffix(suffix)
    stores = DataJointStores(table.connection._config)
    if external:
        hidden = ExternalTable(table.connection, table.database, external["store"])
        return _external(hidden, codec, title, name, stores, suffix)
    if codec:
        return _of_codec(codec, title, name, attribute.store, stores, suffix)
    if _TEXT.match(attribute.type):
        return PathKind(title, root)
    raise _unsupported(name, title)


def _external(hidden: ExternalTable, codec: str, title: str, name: str, stores: DataJointStores, suffix: str) -> Kind:
    hidden.require(title)
    if codec == "blob":
        return ExternalBlobKind(title, name, hidden.store, stores, suffix, table=hidden)
    return ExternalFileKind(title, hidden, stores, codec == "filepath")


def _of_codec(codec: str, title: str, name: str, store: str | None, stores: DataJointStores, suffix: str) -> Kind:
    if codec == "attach":
        return AttachKind(title, name, store, stores)
    if codec == "hash":
        return HashKind(title, name, store or "", stores)
    if codec == "blob":
        return BlobKind(title, name, store, stores, suffix)
    if codec in ("filepath", "object", "npy"):
        return StoredKind(title, name, store, stores, ".npy" if codec == "npy" else "", codec == "filepath")
    raise _unsupported(name, title)


def _unsupported(name: str, title: str) -> UnsupportedValueError:
    return UnsupportedValueError(
        f"{name} is {title}: what can become a `file` is <attach>, <blob>, <hash@>, <filepath@>, <object@>, <npy@>, "
        "what DataJoint before version 2 calls attach, and text that holds paths. Its `longblob` becomes <blob> by "
        "datajoint.migrate.migrate_columns"
    )
