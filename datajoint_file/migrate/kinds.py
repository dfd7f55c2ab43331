"""Choice of the kind of an old attribute, by what DataJoint's heading says of it."""

from __future__ import annotations

import re
from typing import Any

from datajoint_file.errors import UnsupportedValueError
from datajoint_file.hooks.tables import declared_type
from datajoint_file.migrate.dj_stores import DataJointStores
from datajoint_file.migrate.hashed import AttachKind, BlobKind, HashKind, checked_suffix
from datajoint_file.migrate.originals import Kind
from datajoint_file.migrate.paths import PathKind
from datajoint_file.migrate.stored_files import StoredKind

_TEXT = re.compile(r"(var)?char\b|character|text|tinytext|mediumtext|longtext", re.IGNORECASE)


def kind_of(attribute: Any, name: str, config: Any, *, root: str, suffix: str) -> Kind:
    """Return the kind of an attribute of a heading, whose files are to be called *name*.

    Raises
    ------
    UnsupportedValueError
        If values of its type are no files and name none; or if *root* or *suffix* is given and means nothing for it.
    """
    codec = getattr(attribute.codec, "name", "")
    title = declared_type(attribute)
    store, stores = attribute.store, DataJointStores(config)
    if root and codec:
        raise UnsupportedValueError(f"root = {root!r}: {name} is {title}, which has no paths of this machine")
    if suffix and codec != "blob":
        raise UnsupportedValueError(f"suffix = {suffix!r}: {name} is {title}, and only a <blob> is written as another")
    if codec == "attach":
        return AttachKind(title, name, store, stores)
    if codec == "hash":
        return HashKind(title, name, store or "", stores)
    if codec == "blob":
        return BlobKind(title, name, store, stores, checked_suffix(suffix) if suffix else "")
    if codec in ("filepath", "object", "npy"):
        return StoredKind(title, name, store, stores, ".npy" if codec == "npy" else "", codec == "filepath")
    if not codec and _TEXT.match(attribute.type):
        return PathKind(title, root)
    raise UnsupportedValueError(
        f"{name} is {title}: what can become a `file` is <attach>, <blob>, <hash@>, <filepath@>, <object@>, <npy@>, "
        "and text that holds paths"
    )
