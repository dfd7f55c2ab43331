"""Mutual exclusion, on the store, of who ends a directory and the workers that change what is in it (Dekker's).

Each side first says beside the directory what it is about to do, and then looks what the other has said: stores show
what was written to all that ask from then on. So a worker either changes nothing, or whoever ends waits for it. That
the directory is ended, or given up, is said for good: one look is enough, however late.

Both are said in one place, which is listed by itself, and which a worker has changed just before it looks: an NFS
client that does so forgets what it believed to be in there.
"""

from __future__ import annotations

import io
import secrets
import time
from contextlib import suppress

from datajoint_file.errors import ObjectExistsError, ReadOnlyStorageError, StorageError, WorkerError, brief
from datajoint_file.model.manifest import decode_path
from datajoint_file.model.object_keys import MAX_KEY_BYTES, manifest_key
from datajoint_file.pipeline.pipeline import Pipeline

WAIT_SECONDS = 10.0
"""So long whoever ends a directory waits for those that are changing what is in it."""

_POLL_SECONDS = 0.1

_MOST_SEEN = 10_000
_seen: set[str] = set()
"""Directories that are made in the store that this process has for them: it asks once."""


class Fence:
    """What is said beside a directory that is being made."""

    def __init__(self, pipeline: Pipeline, directory: str) -> None:
        self._backend = pipeline.backend
        self._location = pipeline.settings.storage.location
        self._directory = directory
        self._place = f"{manifest_key(directory).rpartition('/')[0]}/~fence"
        self._begun = f"{self._place}/begun"
        self._ending = f"{self._place}/ending"

    def begin(self) -> None:
        """Say that the directory is being made: whoever does not find that here looks into another store."""
        with suppress(ObjectExistsError):  # the answer to it was lost: no other block has this directory
            self._backend.upload(self._begun, io.BytesIO(), 0)

    def close(self) -> None:
        """Say that nothing is to be changed from now on."""
        with suppress(ObjectExistsError):
            self._backend.upload(self._ending, io.BytesIO(), 0)
        with suppress(StorageError):
            self._backend.delete(self._begun)

    def remove(self) -> None:
        """Take back what was said: nothing else is left of the directory."""
        for key in (self._begun, self._ending):
            self._backend.delete(key)

    def end(self) -> None:
        """Say so, and wait for those that have not heard of it.

        Raises
        ------
        WorkerError
            If one of them does not come to an end: it was killed, say, or is suspended.
        """
        self.close()
        left = self._busy()
        until = time.monotonic() + WAIT_SECONDS
        while left:
            if time.monotonic() > until:
                raise WorkerError(
                    f"its member {self._named_by(min(left))} was being written again, or removed, by another process, "
                    f"which has not finished within {WAIT_SECONDS:g} s: it was killed, or is still at work. Nobody "
                    "can tell what will be in the directory, and there is nothing to insert. Let the block wait for "
                    "its workers, and make the directory anew if one was lost"
                )
            time.sleep(_POLL_SECONDS)
            left &= self._busy()  # who has come later has seen the end

    def _busy(self) -> set[str]:
        return {stat.key for stat in self._backend.list(self._place)} - {self._begun, self._ending}

    def _named_by(self, key: str) -> str:
        """Return the member that somebody was changing, as a message has it."""
        with suppress(StorageError, ValueError):
            return brief(decode_path(bytes(self._backend.read(key, 0, MAX_KEY_BYTES)).decode("ascii")), 200)
        return "(of a name that cannot be read)"

    def enter(self, name: str) -> str:
        """Say that a member is about to be changed, for `leave`. Raises as `require_open` does."""
        key, content = f"{self._place}/busy-{secrets.token_hex(8)}", name.encode("ascii")
        with suppress(ObjectExistsError):
            self._backend.upload(key, io.BytesIO(content), len(content))
        try:
            self.require_open()
        except BaseException:
            with suppress(StorageError):
                self.leave(key)
            raise
        return key

    def leave(self, key: str) -> None:
        """Say that it has been."""
        self._backend.delete(key)

    def require_open(self, written: str = "") -> None:
        """Refuse to change a directory whose end has begun: a row may name it.

        Raises
        ------
        ReadOnlyStorageError
            If so. A member that has just been *written* may be in it or not.
        """
        if self._backend.exists(self._ending):
            raise ended(self._directory, written)
        if self._directory in _seen:
            return
        if not self._backend.exists(self._begun):
            raise ReadOnlyStorageError(
                f"{self._directory} is not being made in the store of this process ({self._location}): its "
                "datajoint.toml names another one, or its disk is not mounted; or the directory was given up, and the "
                "collector has been there. Nothing was written"
            )
        if len(_seen) >= _MOST_SEEN:
            _seen.clear()
        _seen.add(self._directory)


def ended(directory: str, written: str = "") -> ReadOnlyStorageError:
    """Return the error of who comes too late."""
    late = f", and {brief(decode_path(written), 200)}, which was being written, may not be in it" if written else ""
    return ReadOnlyStorageError(
        f"{directory} is complete, or given up, and is not changed any more{late}: write before the block of "
        "datajoint_file.create ends"
    )
