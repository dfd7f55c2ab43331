"""Verified streaming of a stored file to a browser, which takes what has come for whole if nothing tells it otherwise.

So the last piece is held back until all bytes are known to be those that were inserted; if they are not, the transfer
breaks off, and the browser says that it failed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from typing import BinaryIO
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from datajoint_file.browse.threads import Threads
from datajoint_file.pipeline.fileref import FileRef
from datajoint_file.storage.backend import CHUNK_SIZE
from datajoint_file.transfer.hashing import VerifyingReader


def download(ref: FileRef, threads: Threads, *, is_head: bool) -> Response:
    """Return the answer that has a file to be saved, under its name.

    Raises
    ------
    VerificationError, StorageError
        If the store fails at the beginning, or the stored bytes of a file of one piece are not those that were
        inserted. What is found later breaks the transfer off.
    """
    headers = {"Content-Disposition": _saved_as(ref.name), "Content-Length": str(ref.size)}
    if is_head:
        return Response(None, headers=headers, media_type="application/octet-stream")
    pieces = verified_pieces(ref)
    first = next(pieces, b"")  # of a small file that is all: what is wrong with it is said on a page
    body = threads.each(chain((first,), pieces))
    return StreamingResponse(body, headers=headers, media_type="application/octet-stream")


def verified_pieces(ref: FileRef) -> Iterator[bytes]:
    """Give the bytes of a file, the last of them only when all are known to be right."""
    with closing(ref.open()) as file:
        yield from _held_back(file, ref)


def _held_back(file: BinaryIO, ref: FileRef) -> Iterator[bytes]:
    reader = VerifyingReader(file, ref.size, ref.hash, lambda _: None)
    held = reader.read(CHUNK_SIZE)
    while held:
        following = reader.read(CHUNK_SIZE)  # raises at the end, unless all is right
        yield held
        held = following


def _saved_as(name: str) -> str:
    """Return the header by which a browser saves a file under *name*, whatever characters that has."""
    shown = "".join(letter if letter.isprintable() and letter not in '/\\"' else "_" for letter in name)
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", shown)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(shown, safe='')}"
