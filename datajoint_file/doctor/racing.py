"""Race test of a store: several writes under one key at the same moment, of which it should accept one.

What that means for a user is said in `probe`.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from datajoint_file.errors import ObjectExistsError
from datajoint_file.storage import StorageBackend

PATIENCE_SECONDS = 10


def race(backend: StorageBackend, key: str, contents: Sequence[bytes]) -> list[bytes]:
    """Upload each of *contents* under *key*, all at once, and return those that the backend says it has stored.

    Every upload has looked whatever it looks at before the first one gets its bytes. A backend that takes one upload
    after the other is not waited for longer than `PATIENCE_SECONDS`.

    Raises
    ------
    StorageError
        If an upload fails for another reason than that there is an object already.
    """
    start = threading.Barrier(len(contents))

    def upload(content: bytes) -> bytes:
        try:
            backend.upload(key, _Together(content, start), len(content))
        except ObjectExistsError:
            start.abort()
            return b""
        except BaseException:
            start.abort()
            raise
        return content

    with ThreadPoolExecutor(len(contents)) as pool:
        return [stored for stored in pool.map(upload, contents) if stored]


class _Together:
    """A reader that waits for the others before its first byte."""

    def __init__(self, content: bytes, start: threading.Barrier) -> None:
        self._file = io.BytesIO(content)
        self._start = start

    def read(self, size: int = -1, /) -> bytes:
        if self._file.tell() == 0:
            with suppress(threading.BrokenBarrierError):  # the others have failed, or wait for this one: go on alone
                self._start.wait(PATIENCE_SECONDS)
        return self._file.read(size)
