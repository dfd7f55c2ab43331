"""Bucket listing, one page a request: what the three kinds of store answer, and that no page is left out.

In the terms of their own interfaces, since fsspec's ``find`` holds a whole listing in memory. Which pages are asked
for, and what errors mean, is decided in `bucket.backend`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

from datajoint_file.errors import StorageError
from datajoint_file.storage.backend import ObjectStat, UnfinishedUpload
from datajoint_file.storage.shared import moment

PAGE_SIZE = 1000
"""Entries of one page, the most that S3 gives."""

ListedObject = TypeVar("ListedObject", ObjectStat, UnfinishedUpload)
Marker = Any
"""What a store gives with a page for asking for the next one; None with the last."""

Page = tuple[list[ListedObject], Marker]


AskForPage = Callable[[Any, str, str, int, Marker], Coroutine[Any, Any, Page[ListedObject]]]
"""Asks a filesystem for at most so many entries of a bucket whose names begin with a prefix, after a marker."""


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


async def _s3_objects(filesystem: Any, bucket: str, prefix: str, size: int, marker: Marker) -> Page[ObjectStat]:
    after = {"ContinuationToken": marker} if marker else {}
    reply = await filesystem._call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=size, **after)
    objects = [ObjectStat(o["Key"], o["Size"], moment(o.get("LastModified"))) for o in reply.get("Contents", ())]
    return objects, _following(reply, reply.get("NextContinuationToken"))


async def _s3_uploads(filesystem: Any, bucket: str, prefix: str, size: int, marker: Marker) -> Page[UnfinishedUpload]:
    request = {"Bucket": bucket, "Prefix": prefix, "MaxUploads": size, **(marker or {})}
    reply = await filesystem._call_s3("list_multipart_uploads", **request)
    uploads = [
        UnfinishedUpload(upload["Key"], upload["UploadId"], moment(upload.get("Initiated")), None)
        for upload in reply.get("Uploads", ())
    ]
    # Both for AWS; SeaweedFS knows one by the upload alone, and finds less if it is given a key as well.
    markers = {name: reply[f"Next{name}"] for name in ("KeyMarker", "UploadIdMarker") if reply.get(f"Next{name}")}
    return uploads, _following(reply, markers)


def _following(reply: dict[str, Any], marker: Marker) -> Marker:
    """Return where S3's next page begins, None if there is none."""
    if not reply.get("IsTruncated"):
        return None
    if not marker:
        raise StorageError("the listing is not complete: the store says that there is more, and not where")
    return marker


async def _gcs_objects(filesystem: Any, bucket: str, prefix: str, size: int, marker: Marker) -> Page[ObjectStat]:
    fields = "nextPageToken,items(name,size,updated)"
    query = {"prefix": prefix or None, "maxResults": size, "pageToken": marker, "fields": fields}
    reply = await filesystem._call("GET", "b/{}/o", bucket, json_out=True, **query)
    objects = [ObjectStat(o["name"], int(o["size"]), moment(o.get("updated"))) for o in reply.get("items", ())]
    return objects, reply.get("nextPageToken") or None


async def _azure_objects(filesystem: Any, bucket: str, prefix: str, size: int, marker: Marker) -> Page[ObjectStat]:
    async with filesystem.service_client.get_container_client(container=bucket) as client:
        blobs = client.list_blobs(name_starts_with=prefix or None, include=["metadata"], results_per_page=size)
        pages = blobs.by_page(marker)
        page = [blob async for blob in await anext(pages)]
        objects = [ObjectStat(b.name, b.size, moment(b.last_modified)) for b in page if not _is_directory(b)]
        return objects, pages.continuation_token or None


def _is_directory(blob: Any) -> bool:
    """Tell a directory, which accounts with a hierarchical namespace list as a blob of a kind."""
    metadata = blob.metadata or {}
    return "true" in (metadata.get("hdi_isfolder"), metadata.get("Hdi_isfolder"), metadata.get("is_directory"))


OBJECTS: dict[str, AskForPage[ObjectStat]] = {"s3": _s3_objects, "gs": _gcs_objects, "abfs": _azure_objects}
"""How to ask for a page of objects, by scheme."""

UPLOADS: dict[str, AskForPage[UnfinishedUpload]] = {"s3": _s3_uploads}
"""How to ask for a page of unfinished uploads; the others do not list them."""
