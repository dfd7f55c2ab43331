"""Listings of buckets go page by page, and to the end or to an error, whatever a server says."""

from __future__ import annotations

import itertools
import json
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import pytest

from datajoint_file.errors import StorageAccessError, StorageError
from datajoint_file.storage import StorageBackend
from tests.contract.conftest import PROJECT, backend_of
from tests.contract.refusing import Reply, scripted_server
from tests.contract.stalling import PATIENCE_SECONDS, StalledServer

KEYS = [f"{PROJECT}/{number}/recording.dat" for number in range(6)]
TIME = "2026-01-01T00:00:00.000Z"
HTTP_TIME = "Thu, 01 Jan 2026 00:00:00 GMT"
BLOB = "<BlobType>BlockBlob</BlobType>"

Page = Callable[[Sequence[str], str], Reply]


def s3_page(keys: Sequence[str], following: str) -> Reply:
    found = "".join(
        f"<Contents><Key>{key}</Key><Size>7</Size><LastModified>{TIME}</LastModified></Contents>" for key in keys
    )
    more = f"<IsTruncated>{str(bool(following)).lower()}</IsTruncated>"
    token = f"<NextContinuationToken>{following}</NextContinuationToken>" if following else ""
    return Reply(f"<ListBucketResult>{more}{token}{found}</ListBucketResult>".encode(), content_type="application/xml")


def gcs_page(keys: Sequence[str], following: str) -> Reply:
    items = [{"name": key, "size": "7", "updated": TIME} for key in keys]
    token = {"nextPageToken": following} if following else {}
    return Reply(json.dumps({"kind": "storage#objects", "items": items, **token}).encode())


def azure_page(keys: Sequence[str], following: str) -> Reply:
    properties = f"<Last-Modified>{HTTP_TIME}</Last-Modified><Content-Length>7</Content-Length>{BLOB}"
    blobs = "".join(f"<Blob><Name>{key}</Name><Properties>{properties}</Properties></Blob>" for key in keys)
    body = f"<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker>{following}</NextMarker></EnumerationResults>"
    return Reply(body.encode(), content_type="application/xml")


PAGES: dict[str, Page] = {"s3": s3_page, "gcs": gcs_page, "azure": azure_page}
TOKENS = {"s3": "continuation-token", "gcs": "pageToken", "azure": "marker"}
ACCOUNT = "DefaultEndpointsProtocol=http;AccountName=lab;AccountKey=bGFi"

TABLES: dict[str, dict[str, Any]] = {
    "s3": {"backend": "s3", "bucket": "lab", "credentials": {"key": "lab", "secret": "lab"}},
    "gcs": {"backend": "gcs", "bucket": "lab", "credentials": {"token": "anon"}},
    "azure": {"backend": "azure", "container": "lab", "credentials": {"connection_string": ACCOUNT}},
}


@pytest.fixture(params=PAGES)
def cloud(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def page(cloud: str) -> Page:
    return PAGES[cloud]


def backend_at(cloud: str, address: str) -> StorageBackend:
    """Return the backend of a kind that asks the server at *address*."""
    if cloud == "azure":
        credentials = {"connection_string": f"{ACCOUNT};BlobEndpoint={address}/lab"}
        return backend_of({**TABLES[cloud], "credentials": credentials}, page_size=2)
    return backend_of({**TABLES[cloud], "endpoint_url": address}, page_size=2)


def three_pages(page: Page) -> list[Reply]:
    return [page(KEYS[:2], "first"), page(KEYS[2:4], "second"), page(KEYS[4:], "")]


def test_pages_are_asked_for_when_they_are_needed(cloud: str, page: Page) -> None:
    with scripted_server(*three_pages(page)) as script:
        found = backend_at(cloud, script.address).list(PROJECT)
        assert script.requests == []
        asked = [(next(found).key, len(script.requests)) for _ in KEYS]
        assert asked == list(zip(KEYS, [1, 1, 2, 2, 3, 3], strict=True))
        assert list(found) == []
    assert len(script.requests) == 3
    assert [_token(cloud, request) for request in script.requests] == ["", "first", "second"]


def test_an_empty_page_is_not_the_last(cloud: str, page: Page) -> None:
    with scripted_server(page([], "first"), page([], "second"), page(KEYS, "")) as script:
        assert [found.key for found in backend_at(cloud, script.address).list(PROJECT)] == KEYS


def test_error_of_a_later_page_comes_after_the_earlier_ones(cloud: str, page: Page) -> None:
    refusal = Reply(b"{}" if cloud == "gcs" else b"<Error><Code>AccessDenied</Code></Error>", 403)
    with scripted_server(*three_pages(page)[:2], refusal) as script:
        _check_breaks_off(backend_at(cloud, script.address), KEYS[:4], StorageAccessError)


def test_reply_that_is_no_page_is_an_error(cloud: str, page: Page) -> None:
    with scripted_server(
        page(KEYS[:2], "first"), Reply(b"<html>a proxy greets you", content_type="text/html")
    ) as script:
        _check_breaks_off(backend_at(cloud, script.address), KEYS[:2], StorageError)


def test_page_that_leads_to_itself_is_an_error(cloud: str, page: Page) -> None:
    with scripted_server(page(KEYS[:2], "first")) as script:
        _check_breaks_off(backend_at(cloud, script.address), KEYS[:2], StorageError)


def test_more_without_saying_where_is_an_error() -> None:
    lost = s3_page(KEYS[:2], "first").body.replace(b"NextContinuationToken", b"NextMarker")
    with scripted_server(Reply(lost, content_type="application/xml")) as script:
        with pytest.raises(StorageError, match="not complete"):
            list(backend_at("s3", script.address).list(PROJECT))


def test_objects_that_nobody_asked_for_are_not_given(cloud: str, page: Page) -> None:
    """By a server that ignores the prefix."""
    with scripted_server(page([*KEYS, f"{PROJECT}2/a", "other/b", f"{PROJECT}/not a key"], "")) as script:
        assert [found.key for found in backend_at(cloud, script.address).list(PROJECT)] == KEYS


def test_sizes_and_times_are_those_of_the_page(cloud: str, page: Page) -> None:
    with scripted_server(page(KEYS[:1], "")) as script:
        (found,) = backend_at(cloud, script.address).list(PROJECT)
    assert found.size == 7
    assert found.modified is not None
    assert found.modified.isoformat() == "2026-01-01T00:00:00+00:00"


def test_directories_of_a_hierarchical_namespace_are_no_objects() -> None:
    folder = b"<Blob><Name>conformance/0</Name><Properties>" + BLOB.encode() + b"</Properties>"
    folder += b"<Metadata><hdi_isfolder>true</hdi_isfolder></Metadata></Blob></Blobs>"
    body = azure_page(KEYS, "").body.replace(b"</Blobs>", folder)
    with scripted_server(Reply(body, content_type="application/xml")) as script:
        assert [found.key for found in backend_at("azure", script.address).list(PROJECT)] == KEYS


def test_listing_that_is_left_early_asks_for_no_more(cloud: str, page: Page) -> None:
    replies = [page([f"{key}-{number}" for key in KEYS], f"token{number}") for number in range(200)]
    with scripted_server(*replies) as script:
        found = backend_at(cloud, script.address).list(PROJECT)
        assert len(list(itertools.islice(found, 100))) == 100
        found.close()  # type: ignore[attr-defined]
    assert len(script.requests) == 17


def test_interrupt_stops_a_listing(cloud: str) -> None:
    stalled = StalledServer()
    with closing(stalled.socket):
        thread = threading.Thread(target=stalled.serve_one)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            list(backend_at(cloud, stalled.address).list(PROJECT))
        assert stalled.was_left.wait(PATIENCE_SECONDS)
        thread.join()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _token(cloud: str, request: str) -> str:
    return request.partition(f"{TOKENS[cloud]}=")[2].partition("&")[0]


def _check_breaks_off(backend: StorageBackend, keys: Sequence[str], error: type[StorageError]) -> None:
    """See that a listing gives *keys*, and then the error, not the end."""
    given = []
    with pytest.raises(error) as caught:
        for found in backend.list(PROJECT):
            given.append(found.key)
    assert given == list(keys)
    assert caught.value.key == PROJECT
