"""Fork safety of filesystems: what a parent process has opened, its children leave alone.

A child inherits the sockets, and the list of those the parent's event loop waits for, but not the thread it runs in.
Closing anything of that in the child, as finalizers do when it exits, waits for the missing thread (adlfs), or takes
connections from the parent, which then waits for ever (gcsfs).
"""

from __future__ import annotations

import ctypes
import os
import weakref
from typing import Any

_opened: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()


def keep_from_children(filesystem: Any) -> None:
    """Make sure that no child of this process ever finalizes *filesystem*."""
    _opened[id(filesystem)] = filesystem


def _leave_alone() -> None:
    """In a child: make what the parent has opened immortal, and its finalizers deaf."""
    for filesystem in tuple(_opened.values()):
        for reference in weakref.getweakrefs(filesystem):
            if isinstance(reference.__callback__, weakref.finalize):
                reference.__callback__.detach()
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(filesystem))
    _opened.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_alone)
