"""The verbs of a store, numbered; what each kind of fault does to one. For our backends and for DataJoint's own.

What is in a store afterwards is looked at through another door (`bare`).
"""

from __future__ import annotations

import functools
import io
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import datajoint.storage

import datajoint_file.pipeline.stores
from datajoint_file.errors import StorageUnavailableError
from datajoint_file.journal import commit_outcome, second_connection
from datajoint_file.pipeline import checkpoints, directory_upload, fallback, mirroring, open_stores
from datajoint_file.pipeline.stores import Stores
from datajoint_file.storage.backend import (
    NO_HEADERS,
    ContentHeaders,
    Reader,
    StorageBackend,
    UnfinishedUpload,
    receipt_of,
)
from datajoint_file.testing.faults import Fault, FaultyBackend, Verb, fail
from datajoint_file.verification import mend
from tests.torture.bare import REGISTRY
from tests.torture.steps import Steps, kill
from tests.torture.trees import is_checkpoint_or_fence
from tests.torture.values import ANSWERS, Kind

PART_SIZE = 5 * 2**20
"""Bytes of one part of a large object: the least that S3 allows, so that a payload of some megabytes has several."""


class NumberedBackend(FaultyBackend):
    """Our own fault-injecting store, with `Steps` in place of its own counting.

    Parameters
    ----------
    inner : StorageBackend
        The backend that does the work.
    steps : Steps
        Where steps are counted.

    Attributes
    ----------
    payload_bytes : int
        What was sent of files, and of lists of them: marks of schemas are none, nor are checkpoints.
    """

    def __init__(self, inner: StorageBackend, steps: Steps, *, is_second: bool = False) -> None:
        super().__init__(inner)
        self._at = "@second" if is_second else ""
        self.payload_bytes = 0
        self._steps = steps
        self._sizes: dict[str, int] = {}
        self._counting = threading.Lock()

    def upload(self, key: str, reader: Reader, size: int | None = None, headers: ContentHeaders = NO_HEADERS) -> int:
        self._sizes[key], counted = size or 0, _Counted(reader)
        try:
            return super().upload(key, counted, size, headers)
        finally:
            with self._counting:
                is_counted = not self._at and REGISTRY not in key and not is_checkpoint_or_fence(key)
                self.payload_bytes += counted.count if is_counted else 0

    def unfinished(self, prefix: str = "") -> Iterator[UnfinishedUpload]:
        """List unfinished uploads as if they were as old as `Steps.elapsed` says: a store's clock cannot be moved."""
        earlier = timedelta(seconds=self._steps.elapsed)
        for upload in super().unfinished(prefix):
            yield replace(upload, started=upload.started and upload.started - earlier)

    def _due(self, verb: Verb, key: str) -> Sequence[Fault]:
        due = super()._due(verb, key)
        kind = self._steps.take("store", f"{verb}{self._at} {key}")
        return due if kind is None else self._faults(kind, verb, key)

    def _faults(self, kind: Kind, verb: Verb, key: str) -> Sequence[Fault]:
        """Return what *kind* means for a verb."""
        if kind in ("torn", "torn-crash"):
            action = fail if kind == "torn" else _kill
            moment: Literal["during", "after"] = "during" if verb == "upload" else "after"
            return [Fault(verb, moment=moment, after_bytes=self._sizes.get(key, 0) * 9 // 10, action=action)]
        if kind.startswith("interleave"):
            return [Fault(verb, action=lambda _: self._steps.act())]
        if kind in ANSWERS:
            return [Fault(verb, action=lambda _: self._steps.lie(kind))]
        action = _kill if kind.startswith("crash") else fail
        return [Fault(verb, moment="after" if kind.endswith("after") else "before", action=action)]


class _Counted:
    """Counts what is read: several uploads go on at a time."""

    def __init__(self, reader: Reader) -> None:
        self.count = 0
        self.receipt = receipt_of(reader)
        self._reader = reader

    def read(self, size: int = -1, /) -> bytes:
        chunk = self._reader.read(size)
        self.count += len(chunk)
        return chunk


def _kill(key: str) -> None:
    kill()


@contextmanager
def watching_file(steps: Steps, opened: list[NumberedBackend]) -> Iterator[None]:
    """Number the verbs of all backends that pipelines open inside, and add those to *opened*.

    Nobody waits as long for a lock, or for a lost commit, as a real user should; and directories of a few files are
    stored in several batches, with checkpoints, as large ones are.
    """
    pipeline: Any = datajoint_file.pipeline.stores
    original = pipeline.open_backend

    def open_numbered(*args: Any, **kwargs: Any) -> StorageBackend:
        is_second = bool(steps.second) and getattr(args[0], "path", "") == steps.second
        inner = original(*args, **{"part_size": PART_SIZE, **kwargs})
        backend = NumberedBackend(inner, steps, is_second=is_second)
        opened.append(backend)
        return backend

    with ExitStack() as stack:
        for module, name, value in (
            (pipeline, "open_backend", open_numbered),
            (commit_outcome, "WAIT_SECONDS", 0.2),
            (second_connection, "LOCK_WAIT_SECONDS", 0.2),
            (checkpoints, "CHECKPOINT_FILES", 2),
            (directory_upload, "BATCH_FILES", 2),
            (mirroring, "MEMBERS_AT_ONCE", 1),
            (mend, "MEMBERS_AT_ONCE", 1),
            (mirroring, "AGAIN_SECONDS", 0.0),
            (fallback, "AGAIN_SECONDS", 0.0),
        ):
            stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, value)
        yield


_CORE_VERBS = ("put_buffer", "put_file", "get_buffer", "get_file", "open", "remove", "exists", "size")
_FSSPEC_VERBS = ("walk", "ls", "rm", "exists", "size", "open", "isdir", "cat_file", "pipe_file", "rmdir")


class _Nesting(threading.local):
    depth = 0


_nesting = _Nesting()


@contextmanager
def watching_object(steps: Steps) -> Iterator[None]:
    """Number the verbs of DataJoint's own storage backend, and of the filesystem behind it where it is used bare."""
    backend = datajoint.storage.StorageBackend
    originals = {name: getattr(backend, name) for name in (*_CORE_VERBS, "fs")}
    for name in _CORE_VERBS:
        setattr(backend, name, _numbered_method(name, originals[name], steps))
    backend.fs = property(lambda self: NumberedFilesystem(originals["fs"].fget(self), steps))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(backend, name, original)


def _numbered_method(name: str, original: Callable[..., Any], steps: Steps) -> Callable[..., Any]:
    @functools.wraps(original)
    def numbered(self: Any, *args: Any, **kwargs: Any) -> Any:
        tear = functools.partial(_tear, self, *args) if name == "put_buffer" else None
        return _step(steps, f"{name} {_key(args)}", lambda: original(self, *args, **kwargs), tear)

    return numbered


class NumberedFilesystem:
    """An fsspec filesystem whose verbs are steps, unless they are a part of one."""

    def __init__(self, filesystem: Any, steps: Steps) -> None:
        self._filesystem = filesystem
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._filesystem, name)
        if name not in _FSSPEC_VERBS:
            return value

        def numbered(*args: Any, **kwargs: Any) -> Any:
            result = _step(self._steps, f"fs.{name} {_key(args)}", lambda: value(*args, **kwargs))
            return iter(list(result)) if name == "walk" else result

        return numbered


def _step(steps: Steps, label: str, act: Callable[[], Any], tear: Callable[[], object] | None = None) -> Any:
    if _nesting.depth:
        return act()
    kind = steps.take("store", label)
    _nesting.depth += 1
    try:
        if kind in ("torn", "torn-crash") and tear is not None:
            tear()
        if kind is not None:
            _meet(kind, steps, moment="before")
        result = act()
    finally:
        _nesting.depth -= 1
    if kind is not None:
        _meet(kind, steps, moment="after")
    return result


def _meet(kind: Kind, steps: Steps, *, moment: str) -> None:
    if kind.startswith("interleave"):
        if moment == "before":
            _nesting.depth -= 1
            try:
                steps.act()
            finally:
                _nesting.depth += 1
        return
    is_after = kind.endswith("after")
    if is_after == (moment == "after"):
        if "crash" in kind:
            kill()
        raise StorageUnavailableError("injected fault")


def _tear(backend: Any, content: bytes, path: Any) -> None:
    """Leave what a write leaves that is cut off: on a disk half of the file under its temporary name."""
    if backend.protocol == "file":
        full = Path(backend._full_path(path))
        full.parent.mkdir(parents=True, exist_ok=True)
        full.with_suffix(full.suffix + ".saving").write_bytes(content[: len(content) // 2])


def _key(args: tuple[Any, ...]) -> str:
    texts = [str(arg) for arg in args if not isinstance(arg, bytes | io.IOBase)]
    return texts[-1] if texts and len(texts[-1]) < 300 else ""


def forget_mirrors() -> None:
    """Have the pipelines of this process ask anew whether a place is their mirror, as another process does."""
    for reference in list(open_stores._opened):
        if isinstance(stores := reference(), Stores):
            stores.known.is_mirror = False
