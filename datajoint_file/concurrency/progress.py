"""Progress bars for long transfers: on a terminal or in a notebook, after a second, never in scripts.

Drawing is tqdm's, which DataJoint itself uses; this module decides when.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from datajoint_file.errors import printable

Advance = Callable[[int], object]
"""Told the number of bytes that have just been moved, or what else is counted."""


class OnlyOnce:
    """Progress of work that may begin anew: of bytes that come again nothing is told.

    Parameters
    ----------
    advance : callable
        To be told of each byte once.
    size : int
        How many there are to be. Of more nothing is told either.
    """

    def __init__(self, advance: Advance, size: int) -> None:
        self._advance = advance
        self._size = size
        self._told = self._come = 0

    def __call__(self, count: int) -> None:
        """Tell of so many bytes that have come."""
        self._come += count
        news = max(0, min(self._come, self._size) - self._told)
        self._told += news
        self._advance(news)

    def begin_anew(self) -> None:
        """All bytes are to come again."""
        self._come = 0


DELAY_SECONDS = 1.0
"""Work that takes less shows no bar."""


@contextmanager
def progress_bar(
    description: str, total: int | None, show: bool | None = None, advance: Advance | None = None, unit: str = "B"
) -> Iterator[Advance]:
    """Show how a transfer of *total* bytes, if known, gets on, and give the function to tell it.

    Or other work, of which *unit* says what is counted. It is shown always, never, or (``None``) on a terminal or in a
    notebook once a second has passed. If there is *advance*, that is told, and nothing is shown.
    """
    if advance is not None:
        yield advance
        return
    if not (is_interactive() if show is None else show):
        yield lambda _: None
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a notebook without ipywidgets gets a text bar; that needs no warning
        from tqdm.auto import tqdm
    delay, text = 0.0 if show else DELAY_SECONDS, printable(description)
    with tqdm(total=total, desc=text, unit=unit, unit_scale=unit == "B", delay=delay, leave=bool(show)) as bar:
        yield bar.update


def is_kernel() -> bool:
    """Tell whether this process is the kernel of a notebook; who runs notebooks has only loaded the same library."""
    kernel = sys.modules.get("ipykernel.kernelapp")
    return kernel is not None and bool(kernel.IPKernelApp.initialized())


def is_interactive() -> bool:
    """Tell whether somebody is looking: standard error is a terminal, or this is a notebook's kernel."""
    if is_kernel():
        return True
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # there is none, it is closed, or something else stands in for it
        return False
