"""One case in a process of its own: reads a `Task` as JSON from standard input, writes the figures as its last line.

``python -m benchmarks.worker prepare`` stores what a comparison reads, and writes the object keys instead.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.measuring import measure
from benchmarks.values import Task


def main() -> None:
    """Do the task; an exception ends the process."""
    warnings.filterwarnings("ignore", "MariaDB is not officially supported")
    warnings.filterwarnings("ignore", "No datajoint.json found")
    task = Task(**json.load(sys.stdin))
    if task.checkout:
        _measure_package_in(task.checkout)
    work = _function(task.function)
    if "prepare" in sys.argv:
        said = work(task)
    else:
        with work(task) as body:
            said = asdict(measure(body))
    sys.stdout.write(f"\n{json.dumps(said)}\n")
    sys.stdout.flush()
    os._exit(0)  # the threads of obstore's coroutines abort one process in three that is taken down in order


def _measure_package_in(checkout: str) -> None:
    """Import the package from another directory; the contenders are of this one all the same."""
    sys.path.insert(0, checkout)
    found = importlib.import_module("datajoint_file").__file__ or ""
    if not Path(found).is_relative_to(checkout):
        raise RuntimeError(f"{found} is not in {checkout}")


def _function(name: str) -> Any:
    """Import the module of this contender alone: what others import takes memory, and their threads time."""
    module, function = name.split(":")
    return getattr(importlib.import_module(f"benchmarks.contenders.{module}"), function)


if __name__ == "__main__":
    main()
