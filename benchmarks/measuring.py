"""Measure one call in this process: time, processor time, peak memory.

The peak is the kernel's, reset just before the call, so that imports and connections do not count.
"""

from __future__ import annotations

import gc
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.values import Figures

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


def measure(body: Callable[[], object]) -> Figures:
    """Call *body* and return what it took."""
    gc.collect()
    idle, children = _reset_peak(), _cpu_seconds(resource.RUSAGE_CHILDREN)
    own, wall = _cpu_seconds(resource.RUSAGE_SELF), time.perf_counter()
    body()
    wall, own = time.perf_counter() - wall, _cpu_seconds(resource.RUSAGE_SELF) - own
    children = _cpu_seconds(resource.RUSAGE_CHILDREN) - children
    # The peak of a child is all of it: a program that is started was not idle before.
    memory = max(_peak() - idle, 0) + (_maximum(resource.RUSAGE_CHILDREN) if children else 0)
    return Figures(wall, own + children, memory)


def _reset_peak() -> int:
    """Let the peak begin at what is resident now, where the kernel can; return the peak."""
    if _CLEAR.exists():
        _CLEAR.write_text(_RESET_PEAK)
    return _peak()


def _peak() -> int:
    if _STATUS.exists():
        [line] = [line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024
    return _maximum(resource.RUSAGE_SELF)


def _maximum(who: int) -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(who).ru_maxrss * unit


def _cpu_seconds(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime
