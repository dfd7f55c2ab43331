"""Tally of a drill: what the rows of a dump name, held against what the copy of the store has.

Memory is bounded: findings are counted, and the first of them kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from datajoint_file.drills.ledger import Ledger
from datajoint_file.drills.sample import DrawnRow
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.verification.check_object import Problem
from datajoint_file.verification.findings import Finding
from datajoint_file.verification.verification import FileValue, ListedRow

MOST_FINDINGS = 1_000


@dataclass(slots=True)
class Span:
    """Files, their bytes, and when the first and the last of them were stored."""

    files: int = 0
    size: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None

    def add(self, metadata: FileMetadata) -> None:
        """Count a file in."""
        self.files += 1
        self.size += metadata.size
        self.oldest = min(self.oldest or metadata.timestamp, metadata.timestamp)
        self.newest = max(self.newest or metadata.timestamp, metadata.timestamp)


@dataclass(slots=True)
class Tally:
    """What has been seen so far."""

    project: str
    ledger: Ledger
    findings: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)  # of findings by kind, also of those that are not kept
    of_tables: dict[str, Span] = field(default_factory=dict)
    there: Span = field(default_factory=Span)
    absent: Span = field(default_factory=Span)
    history: int = 0
    linked: int = 0  # files that are not in the project's store, and so in no copy of it
    foreign: Counter[str] = field(default_factory=Counter)  # values of other projects, whose store this is not

    def sound(self, row: ListedRow) -> Iterator[DrawnRow]:
        """Take in a row of the dump, and give each value of it whose object is listed with the right size."""
        for value in row.values:
            metadata = value.metadata
            if metadata is None:
                self._find(row, value, Problem("row", "the description of a stored file", value.fault))
            elif metadata.is_link:
                self.linked += 1
                self._name(value, metadata)
            elif metadata.project != self.project:
                self.foreign[metadata.project] += 1
            elif self._is_listed(row, value, metadata):
                yield DrawnRow(row, (value,))

    def _is_listed(self, row: ListedRow, value: FileValue, metadata: FileMetadata) -> bool:
        self._name(value, metadata)
        problem = self.ledger.problem_of(metadata)
        if problem is None:
            self.there.add(metadata)
            self.linked += bool(metadata.linked)
            return not metadata.linked  # whose files are elsewhere
        (self.absent if problem.kind == "missing" else self.there).add(metadata)
        self._find(row, value, problem)
        return False

    def _name(self, value: FileValue, metadata: FileMetadata) -> None:
        self.ledger.name(metadata.path)
        self.of_tables.setdefault(value.table, Span()).add(metadata)

    def _find(self, row: ListedRow, value: FileValue, problem: Problem) -> None:
        self.add(
            Finding(problem.kind, value.table, value.attribute, row.key(), value.path, problem.expected, problem.found)
        )

    def add(self, finding: Finding) -> None:
        """Take in a finding."""
        self.counts[finding.kind] += 1
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(finding)

    @property
    def is_copy_older(self) -> bool:
        """Whether what is missing is newer than all that is there: the copy was taken before the dump."""
        absent, there = self.absent.oldest, self.there.newest
        return absent is not None and there is not None and absent > there
