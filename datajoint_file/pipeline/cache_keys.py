"""Names of cache entries: a digest of what it is, of which store and project, and of its bytes.

A row says what its hash is, and anybody who may insert can copy the hash of another project's row: the store is in the
name, so that a row gets what its own store was asked for, and nothing else. And it is said whether it is a file: a
directory has the digest of its manifest, which can be a file, too.
"""

from __future__ import annotations

import hashlib

from datajoint_file.cache.space import BLOCK_BYTES
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.pipeline.stores import Stores


def entry_key(stores: Stores, metadata: FileMetadata) -> str:
    """Return the name of the entry of a stored file or directory: 64 hexadecimal digits."""
    return _key("directory" if metadata.is_directory else "file", stores, metadata)


def directory_room(metadata: FileMetadata) -> int:
    """Return how many bytes a stored directory takes in the cache."""
    return metadata.size + (metadata.files or 0) * BLOCK_BYTES


def link_key(stores: Stores, metadata: FileMetadata, path: str) -> str:
    """Return the name of the entry of a link, or a tree of links, to what is at *path* on a disk."""
    return _key("links", stores, metadata, path)


def _key(kind: str, stores: Stores, metadata: FileMetadata, path: str = "") -> str:
    parts = kind, stores.identity_of(metadata), metadata.hash, path
    return hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()
