"""The contract of `StorageBackend`, executed: suites to inherit from.

Each suite looks at what the backend did through a `RawStore`, which shares no code with it. The promises are in
`datajoint_file.storage.backend`; nothing is tested here that is not promised there.
"""

from __future__ import annotations

from datajoint_file.testing.conformance.concurrency import ConcurrencyTests
from datajoint_file.testing.conformance.deleting import DeletingTests
from datajoint_file.testing.conformance.directories import DirectoryTests
from datajoint_file.testing.conformance.network import NetworkTests
from datajoint_file.testing.conformance.reading import ReadingTests
from datajoint_file.testing.conformance.unfinished import UnfinishedTests
from datajoint_file.testing.conformance.uploading import UploadingTests

__all__ = ["NetworkTests", "ReadingTests", "StorageBackendTests"]


class StorageBackendTests(
    ReadingTests, UploadingTests, DeletingTests, DirectoryTests, UnfinishedTests, ConcurrencyTests
):
    """Every promise of `StorageBackend`.

    Inherit in a class whose name pytest collects, and override:

    - the fixture ``backend``: the backend under test, with objects below `project`;
    - the fixture ``raw``: a `RawStore` of the same objects;
    - the fixture ``secrets``, if there are credentials: texts that no message and no URL may show;
    - `part_size`, if large objects go part by part: the size the backend under test was made with, small for speed.

    Stores behind a network also inherit `NetworkTests`. Wrappers that pass everything on run the whole suite; one that
    only reads runs `ReadingTests`.
    """
