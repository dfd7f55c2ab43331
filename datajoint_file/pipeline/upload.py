"""Plan of an upload: under which key and name a source is going to be stored; and refusal of what could not be.

How its bytes are sent is told in `writes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

from datajoint_file.errors import InvalidKeyError, MetadataError, SourceError, brief
from datajoint_file.model import manifest, media_types
from datajoint_file.model.manifest import decode_path
from datajoint_file.model.object_keys import MAX_KEY_BYTES, Cell, new_write_id, object_key, prefix_of
from datajoint_file.pipeline.stores import Stores
from datajoint_file.transfer.directories import Listing, LocalTree
from datajoint_file.transfer.sources import Source

_ANY_WRITE_ID = new_write_id()

_TOLD = 10
"""So many members that cannot be stored are named."""

_LINES_BYTES = 80
"""What a manifest has of a file at most, beside its name."""


@dataclass(frozen=True, slots=True)
class Upload:
    """What is going to be stored where: decided, not yet done."""

    key: str  # of the object; no other write will ever have it
    cell: Cell
    source: Source
    name: str  # the original one, to be recorded
    mime_type: str  # empty if the first bytes are to tell
    write_id: str  # what is unique in the key
    is_contested: bool = False  # others may be storing under the same key
    link: str = ""  # where it stays, if it is not stored


def check(stores: Stores, source: Source, cell: Cell) -> str:
    """Raise if *source* could not be named for *cell*. Reads nothing of it; a directory is listed.

    What is returned is what the key of the object will begin with, for `plan`.

    Raises
    ------
    ConfigurationError
        If a key value does not suit the partition pattern.
    InvalidKeyError
        If the object key, or that of a member, would be too long.
    SourceError, UnsafeNameError
        If something in a directory cannot be stored.
    """
    prefix = prefix_of(stores.project, stores.settings.object_storage.partition_pattern, cell)
    key = source.link.rstrip("/") or object_key(prefix, source.name or cell.attribute, _ANY_WRITE_ID)
    if isinstance(source.tree, LocalTree) and source.tree.contains(stores.local_path(stores.project)):
        raise SourceError("the directory contains the project's own store: give what is to be stored of it")
    if source.tree is not None:
        check_members(key, source.tree.listing)
    return prefix


def plan(stores: Stores, source: Source, cell: Cell, prefix: str = "") -> Upload:
    """Decide under which key and name *source* is going to be stored; *prefix* is from `check`, if that was asked.

    Reads at most the first bytes of the source, where it has no name: its media type gives one a suffix.
    """
    mime_type = source.mime_type or media_types.of_name(source.name)
    if source.link and source.tree is None:
        return Upload(source.link, cell, source, source.name, mime_type, "", link=source.link)
    if not mime_type and not source.name:
        mime_type = media_types.of_content(source.head())
    name = source.name or f"{cell.attribute}{media_types.suffix_for(mime_type)}"
    write_id = new_write_id()
    key = object_key(prefix or check(stores, source, cell), name, write_id)
    key += "/" if source.tree is not None else ""
    return Upload(key, cell, source, name, mime_type, write_id, link=source.link)


def check_members(key: str, listing: Listing) -> None:
    """Raise if the members of a directory that is to be stored under *key* could not be named, or be listed.

    Raises
    ------
    InvalidKeyError
        If the key of one would be too long, there are too many of them, or a list of them could not be read: one is
        both a file and a directory, say.
    """
    room = MAX_KEY_BYTES - len(key) - 1
    if too_long := [name for name in listing.names if len(name) > room]:
        shown = ", ".join(brief(decode_path(name), 200) for name in too_long[1:_TOLD])
        left = f" and {len(too_long) - _TOLD} more" if len(too_long) > _TOLD else ""
        others = f" (likewise of {shown}{left})" if shown else ""
        raise InvalidKeyError(
            f"the object key of its member {brief(decode_path(too_long[0]), 200)} would have "
            f"{len(key) + 1 + len(too_long[0])} bytes, more than the {MAX_KEY_BYTES} that object stores allow{others}: "
            "shorten its path, leave it out with Directory(…, exclude=…), or leave long key attributes out of "
            "partition_pattern"
        )
    count = len(listing.names) + len(listing.empty)
    if sum(map(len, chain(listing.names, listing.empty))) + _LINES_BYTES * count > manifest.MAX_BYTES:
        raise InvalidKeyError(
            f"{count} files and empty directories are more than the list of one directory has room for: insert its "
            "parts as directories of their own, or pack what is small"
        )
    try:
        manifest.check_entries(listing.names, listing.empty)
    except MetadataError as error:
        raise InvalidKeyError(f"its list of files could not be read: {error}; call one of them otherwise") from error
