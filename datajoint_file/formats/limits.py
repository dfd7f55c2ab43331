"""Limit of what a small file may grow to in memory; it opens nothing."""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterator
from typing import Any

from datajoint_file.errors import UnsafeContentError

ALWAYS = 2**30
"""So many bytes any file may become."""

RATIO = 200
"""Beyond that, a file becomes at most so many times what it is."""


_PIECE = 2**20
_LZMA_MEMORY = 2**28


def check_growth(unpacked: int, stored: int) -> None:
    """Raise if *stored* bytes become *unpacked* ones, as those of a decompression bomb do.

    Raises
    ------
    UnsafeContentError
        If so.

    Examples
    --------
    >>> check_growth(10**6, 10)
    """
    if unpacked > max(ALWAYS, RATIO * stored):
        raise UnsafeContentError(
            f"its {stored} bytes become {unpacked} in memory, more than {RATIO} times as many; if that is right, open "
            "it by ref.open() and the library"
        )


def unpacked_sizes(data: bytes, *, is_lzma: bool = False) -> Iterator[int]:
    """Unpack what zlib has packed, or LZMA, and give how large each piece is, of 1 MiB at most; none is kept.

    It ends where Python's own functions do: LZMA goes on behind an end.

    Examples
    --------
    >>> list(unpacked_sizes(zlib.compress(bytes(2**21))))
    [1048576, 1048576]
    """
    while data:
        unpacking: Any = lzma.LZMADecompressor(memlimit=_LZMA_MEMORY) if is_lzma else zlib.decompressobj()
        while not unpacking.eof:
            size = len(unpacking.decompress(data, _PIECE))
            data = b"" if is_lzma else unpacking.unconsumed_tail
            if size:
                yield size
            elif not (data or unpacking.eof):
                return
        data = unpacking.unused_data if is_lzma else b""
