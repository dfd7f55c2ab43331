"""Repairs at the end of a verification: what was found missing or wrong, mended from the mirror.

How one value is mended is told by `mend`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from datajoint_file.errors import ConfigurationError
from datajoint_file.verification.examine import examine
from datajoint_file.verification.findings import Finding, VerifyReport
from datajoint_file.verification.mend import Sides, mend
from datajoint_file.verification.subjects import QueryRow, Subject
from datajoint_file.verification.verification import FileValue


def require_mirrors(subjects: Iterable[Subject]) -> None:
    """Raise `ConfigurationError` unless all have a mirror."""
    for subject in subjects:
        if subject.pipeline.second is None:
            where = subject.pipeline.settings.storage.where
            raise ConfigurationError(f"{where} names no mirror to repair from: add a table [storage.mirror]")


@dataclass(slots=True)
class Repairs:
    """The values of a run in which something was wrong, and those that are mended by now, by path."""

    wanted: list[tuple[QueryRow, FileValue]] = field(default_factory=list)
    done: set[str] = field(default_factory=set)

    def run(self, settled: Callable[[QueryRow, FileValue, Finding | None], object]) -> None:
        """Mend what can be, and tell of each value that is as its row says now."""
        for row, value in self.wanted[:]:
            if value.path in self.done or self._is_mended(row, value):
                self.done.add(value.path)
                settled(row, value, None)

    def _is_mended(self, row: QueryRow, value: FileValue) -> bool:
        metadata, pipeline = value.metadata, row.pipeline
        is_ours = metadata is not None and not metadata.is_link and metadata.project == pipeline.project
        if metadata is None or not is_ours or pipeline.second is None:
            return False
        mend(Sides(pipeline.first, pipeline.second), metadata, by_hash=True)
        return examine(pipeline, metadata, "content", lambda _: None) is None

    def told(self, report: VerifyReport) -> VerifyReport:
        """Return the report, whose findings are those that are left."""
        left = tuple(finding for finding in report.findings if finding.path not in self.done)
        gone = tuple(finding for finding in report.findings if finding.path in self.done)
        return replace(report, findings=left, mended=gone) if gone else report
