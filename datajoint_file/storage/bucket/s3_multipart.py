"""S3 uploads, single or multipart, each part with a checksum that the store compares.

Several parts are under way while the next is read. What errors mean is for `bucket.backend`.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from io import BytesIO
from typing import Any

from datajoint_file.concurrency.threads import FOREVER
from datajoint_file.storage.backend import ContentHeaders
from datajoint_file.storage.bucket.backend import Piece
from datajoint_file.storage.bucket.part_sizes import PartPlan, part_sizes
from datajoint_file.storage.remote.client_errors import says_changed
from datajoint_file.storage.remote.requests import Request, run
from datajoint_file.storage.shared import entity_tag

logger = logging.getLogger(__name__)

_PIECE = 2**18
"""Bytes handed to a connection at a time: what it cannot send at once it copies."""

_ATTEMPTS = 3
"""How often to send what the store says has changed on its way."""

_PATIENCE_SECONDS = 10
"""How long to wait for cancelled requests. They end at once; nobody shall wait for one that does not."""


class Destination:
    """Where an object goes (*path* is bucket and key), and how the store is talked to, through a filesystem of s3fs."""

    def __init__(self, filesystem: Any, path: str, headers: ContentHeaders, *, exclusive: bool) -> None:
        self.filesystem = filesystem
        self.place = _place(path)
        self.headers = {name.replace("-", ""): value for name, value in headers.fields().items()}
        self.condition = {"IfNoneMatch": "*"} if exclusive else {}
        # Who lets the client hash and sign every byte has a store that compares that, and may not know checksums.
        signs = (filesystem.config_kwargs.get("s3") or {}).get("payload_signing_enabled", False)
        self.sends_checksums = not signs
        self._is_encrypted = True

    async def call(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """Make one request, and again if the store says that what it got is not what was sent."""
        await self._prepare()
        for _ in range(_ATTEMPTS - 1):
            try:
                return await self._call(verb, arguments)
            except Exception as error:
                if not says_changed(error):
                    raise
            logger.debug("%s: bytes were changed on the way, sending them again", verb)
        return await self._call(verb, arguments)

    def is_checked(self, answer: dict[str, Any], checksum: dict[str, str]) -> bool:
        """Tell whether somebody has compared what was sent: TLS, or the store, whose *answer* has *checksum* then.

        An answer without an entity tag is not the store's.
        """
        if "ETag" not in answer:
            return False
        return self._is_encrypted or all(answer.get(name) == value for name, value in checksum.items())

    async def _call(self, verb: str, arguments: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = await self.filesystem._call_s3(verb, **self.place, **arguments)
        return answer

    async def _prepare(self) -> None:
        await self.filesystem.set_session()
        client = await self.filesystem.get_s3(self.place["Bucket"])
        client.meta.events.register("before-send.s3", _send_in_pieces, unique_id="datajoint_file")
        self._is_encrypted = not client.meta.endpoint_url.startswith("http://")


async def put(destination: Destination, content: bytes, sha256: bytes | None) -> tuple[str, list[Piece]]:
    """Send a small object in one request; return its entity tag, and itself as a piece if nobody has compared it.

    *sha256* is its digest, if somebody has computed it already.
    """
    checksum = {}
    if destination.sends_checksums:
        digest = sha256 or (await asyncio.to_thread(hashlib.sha256, content)).digest()
        checksum = {"ChecksumSHA256": b64encode(digest).decode()}
    options = {**checksum, **destination.headers, **destination.condition}
    answer = await destination.call("put_object", Body=content, **options)
    is_checked = destination.is_checked(answer, checksum)
    return entity_tag(answer.get("ETag")), [] if is_checked else [Piece(0, len(content), zlib.crc32(content))]


async def copy(destination: Destination, source: str) -> None:
    """Have the store copy another object in one request, in place of what is there."""
    await destination.call("copy_object", CopySource=_place(source))


def _place(path: str) -> dict[str, str]:
    bucket, _, key = path.partition("/")
    return {"Bucket": bucket, "Key": key}


class MultipartUpload:
    """One object on its way, part by part. It becomes one with `complete`. *expected* is 0 if its size is not known."""

    def __init__(self, destination: Destination, plan: PartPlan, expected: int) -> None:
        self._destination = destination
        self._plan = plan
        self._expected = expected
        self._parts: list[dict[str, Any]] = []
        self._unchecked: list[Piece] = []
        self._under_way: dict[Request[None], int] = {}
        self._upload: dict[str, str] = {}
        self._algorithm = {"ChecksumAlgorithm": "CRC32"} if destination.sends_checksums else {}
        self._number = 0
        self.size = 0
        self.tag = ""

    def begin(self) -> None:
        """Tell the store."""
        options = {**self._algorithm, **self._destination.headers}
        answer = self._run(self._destination.call("create_multipart_upload", **options))
        self._upload = {"UploadId": answer["UploadId"]}

    def sizes(self) -> Iterator[int]:
        """Give the size of one part after the other."""
        return part_sizes(self._plan.part_size, self._expected)

    def send(self, content: bytes) -> None:
        """Send the next part, and wait until no more is under way than may be."""
        self._begin_part(len(content), self._send(self._number + 1, self.size, content))

    def copy(self, source: str, size: int) -> None:
        """Have the store copy another object, part by part; nobody but the store compares anything then."""
        for start in range(0, size, self._plan.part_size):
            stop = min(start + self._plan.part_size, size)
            bounds = {} if (start, stop) == (0, size) else {"CopySourceRange": f"bytes={start}-{stop - 1}"}
            self._begin_part(stop - start, self._copy(self._number + 1, source, bounds))

    def _begin_part(self, size: int, request: Coroutine[Any, Any, None]) -> None:
        self._number += 1
        self.size += size
        part = Request(self._destination.filesystem, request)
        self._under_way[part] = size
        part.begin()
        self._wait(self._plan.in_flight * self._plan.part_size + self._plan.more)

    def _wait(self, at_most: int) -> None:
        """Wait until no more than so many bytes are under way. Raises what has been raised for one of them."""
        self._collect(timeout=0)
        while sum(self._under_way.values()) > at_most:
            self._collect(FOREVER)

    def complete(self) -> list[Piece]:
        """Make the object of all parts, and return those that nobody has compared."""
        self._wait(at_most=0)
        parts = sorted(self._parts, key=lambda part: int(part["PartNumber"]))
        request = {**self._upload, "MultipartUpload": {"Parts": parts}, **self._destination.condition}
        answer = self._run(self._destination.call("complete_multipart_upload", **request))
        self.tag = entity_tag(answer.get("ETag"))
        return self._unchecked

    def abandon(self) -> None:
        """Make sure that this never becomes an object. Nothing is under way any more when this returns."""
        for part in self._under_way:
            part.stop()
        wait([part.answer for part in self._under_way], _PATIENCE_SECONDS)
        try:
            self._run(self._destination.call("abort_multipart_upload", **self._upload))
        except FileNotFoundError:
            logger.debug("%s: the upload was gone", self._destination.place["Key"])
        except Exception:  # the first error is the one to report; unfinished parts are the collector's
            logger.warning("could not discard the unfinished upload of %s", self._destination.place, exc_info=True)

    def _run(self, request: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
        return run(self._destination.filesystem, request)

    def _collect(self, timeout: float) -> None:
        done, _ = wait([part.answer for part in self._under_way], timeout, FIRST_COMPLETED)
        self._under_way = {part: size for part, size in self._under_way.items() if part.answer not in done}
        for answer in done:
            answer.result()

    async def _send(self, number: int, start: int, content: bytes) -> None:
        # Not here: the thread in which all requests are made has enough to do.
        crc32 = await asyncio.get_running_loop().run_in_executor(None, zlib.crc32, content)
        checksum = {"ChecksumCRC32": b64encode(crc32.to_bytes(4, "big")).decode()} if self._algorithm else {}
        request = {**self._upload, **self._algorithm, **checksum, "PartNumber": number}
        answer = await self._destination.call("upload_part", Body=content, **request)
        self._parts.append({"PartNumber": number, "ETag": answer["ETag"], **checksum})
        if not self._destination.is_checked(answer, checksum):
            self._unchecked.append(Piece(start, start + len(content), crc32))

    async def _copy(self, number: int, source: str, bounds: dict[str, str]) -> None:
        request = {**self._upload, **bounds, "CopySource": _place(source), "PartNumber": number}
        answer = await self._destination.call("upload_part_copy", **request)
        self._parts.append({"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]})


def _send_in_pieces(request: Any, **_: Any) -> None:
    """Change *request* at the last moment, when all that botocore does with its body is done."""
    content = request.body.getvalue() if isinstance(request.body, BytesIO) else b""
    if len(content) > _PIECE:
        request.body = _Pieces(content)
    elif "Expect" in request.headers:  # asking whether it may be sent takes longer than sending it
        del request.headers["Expect"]


class _Pieces:
    """Bytes that aiohttp takes piece by piece, each when the one before has left. Of the whole it would make a copy."""

    def __init__(self, content: bytes) -> None:
        self._content = memoryview(content)

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        for start in range(0, len(self._content), _PIECE):
            yield self._content[start : start + _PIECE]

    def seek(self, _: int) -> None:
        """Be sent again: each iteration begins at the beginning."""
