"""For whoever adds a store, or builds on one: the conformance suite of stores, and stores that fail or lie on purpose.

Public, but apart: nothing else of the package imports it. The suite needs pytest, the rest does not.

A store's author writes a class of his own, two fixtures, and has every promise of `StorageBackend` tested:

.. code-block:: python

    class TestTapeBackend(StorageBackendTests):
        @pytest.fixture
        def backend(self):
            return TapeBackend("conformance")

        @pytest.fixture
        def raw(self):
            return TapeThroughItsOwnClient("conformance")
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from datajoint_file.testing.faults import Fault, FaultyBackend, fail, kill, raising
from datajoint_file.testing.lies import (
    CutShort,
    DeletesPrefix,
    LooksOnlyBefore,
    RefusingAfterwards,
    Replacing,
    ShortListing,
    StaleListing,
    Undeleting,
    WrongClock,
    WrongSize,
)
from datajoint_file.testing.raw import DirectoryStore, RawStore
from datajoint_file.testing.readers import (
    FailingReader,
    GeneratedReader,
    LimitedReader,
    ShortReader,
    SlowReader,
    generated,
)

if TYPE_CHECKING:
    from datajoint_file.testing.conformance import NetworkTests, ReadingTests, StorageBackendTests

__all__ = [
    "CutShort",
    "DeletesPrefix",
    "DirectoryStore",
    "FailingReader",
    "Fault",
    "FaultyBackend",
    "GeneratedReader",
    "LimitedReader",
    "LooksOnlyBefore",
    "NetworkTests",
    "RawStore",
    "ReadingTests",
    "RefusingAfterwards",
    "Replacing",
    "ShortListing",
    "ShortReader",
    "SlowReader",
    "StaleListing",
    "StorageBackendTests",
    "Undeleting",
    "WrongClock",
    "WrongSize",
    "fail",
    "generated",
    "kill",
    "raising",
]

_CONFORMANCE = "datajoint_file.testing.conformance"


def __getattr__(name: str) -> Any:
    """Import the suites when they are asked for: they need pytest, which rewrites their assertions."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _CONFORMANCE not in sys.modules:
        importlib.import_module("pytest").register_assert_rewrite(_CONFORMANCE)
    return getattr(importlib.import_module(_CONFORMANCE), name)
