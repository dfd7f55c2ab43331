"""Limit of what a small file may grow to in memory; it opens nothing."""

from __future__ import annotations

from datajoint_file.errors import UnsafeContentError

ALWAYS = 2**30
"""So many bytes any file may become."""

RATIO = 200
"""Beyond that, a file becomes at most so many times what it is."""


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
