"""Planted bugs of directories: what is stored, deleted, written down or believed in the wrong order, or without a look.

Each changes one place of the package; the scenes of trees find it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import datetime, timezone
from typing import Any

from datajoint_file.collector import execute_plan, make_plan, workers
from datajoint_file.insert import table_hooks
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.pipeline import checkpoints
from datajoint_file.pipeline.directory_upload import DirectoryUpload
from datajoint_file.pipeline.new_directory import NewDirectoryFileSystem
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.transfer.hashing import HashingReader, drain
from tests.torture.planting import Bug, changed, scenes
from tests.torture.values import Kind

_CRASHES: tuple[Kind, ...] = ("crash-before", "crash-after")


def _put_off(upload: Any) -> FileMetadata:
    """Return what the row is to record of an upload, without storing it."""
    with upload.source.open() as file:
        reader = HashingReader(file, lambda _: None)
        drain(reader)
    moment = datetime.now(timezone.utc).replace(microsecond=0)
    return FileMetadata(upload.key, reader.size, reader.hash, upload.name, moment, upload.mime_type or None)


@contextmanager
def _row_before_manifest() -> Iterator[None]:
    """Note a directory, and insert its row, before its manifest is stored."""
    ingest: Any = Pipeline.ingest
    writing, late = table_hooks._writing, list[Any]()

    def later(self: Any, upload: Any, *args: Any) -> FileMetadata:
        if not upload.key.endswith("/~manifest"):
            return ingest(self, upload, *args)  # type: ignore[no-any-return]
        late.append((self, upload))
        return _put_off(upload)

    @contextmanager
    def written(*args: Any, **options: Any) -> Iterator[None]:
        with writing(*args, **options):
            yield
        while late:
            ingest(*late.pop())

    with changed(Pipeline, "ingest", later), changed(table_hooks, "_writing", written):
        yield


@contextmanager
def _member_after_manifest() -> Iterator[None]:
    """Store the last member after the manifest, which knows its hash."""
    sent: Any = DirectoryUpload._sent
    finish: Any = DirectoryUpload.finish

    def send(self: Any, index: int, *args: Any) -> Any:
        is_last = index == len(self.listing.names) - 1
        return _put_off(self.member(index)) if is_last else sent(self, index, *args)

    def finished(self: Any) -> Any:
        made = finish(self)
        self._pipeline.ingest(self.member(len(self.listing.names) - 1))
        return made

    with changed(DirectoryUpload, "_sent", send), changed(DirectoryUpload, "finish", finished):
        yield


@contextmanager
def _members_are_unknown() -> Iterator[None]:
    with ExitStack() as stack:
        for module in (make_plan, workers):
            stack.enter_context(changed(module, "value_key", lambda key: key))
        yield


@contextmanager
def _manifest_deleted_last() -> Iterator[None]:
    delete = workers.delete_object

    def members_first(backend: Any, project: str, key: str) -> Any:
        if key.endswith("/"):
            for member in list(backend.list(key[:-1])):
                backend.delete(member.key)
        return delete(backend, project, key)

    with changed(workers, "delete_object", members_first), changed(execute_plan, "delete_object", members_first):
        yield


def _resumed_unseen() -> AbstractContextManager[None]:
    """Believe that what has the name and size of a file is that file."""

    def look(self: Any, index: int, *lines: Any) -> None:
        self._stored[index] = lines[0].digest if lines else self._hash_of(self._listing.names[index], index)

    return changed(checkpoints._Found, "_look", look)


def _old_digest_kept() -> AbstractContextManager[None]:
    """Know a file that is written again by what it was at first."""
    write: Any = NewDirectoryFileSystem.write
    first: dict[tuple[str, str], str] = {}

    def written(self: Any, path: str, *args: Any) -> None:
        write(self, path, *args)
        known, name = self._record.members, self._encoded(path)
        known[name] = known[name]._replace(digest=first.setdefault((self.directory, name), known[name].digest))

    return changed(NewDirectoryFileSystem, "write", written)


BUGS: dict[str, Bug] = {
    "row before manifest": Bug(_row_before_manifest, scenes("tree-insert1", kinds=_CRASHES)),
    "member after manifest": Bug(_member_after_manifest, scenes("tree-insert1", kinds=())),
    "collector takes members for unknown objects": Bug(_members_are_unknown, scenes("tree-insert1", kinds=())),
    "members deleted before their manifest": Bug(_manifest_deleted_last, scenes("tree-purge", kinds=())),
    "resumed without comparing": Bug(_resumed_unseen, scenes("tree-resume-other", kinds=())),
    "rewritten file keeps its old digest": Bug(_old_digest_kept, scenes("tree-create", kinds=())),
}
