"""File descriptor budget: how many files and connections this process may open without running out of them.

Whoever opens one for each of many files, or starts a thread that does, asks here first. Nothing is reserved.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress

with suppress(ImportError):
    import resource

_PARTS = 4
"""One asker gets so much of what is left: each thread has a file and some connections, and others ask as well."""

_RESERVE = 16
"""So many are left for what nobody asks for: connections that clients open anew, to stores and databases."""

RAN_OUT = frozenset({errno.EMFILE, errno.ENFILE})


def affordable(wanted: int) -> int:
    """Return how many of *wanted* files, or threads that open some, this process can afford now; at least one."""
    return max(1, min(wanted, (_left() - _RESERVE) // _PARTS)) if "resource" in globals() else wanted


def _left() -> int:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    try:
        return limit - len(os.listdir("/dev/fd"))  # noqa: PTH208 - it is asked often, and paths take ten times as long
    except OSError as error:  # there is none left to look with, or nowhere to look
        return 0 if error.errno in RAN_OUT else limit // 2
