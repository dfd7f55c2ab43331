"""Object stores: bytes by key, behind one contract.

The only package that imports fsspec's filesystems. It knows no rows, and of metadata only what a bucket shows.
"""

from datajoint_file.storage.backend import (
    Capabilities,
    ContentHeaders,
    ObjectStat,
    Reader,
    StorageBackend,
    UnfinishedUpload,
)
from datajoint_file.storage.factory import open_backend, open_root, place_of

__all__ = [
    "Capabilities",
    "ContentHeaders",
    "ObjectStat",
    "Reader",
    "StorageBackend",
    "UnfinishedUpload",
    "open_backend",
    "open_root",
    "place_of",
]
