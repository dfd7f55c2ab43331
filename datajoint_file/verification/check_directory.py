"""Directory check: the manifest against the row, and the members in the store against the manifest."""

from __future__ import annotations

import threading
from bisect import insort
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from datajoint_file.concurrency.progress import Advance
from datajoint_file.concurrency.threads import Stop, run_all
from datajoint_file.errors import HashMismatchError, ObjectNotFoundError, UnsafeNameError
from datajoint_file.model.manifest import Manifest, Member, decode_path
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.pipeline.manifests import manifest_of, member_metadata
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.verification.check_object import Level, Problem, check_object, missing

_MOST_MEMBERS = 1_000
"""Problems that are told of one directory."""

_AT_ONCE = 4
"""Members of one directory that are read at a time: other objects are, too."""


def check_directory(pipeline: Pipeline, metadata: FileMetadata, level: Level, advance: Advance) -> Problem | None:
    """Compare a directory with its description; further problems are `Problem.others` of the first.

    What is there, and how large it is, one listing tells; members are read only where their content is asked for.
    Raises what the store raises, also if the manifest is not there.
    """
    try:
        manifest = manifest_of(pipeline, metadata, is_kept=False)
    except HashMismatchError as error:
        return Problem("hash", f"a manifest of {metadata.hash}", error.found)
    problems, count = _Check(pipeline, metadata, manifest, level, advance).problems()
    if not problems:
        return None
    if count > len(problems):
        problems.append(Problem(problems[-1].kind, "no more problems", f"{count - len(problems)} that are not listed"))
    return replace(problems[0], others=tuple(problems[1:]))


class _Problems:
    """The problems that are told, sorted by member, and how many there are. Several threads may add to it."""

    def __init__(self) -> None:
        self.first: list[Problem] = []
        self.count = 0
        self._lock = threading.Lock()

    def add(self, problem: Problem) -> None:
        with self._lock:
            self.count += 1
            insort(self.first, problem, key=lambda one: one.member)
            del self.first[_MOST_MEMBERS:]


class _Check:
    """The members of one directory, being looked at."""

    def __init__(
        self, pipeline: Pipeline, metadata: FileMetadata, manifest: Manifest, level: Level, advance: Advance
    ) -> None:
        self._pipeline = pipeline
        self._backend = pipeline.stores.of_bytes(metadata)
        self._metadata = metadata
        self._manifest = manifest
        self._level: Level = level
        self._advance = advance
        self._lock = threading.Lock()
        self._found = _Problems()

    def problems(self) -> tuple[list[Problem], int]:
        """Return what is not as it should be, then what should not be there, and how many problems there are in all."""
        fine, extra = bytearray(len(self._manifest)), _Problems()
        for problem in self._extra(fine):
            extra.add(problem)
        if self._level != "content":
            self._advance(self._metadata.size)
        run_all(self._looks(fine), min(_AT_ONCE, self._pipeline.workers), Stop())
        return [*self._found.first, *extra.first][:_MOST_MEMBERS], self._found.count + extra.count

    def _looks(self, fine: bytearray) -> Iterator[Callable[[], None]]:
        is_read = self._level == "content"
        for number, is_fine in enumerate(fine):
            if (is_read or not is_fine) and (member := self._manifest.member(number)):
                yield partial(self._look, member)

    def _extra(self, fine: bytearray) -> Iterator[Problem]:
        """List what is there; note in *fine*, by number, what need not be looked at but for its content."""
        top = self._metadata.linked or self._metadata.path
        for stat in self._backend.list(top.rstrip("/")):
            name = stat.key[len(top) :]
            number = self._manifest.number_of(name)
            member = self._manifest.member(number) if number >= 0 else None
            if member is not None:
                fine[number] = self._level == "exists" or stat.size == member.size
            elif not self._metadata.linked:  # what else is there is not ours to judge
                yield Problem("extra", "no such file", f"one of {stat.size} bytes", member=_decoded(name))

    def _look(self, member: Member) -> None:
        metadata = member_metadata(self._metadata, member)
        try:
            problem = check_object(self._backend, metadata, self._level, self._told)
        except ObjectNotFoundError:
            if metadata.is_link:
                self._pipeline.stores.require_present(metadata)
            problem = missing(metadata)
        if problem is not None:
            self._found.add(replace(problem, member=decode_path(member.name)))

    def _told(self, count: int) -> None:
        if self._level == "content":
            with self._lock:
                self._advance(count)


def _decoded(name: str) -> str:
    try:
        return decode_path(name)
    except UnsafeNameError:  # nobody knows who has put it there
        return name
