"""Bucket listing, one page a request, none left out.

What a page is asked for with, in each store's own terms, stands in `s3`, `gcs` and `azure`: fsspec's ``find`` holds a
whole listing in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

from datajoint_file.errors import StorageError
from datajoint_file.storage.backend import ObjectStat, UnfinishedUpload

PAGE_SIZE = 1000
"""Entries of one page, the most that S3 gives."""

ListedObject = TypeVar("ListedObject", ObjectStat, UnfinishedUpload)
Marker = Any
"""What a store gives with a page for asking for the next one; None with the last."""

Page = tuple[list[ListedObject], Marker]

AskForPage = Callable[[Any, str, Marker], Coroutine[Any, Any, Page[ListedObject]]]
"""Asks a filesystem for a page of a bucket's entries whose names begin with a prefix, after a marker."""


def entries_of(ask: Callable[[Marker], Page[ListedObject]]) -> Iterator[ListedObject]:
    """Give the entries of all pages, asking for each when it is needed."""
    marker = None
    while True:
        entries, following = ask(marker)
        yield from entries
        if following is None:
            return
        marker = following


def check_progress(marker: Marker, following: Marker) -> None:
    """Raise `StorageError` if the page after *marker* leads to itself, which would go on for ever."""
    if following is not None and following == marker:
        raise StorageError("the listing is not complete: the store gives the same page again and again")
