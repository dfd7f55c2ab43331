"""S3 backend through fsspec: what S3 does otherwise than other object stores.

Its uploads are in `s3_multipart`.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from io import BytesIO
from typing import Any
from urllib.parse import quote

from datajoint_file.config.settings import StorageSettings
from datajoint_file.errors import ObjectNotFoundError, SigningError, StorageError
from datajoint_file.storage.backend import (
    Capabilities,
    ContentHeaders,
    ObjectStat,
    Reader,
    UnfinishedUpload,
    hashed,
    receipt_of,
)
from datajoint_file.storage.bucket.backend import (
    NO_CONTENT,
    NO_LINK,
    BucketBackend,
    Marker,
    Page,
    Piece,
    foreign_listing,
)
from datajoint_file.storage.bucket.part_sizes import PartPlan, memory_for, plan_parts, smallest_part
from datajoint_file.storage.bucket.query_signature import aws_signer
from datajoint_file.storage.bucket.s3_identity import S3Address, s3_address, s3_keys
from datajoint_file.storage.bucket.s3_multipart import Destination, MultipartUpload, copy, put
from datajoint_file.storage.remote.requests import run
from datajoint_file.storage.shared import check_prefix, entity_tag, is_object_key, moment
from datajoint_file.storage.tuning import CONNECTIONS

_CONFIG = {
    # `s3_multipart` sends checksums of its own: the client need not hash every byte a second time.
    "s3": {"payload_signing_enabled": False},
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
    "user_agent": "datajoint-file",  # else the client describes itself anew for each request, which takes its time
    "max_pool_connections": CONNECTIONS,
}


_COPIED_WHOLE = 5 * 2**30
"""Bytes that S3 copies in one request."""

_COPIED_PART, _COPIED_AT_ONCE = 2**28, 8
"""Bytes of a part of what it copies in parts, and how many of them it is asked for at a time."""


class S3Backend(BucketBackend):
    """Objects of a bucket of S3, or of a server that speaks like it."""

    protocol = "s3"
    _address: S3Address | None = None  # once a link was made: AWS may have to be asked for it
    _memory_for = staticmethod(memory_for)
    _plan_parts = staticmethod(plan_parts)

    @staticmethod
    def arguments(storage: StorageSettings, credentials: dict[str, Any]) -> dict[str, Any]:
        """Return what s3fs is made with."""
        arguments = {**credentials, "config_kwargs": dict(_CONFIG)}
        if credentials.get("anon") or credentials.keys() >= {"key", "secret"}:
            arguments["session"] = _session_without_profile()
        if storage.endpoint_url:
            arguments["endpoint_url"] = storage.endpoint_url
        if storage.region:
            arguments["client_kwargs"] = {"region_name": storage.region}
        return arguments

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, lists_unfinished=True)

    def stat(self, key: str) -> ObjectStat:
        bucket, _, name = self._path(key).partition("/")
        with self._translated(key):
            filesystem = self._filesystem()
            found = run(filesystem, filesystem._call_s3("head_object", Bucket=bucket, Key=name))
        return ObjectStat(
            key, int(found["ContentLength"]), moment(found.get("LastModified")), entity_tag(found.get("ETag"))
        )

    def unfinished(self, prefix: str = "") -> Iterator[UnfinishedUpload]:
        prefix = self._confined(check_prefix(prefix))
        below = f"{prefix}/" if prefix else ""
        for upload in self._entries(self._upload_page, prefix, prefix if "/" in prefix else below):
            if is_object_key(upload.key) and f"{upload.key}/".startswith(below):
                yield upload

    def discard(self, upload: UnfinishedUpload) -> None:
        key = self._confined(upload.key)
        bucket, _, name = self._path(key).partition("/")
        with suppress(ObjectNotFoundError), self._translated(key):
            filesystem = self._filesystem()
            request = filesystem._call_s3("abort_multipart_upload", Bucket=bucket, Key=name, UploadId=upload.id)
            run(filesystem, request)

    def _link(self, name: str, seconds: int, fields: dict[str, str]) -> str:
        filesystem = self._filesystem()
        if filesystem.anon:
            raise SigningError(f"{name}: an anonymous caller has no key to sign links with; {NO_LINK}")
        self._address = address = self._address or s3_address(filesystem, self.bucket)
        access_key, secret, token = s3_keys(filesystem)()
        query = {f"response-{field.lower()}": value for field, value in fields.items()}
        query |= {"x-amz-request-payer": "requester"} if filesystem.req_kw else {}
        query |= {"X-Amz-Security-Token": token} if token else {}
        path = name if address.is_virtual else f"{self.bucket}/{name}"
        url = f"{address.endpoint.rstrip('/')}/{quote(path, safe='/~')}"
        return aws_signer(access_key, secret, address.region).url(url, query, seconds, datetime.now(timezone.utc))

    def _put(self, key: str, content: bytes, reader: Reader, headers: ContentHeaders) -> Iterable[Piece]:
        digests = hashed(reader)
        destination = self._destination(key, headers)
        request = put(destination, content, digests.sha256 if digests else None)
        receipt_of(reader).tag, unchecked = run(self._filesystem(), request)
        return unchecked

    def _begin(self, key: str, plan: PartPlan, expected: int, headers: ContentHeaders) -> MultipartUpload:
        upload = MultipartUpload(self._destination(key, headers), plan, expected)
        upload.begin()
        return upload

    def _copy(self, source: str, size: int, key: str, headers: ContentHeaders, *, is_new: bool) -> None:
        """Copy in parts where it depends on what is there: few stores know a condition for copies, most one for parts.

        An empty object has no parts.
        """
        destination = self._destination(key, headers)
        destination.sends_checksums = False  # of what only the store has
        if not is_new and size <= _COPIED_WHOLE:
            run(self._filesystem(), copy(destination, source))
        elif not size:
            self._put(key, b"", BytesIO(), headers)
        else:
            plan = PartPlan(max(_COPIED_PART, smallest_part(size)), _COPIED_AT_ONCE)
            upload = MultipartUpload(destination, plan, size)
            upload.begin()
            try:
                upload.copy(source, size)
                upload.complete()
            except BaseException:
                upload.abandon()
                raise

    def _destination(self, key: str, headers: ContentHeaders) -> Destination:
        return Destination(self._filesystem(), self._path(key), headers, exclusive=self._exclusive)

    async def _delete(self, filesystem: Any, bucket: str, name: str) -> bool:
        answer = await filesystem._call_s3("delete_object", Bucket=bucket, Key=name)
        return bool(answer["ResponseMetadata"]["HTTPStatusCode"] == NO_CONTENT)

    async def _object_page(self, filesystem: Any, below: str, marker: Marker) -> Page[ObjectStat]:
        query = {"Bucket": self.bucket, "Prefix": below, "MaxKeys": self.page_size}
        after = {"ContinuationToken": marker} if marker else {}
        reply = await filesystem._call_s3("list_objects_v2", **query, **after)
        objects = [
            ObjectStat(o["Key"], o["Size"], moment(o.get("LastModified")), entity_tag(o.get("ETag")))
            for o in reply.get("Contents", ())
        ]
        return objects, _following(reply, reply.get("NextContinuationToken"))

    async def _upload_page(self, filesystem: Any, below: str, marker: Marker) -> Page[UnfinishedUpload]:
        query = {"Bucket": self.bucket, "Prefix": below, "MaxUploads": self.page_size}
        reply = await filesystem._call_s3("list_multipart_uploads", **query, **(marker or {}))
        found = reply.get("Uploads", ())
        uploads = [UnfinishedUpload(u["Key"], u["UploadId"], moment(u.get("Initiated")), None) for u in found]
        # Both for AWS; SeaweedFS knows one by the upload alone, and finds less if it is given a key as well.
        markers = {name: reply[f"Next{name}"] for name in ("KeyMarker", "UploadIdMarker") if reply.get(f"Next{name}")}
        return uploads, _following(reply, markers)


def _session_without_profile() -> Any:
    """Return a session for who brings his own keys: a profile or file of AWS's that cannot be read does not matter."""
    session = importlib.import_module("aiobotocore.session").AioSession()
    try:
        session.get_scoped_config()  # a region may stand there
    except Exception:  # noqa: BLE001 - no such profile, no such file, not to be parsed, not to be read
        variables = session.get_component("config_store")
        for name, value in {"profile": None, "config_file": os.devnull, "credentials_file": os.devnull}.items():
            variables.set_config_variable(name, value)
    return session


def _following(reply: dict[str, Any], marker: Marker) -> Marker:
    """Return where S3's next page begins, None if there is none: the store says so, or it is not the store's answer."""
    if "IsTruncated" not in reply:
        raise foreign_listing()
    if not reply.get("IsTruncated"):
        return None
    if not marker:
        raise StorageError("the listing is not complete: the store says that there is more, and not where")
    return marker
