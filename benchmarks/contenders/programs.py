"""Programs that move files, each as it works by default: cp and openssl, rclone, s5cmd.

They are given the same files, the same server and the same account as the others. Starting the program counts.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

from benchmarks.contenders.paths import check_size, find_program, sources
from benchmarks.values import Task


@contextmanager
def copy_and_hash(task: Task) -> Iterator[Callable[[], None]]:
    """Copy one file and flush it, while another process computes its SHA-256: what a disk and a hash allow."""
    [source] = sources(task)
    target = Path(task.scratch) / "copy"
    copy = 'cp "$1" "$2" && sync "$2" & openssl dgst -sha256 -r "$1" > "$3" && wait $!'
    yield lambda: _run(["/bin/sh", "-c", copy, "sh", str(source), str(target), f"{target}.sha256"], {})
    if target.stat().st_size != source.stat().st_size or Path(f"{target}.sha256").stat().st_size < 64:
        raise RuntimeError("cp or openssl did not do its work")


@contextmanager
def s5cmd_upload(task: Task) -> Iterator[Callable[[], None]]:
    """Upload one file with s5cmd."""
    [source] = sources(task)
    yield lambda: _s5cmd(task, "cp", str(source), _url(task, "object"))
    _check_stored(task, source)


@contextmanager
def s5cmd_upload_all(task: Task) -> Iterator[Callable[[], None]]:
    """Upload all files with one s5cmd."""
    yield lambda: _s5cmd(task, "cp", f"{task.files}/", _url(task, "all/"))
    for source in sources(task)[:: max(1, task.number - 1)]:
        _check_stored(task, source, f"all/{source.name}")


@contextmanager
def s5cmd_download_all(task: Task) -> Iterator[Callable[[], None]]:
    """Download all objects with one s5cmd, which reads from a file which."""
    targets = [f"{task.scratch}/{number}" for number in range(len(task.keys))]
    commands = [f"cp '{_url(task, key)}' '{target}'\n" for key, target in zip(task.keys, targets, strict=True)]
    with NamedTemporaryFile("w", suffix=".s5cmd") as file:
        file.writelines(commands)
        file.flush()
        yield lambda: _s5cmd(task, "run", file.name)
    check_size(Path(task.scratch), task)


@contextmanager
def rclone_upload(task: Task) -> Iterator[Callable[[], None]]:
    """Upload one file with rclone."""
    [source] = sources(task)
    yield lambda: _rclone(task, "copyto", str(source), _remote(task, "object"))
    _check_stored(task, source)


@contextmanager
def s5cmd_download(task: Task) -> Iterator[Callable[[], None]]:
    """Download one object with s5cmd."""
    [key] = task.keys
    yield lambda: _s5cmd(task, "cp", _url(task, key), f"{task.scratch}/file")
    check_size(Path(task.scratch), task)


@contextmanager
def rclone_download(task: Task) -> Iterator[Callable[[], None]]:
    """Download one object with rclone."""
    [key] = task.keys
    yield lambda: _rclone(task, "copyto", _remote(task, key), f"{task.scratch}/file")
    check_size(Path(task.scratch), task)


def _s5cmd(task: Task, *arguments: str) -> None:
    storage = task.storage
    account = {
        "AWS_ACCESS_KEY_ID": storage["credentials"]["key"],
        "AWS_SECRET_ACCESS_KEY": storage["credentials"]["secret"],
        "AWS_REGION": storage["region"],
    }
    _run([_program("s5cmd"), "--endpoint-url", storage["endpoint_url"], *arguments], account)


def _rclone(task: Task, *arguments: str) -> None:
    storage = task.storage
    remote = {
        "TYPE": "s3",
        "PROVIDER": "SeaweedFS",
        "ENDPOINT": storage["endpoint_url"],
        "REGION": storage["region"],
        "ACCESS_KEY_ID": storage["credentials"]["key"],
        "SECRET_ACCESS_KEY": storage["credentials"]["secret"],
    }
    environment = {f"RCLONE_CONFIG_BENCH_{name}": value for name, value in remote.items()}
    _run([_program("rclone"), *arguments, "--config", os.devnull], environment)


def _program(name: str) -> str:
    found = find_program(name)
    if found is None:
        raise RuntimeError(f"{name} is not installed")
    return found


def _url(task: Task, key: str) -> str:
    return f"s3://{task.storage['bucket']}/{key}"


def _remote(task: Task, key: str) -> str:
    return f"bench:{task.storage['bucket']}/{key}"


def _run(command: list[str], environment: dict[str, str]) -> None:
    variables = {**os.environ, **environment}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name} failed ({done.returncode}): {done.stderr[-2000:]}")


def _check_stored(task: Task, source: Path, key: str = "object") -> None:
    """Look with another client that the object is there: a program can succeed and do nothing."""
    from benchmarks.contenders.obstores import object_size  # only now: it would take memory while the clock runs

    found, expected = object_size(task, key), source.stat().st_size
    if found != expected:
        raise RuntimeError(f"the object has {found} bytes, expected {expected}")


@contextmanager
def copy_directory(task: Task) -> Iterator[Callable[[], None]]:
    """Copy a directory and flush it."""
    target = Path(task.scratch) / "copy"
    copy = 'cp -r "$1" "$2" && sync -f "$2"'
    yield lambda: _run(["/bin/sh", "-c", copy, "sh", task.files, str(target)], {})
    check_size(target, task)


@contextmanager
def rclone_upload_directory(task: Task) -> Iterator[Callable[[], None]]:
    """Upload a directory with rclone."""
    yield lambda: _rclone(task, "copy", task.files, _remote(task, "all"))
    for source in sources(task)[:: max(1, len(sources(task)) - 1)]:
        _check_stored(task, source, f"all/{source.name}")


@contextmanager
def rclone_download_directory(task: Task) -> Iterator[Callable[[], None]]:
    """Download a directory with rclone."""
    [directory] = task.keys
    yield lambda: _rclone(task, "copy", _remote(task, directory), f"{task.scratch}/all")
    check_size(Path(task.scratch), task)


@contextmanager
def s5cmd_download_directory(task: Task) -> Iterator[Callable[[], None]]:
    """Download a directory with s5cmd."""
    [directory] = task.keys
    yield lambda: _s5cmd(task, "cp", _url(task, f"{directory}*"), f"{task.scratch}/all/")
    check_size(Path(task.scratch), task)


@contextmanager
def copy_stored_directory(task: Task) -> Iterator[Callable[[], None]]:
    """Copy a stored directory from the disk, and flush it."""
    [directory] = task.keys
    stored = f"{task.storage['path']}/{directory.partition('/')[2]}"
    target, copy = f"{task.scratch}/copy", 'cp -r "$1" "$2" && sync -f "$2"'
    yield lambda: _run(["/bin/sh", "-c", copy, "sh", stored, target], {})
    check_size(Path(task.scratch), task)
